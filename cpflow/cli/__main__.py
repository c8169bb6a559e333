"""``python -m cpflow.cli``."""

from cpflow.cli import main

if __name__ == "__main__":
    main()
