"""What a worker says of itself; runs there, as a task."""

from __future__ import annotations

import fcntl
import os
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEEN_ELSEWHERE = "another directory is there: a file that was just made here is not in it"
_BLOCK = 2880


@dataclass(frozen=True, slots=True)
class Mark:
    """A file that was made here, in a directory that workers should see at the same path."""

    path: Path
    text: str
    is_locked: bool


@dataclass(frozen=True, slots=True)
class Question:
    """What workers are asked."""

    root: Path | None = None
    """Of a repository."""
    mark: Mark | None = None
    raws: Sequence[tuple[str, int]] = ()
    """Paths and sizes of raw files."""


def probe(question: Question) -> dict[str, Any]:
    """Return what this worker is, and how it sees what it is asked for.

    All of it plain: who asks may be another version of cpflow.
    """
    from distributed import get_worker

    from cpflow.environment import examine_kernels
    from cpflow.environment.limits import most_memory, usable_cores
    from cpflow.environment.packages import versions
    from cpflow.findings import Level

    worker = get_worker()
    return {
        "host": socket.gethostname(),
        "versions": versions(),
        "kernels": [
            (one.level.value, one.problem, one.remedy)
            for one in examine_kernels()
            if one.level is not Level.OK
        ],
        "threads": worker.state.nthreads,
        "memory_limit": worker.memory_manager.memory_limit,
        "local_directory": str(worker.local_directory),
        "cores": usable_cores(),
        "memory": most_memory(),
        "user": os.geteuid(),
        **({} if question.root is None else _repository(question.root, question.mark)),
        "raws": {path: text for path, size in question.raws if (text := _unreadable(path, size))},
    }


def _repository(root: Path, mark: Mark | None) -> dict[str, Any]:
    try:
        root.stat()
    except OSError as failure:
        return {"unseen": f"{root}: {failure.strerror}"}
    if mark is None:
        return {}
    try:
        if mark.path.read_text() != mark.text:
            return {"unseen": f"{root}: {SEEN_ELSEWHERE}"}
    except FileNotFoundError:
        return {"unseen": f"{root}: {SEEN_ELSEWHERE}"}
    except OSError as failure:
        return {"unseen": f"{mark.path.parent}: {failure.strerror}"}
    written = mark.path.with_name(f"{mark.path.name}-{uuid.uuid4().hex}")
    try:
        written.write_text(mark.text)
    except OSError as failure:
        return {"unwritten": f"{written.parent}: {failure.strerror}"}
    lock = _lock(mark.path) if mark.is_locked else None
    return {"written": str(written)} | ({} if lock is None else {"lock": lock})


def _lock(path: Path) -> str | None:
    """Say what is wrong with a lock that another process holds."""
    try:
        with path.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError as failure:
        return f"locks (flock) do not work there: {failure.strerror}"
    return "a lock that is held here is not seen there"


def _unreadable(path: str, size: int) -> str | None:
    try:
        with Path(path).open("rb") as handle:
            handle.read(_BLOCK)
            found = os.fstat(handle.fileno()).st_size
    except OSError as failure:
        return failure.strerror or str(failure)
    return None if found == size else f"it has {found} bytes there, not {size}"
