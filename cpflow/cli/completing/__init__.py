"""Completion in a shell: what comes after TAB.

The mechanism is click's; here are the scripts of the shells, and the names that only cpflow knows.
A shell waits for this at every TAB, and shows whatever is printed: so little is imported, and any
failure is silence.
"""

from __future__ import annotations

import os
import signal
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import click

VARIABLE = "_CPFLOW_COMPLETE"
"""Environment variable by which a shell's script asks."""

# Seconds after which nobody waits any more: a database may be far away.
_PATIENCE = 1.0


def answer(root: click.Command) -> int:
    """Print what the shell asks for, or nothing.

    Parameters
    ----------
    root : click.Command

    Returns
    -------
    int
        Exit code.
    """
    from click.shell_completion import shell_complete

    from cpflow.cli.completing import shells

    signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    shells.register()
    instruction = os.environ.pop(VARIABLE)
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        try:
            return shell_complete(root, {}, shells.PROGRAM, VARIABLE, instruction)
        except Exception:
            return 1


def _give_up(*_: Any) -> None:
    os._exit(1)
