"""The command line: one file per noun, loaded when its command is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    from cpflow.cli.app import run

    try:
        code = run(arguments)
    except Exception as error:
        from cpflow.cli.failures import unforeseen

        shown = unforeseen(error)
        sys.stderr.write(f"error: {shown}\n")
        code = shown.exit_code
    sys.exit(code)
