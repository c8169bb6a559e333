"""Locks on files: held by one process, given back when it ends, however it ends.

They hold between machines, too, where a network file system passes them on, as NFS does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cpflow.permissions import make_directory, permitted, share

_PAUSE = 0.01


@contextmanager
def hold(path: Path, *, seconds: float) -> Iterator[IO[str]]:
    """Hold a file, which is made if need be; who holds it may remove it, and its directory.

    Parameters
    ----------
    path : path
    seconds : float
        How long to wait for it.

    Yields
    ------
    file
        Open for reading and writing.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    AccessError
        If the user may not write to it.
    """
    deadline = time.monotonic() + seconds
    while True:
        with _opened(path) as handle:
            while not _taken(handle, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))
                time.sleep(_PAUSE)
            # It may have been removed while we waited: then it keeps nobody out.
            if _is_there(handle, path):
                yield handle
                return


def is_held(path: Path) -> bool:
    """Whether a process holds a file. One that may not be read is taken to be held."""
    try:
        with path.open() as handle:
            return not _taken(handle, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True


def _opened(path: Path) -> IO[str]:
    while True:
        make_directory(path.parent)
        try:
            with permitted():
                handle = path.open("a+")
            share(path)
        except FileNotFoundError:
            # Its directory was removed just now.
            continue
        return handle


def _taken(handle: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


def _is_there(handle: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False
