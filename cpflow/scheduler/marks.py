"""Files by which a directory is known again at the same path of another machine."""

from __future__ import annotations

import fcntl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cpflow.scheduler.worker_probe import Mark
from cpflow.store import STAGING

# Seconds that a file may take until it is seen here.
_PATIENCE = 3.0


@contextmanager
def marked(root: Path) -> Iterator[Mark]:
    """Leave a mark in a repository, and hold a lock on it, within the block.

    It is put where runs stage, if there is such a place, and those that workers leave are removed
    with it.

    Raises
    ------
    OSError
        If nothing can be written there.
    """
    place = root / STAGING if (root / STAGING).is_dir() else root
    path = place / f".doctor-{uuid.uuid4().hex}"
    text = f"{uuid.uuid4()}\n"
    try:
        with path.open("x") as handle:
            handle.write(text)
            handle.flush()
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = True
            except OSError:
                locked = False
            yield Mark(path, text, locked)
    finally:
        for one in place.glob(f"{path.name}*"):
            one.unlink(missing_ok=True)


def is_seen(written: Path, mark: Mark) -> bool:
    """Whether a file that a worker wrote is here, and the same."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            if written.read_text() == mark.text:
                return True
        except OSError:
            pass
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
