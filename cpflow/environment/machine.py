"""The machine, and what it lets a process have."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cpflow.environment.limits import free_memory, quota_of_cores, usable_cores
from cpflow.findings import Finding, error, sound, warning

GIB = 2**30
# Libraries reserve far more addresses than they fill.
_ADDRESSES = 4 * GIB
# Files that a process with a Dask scheduler has open, and for each worker; measured with a local
# cluster of one and of five workers: 30 and 76.
_FILES, _FILES_OF_WORKER = 30, 12
_FEW_FILES = 1024
_DAY = 86400


def examine_machine() -> Iterator[Finding]:
    """Look at cores, memory, open files, the temporary directory, locale and clock."""
    yield _cores()
    yield from _memory()
    yield _open_files()
    yield from _temporary()
    yield from _locale()
    yield from _clock()


def _cores() -> Finding:
    cores, quota = usable_cores(), quota_of_cores()
    if quota is not None and quota < cores - 0.5:
        fitting = max(1, round(quota))
        return warning(
            "cores",
            f"the time of {quota:g} cores is given to this container or job, but {cores} are seen: "
            f"as many tasks run at once, and wait for each other",
            f"cpflow run -j {fitting}",
        )
    return sound("cores", f"{cores}")


def _memory() -> Iterator[Finding]:
    free = free_memory()
    if free < GIB:
        yield warning(
            "memory",
            f"{free / GIB:.1f} GiB is free; a process takes 0.4 GiB before it holds anything, and "
            "each task 128 MiB",
            "end other programs, or ask for more; fewer tasks at once take less: cpflow run -j 1",
        )
    else:
        yield sound("memory", f"{free / GIB:.1f} GiB free")
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY and most < _ADDRESSES:
        yield warning(
            "memory",
            f"a process may have {most / GIB:.1f} GiB of addresses (ulimit -v), and libraries "
            "reserve much that they never fill",
            "ulimit -v unlimited",
        )


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return sound("open files", "any number")
    workers = max(0, soft - _FILES) // _FILES_OF_WORKER
    text = f"{soft}, enough for a scheduler with {workers} workers"
    if soft >= max(_FEW_FILES, _FILES + _FILES_OF_WORKER * usable_cores()):
        return sound("open files", text)
    raised = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    return warning(
        "open files",
        f"a process may have {text}, no more",
        f"ulimit -n {raised}"
        if raised > soft
        else "ask who runs this machine for more (limits.conf: nofile)",
    )


def _temporary() -> Iterator[Finding]:
    named = os.environ.get("TMPDIR")
    try:
        place = Path(tempfile.gettempdir())
        with tempfile.TemporaryFile(dir=place) as handle:
            handle.write(b"x")
        free = shutil.disk_usage(place).free
    except OSError as failure:
        yield error(
            "temporary files",
            f"no directory for temporary files can be written: {failure}",
            "export TMPDIR=DIR, a directory on a disk of this machine",
        )
        return
    remedy = "export TMPDIR=DIR, a directory on a disk of this machine with more room"
    if named and Path(named).absolute() != place:
        problem = f"$TMPDIR is {named}, which cannot be written: {place} is taken"
        yield warning("temporary files", problem, "make that directory, or name another")
    elif free < GIB:
        yield warning(
            "temporary files",
            f"{place} has {free / GIB:.1f} GiB free; workers put there what does not fit into "
            "memory",
            remedy,
        )
    else:
        yield sound("temporary files", f"{place}, {free / GIB:.0f} GiB free")


def _locale() -> Iterator[Finding]:
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("-", "") != "utf8":
        yield warning(
            "locale",
            f"names of files are read as {encoding}: those with other letters cannot be used",
            "export LC_ALL=C.UTF-8",
        )


def _clock() -> Iterator[Finding]:
    """Find a clock that was never set: certificates and names of runs go by it."""
    here, now = Path(__file__).stat().st_mtime, time.time()
    if now < here - _DAY:
        yield warning(
            "clock",
            f"it is {_date(now)} here, but cpflow was installed on {_date(here)}",
            "set the clock, or let NTP do it: timedatectl set-ntp true",
        )


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
