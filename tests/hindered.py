"""Commands that may not do everything: what root may do hides what goes wrong for others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SHIFTED_CLOCK = """
import time

_real = time.time
time.time = lambda: _real() + ({seconds})
"""
"""A `sitecustomize` of a machine whose clock is wrong."""

# Linux: prctl(PR_SET_NO_NEW_PRIVS), then a filter of system calls by which flock fails with ENOLCK,
# as it does on NFS without a lock daemon.
WITHOUT_FLOCK = """
import ctypes, os, struct, sys

number = {"x86_64": 73, "aarch64": 32}[os.uname().machine]
fail, allow = 0x00050000 | 37, 0x7FFF0000
code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, fail), (0x06, 0, 0, allow)]
filter = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
program = ctypes.create_string_buffer(struct.pack("HL", len(code), ctypes.addressof(filter)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
"""


def held_to_permissions() -> list[str]:
    """Return what to put before a command so that modes of files count, for root as well."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def without_flock() -> list[str]:
    """Return what to put before a command so that locks do not work."""
    return [sys.executable, "-c", WITHOUT_FLOCK]


def cpflow_process(
    *arguments: object,
    before: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    code: int = 0,
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "cpflow", *map(str, arguments)],
        env={**os.environ, **(environment or {})},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stderr}\n{done.stdout}"
    assert "Traceback" not in done.stderr
    return done
