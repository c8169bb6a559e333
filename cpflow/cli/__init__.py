"""The command line: one file per noun, loaded when its command is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    from cpflow.cli.app import run

    sys.exit(run(arguments))
