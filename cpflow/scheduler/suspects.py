"""No task waits on a worker: when that dies, only what it was at work on is suspected.

Dask gives a worker tasks ahead, so that it is never idle, and suspects all of them. A run would
then name an exposure that had nothing to do with it. Our tasks are long: the pause is not felt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

NO_WAITING = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0"}
"""Of the environment of a scheduler."""


@contextmanager
def no_waiting() -> Iterator[None]:
    """Have a scheduler that is started within the block do so."""
    import dask

    with dask.config.set({"distributed.scheduler.worker-saturation": 1.0}):
        yield
