"""``python -m cpflow``."""

from cpflow.cli import main

if __name__ == "__main__":
    main()
