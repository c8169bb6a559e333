"""What goes wrong in tasks, in cpflow's words: whose fault it is decides what becomes of a run.

An error of a product leaves that product out. A full disk, a lost cluster or ctrl-C end the run,
and all that is finished is kept for the next attempt.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cpflow.errors import (
    NO_ROOM,
    ClusterLostError,
    CpflowError,
    InterruptedRunError,
    StorageError,
    TaskError,
)
from cpflow.plan import PlannedProduct
from cpflow.sizes import size_text

logger = logging.getLogger(__name__)

_OF_EXPOSURE = re.compile(r"(?:measure|pair)-.+-(\d+)-[0-9a-f]{16}")
_OF_BAND = re.compile(r".+-band-(\d+)-[0-9a-f]{16}")


def product_error(error: BaseException, product: PlannedProduct) -> CpflowError:
    """Return why a product is not made, from what was raised in one of its tasks.

    Raises
    ------
    BaseException
        What was given, if it is not about this product alone.
    """
    if isinstance(error, (InterruptedRunError, ClusterLostError)):
        raise error
    if isinstance(error, CpflowError):
        return error
    if is_full(error) or not isinstance(error, Exception):
        raise error
    if type(error).__name__ == "KilledWorker":
        return _of_killed(error, product)
    logger.error("%s: an unexpected error", product.label, exc_info=error)
    return TaskError(
        f"{type(error).__name__}: {error}",
        detector=product.detector.id,
        hint="this is a mistake in cpflow or in the graph: the traceback is in the log of the run",
    )


def is_full(error: BaseException) -> bool:
    """Whether a file system took no more."""
    return isinstance(error, OSError) and error.errno in NO_ROOM


@contextmanager
def room_needed(root: Path) -> Iterator[None]:
    """Say in cpflow's words that the file system of a repository takes no more."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise StorageError(
            f"no room for {error.filename or root}: {os.strerror(error.errno or 0)}{_free(root)}",
            hint="make some, and run the same command again: what is finished is kept",
        ) from error


def _free(root: Path) -> str:
    try:
        return f" ({size_text(shutil.disk_usage(root).free)} free at {root})"
    except OSError:
        return ""


def _of_killed(error: Any, product: PlannedProduct) -> TaskError:
    """Say which task it was that several workers died of, one after the other."""
    deaths = int(error.allowed_failures) + 1
    text, exposure, file = _task(str(error.task), product)
    where = getattr(error.last_worker, "address", "unknown")
    several = f"{deaths} workers, the last one" if deaths > 1 else "the worker"
    return TaskError(
        f"{text} ended {several} at {where}",
        exposure=exposure,
        detector=product.detector.id,
        file=file,
        hint="over its memory limit, or a crash: see the logs of the workers; give them more "
        "memory, or take lower bands with --band-rows",
    )


def _task(key: str, product: PlannedProduct) -> tuple[str, int | None, str | None]:
    """Return what a task does, and the exposure and file that it is at work on."""
    found = _OF_EXPOSURE.fullmatch(key)
    if found is not None:
        exposure = int(found[1])
        files = [raw.path for one, raw in product.raws if one.exposure == exposure]
        return f"measuring exposure {exposure}", exposure, files[0] if files else None
    band = _OF_BAND.fullmatch(key)
    if band is not None:
        rows = product.facts.band_rows
        return f"the band of {rows} rows from row {int(band[1]) * rows}", None, None
    return f"task {key}", None, None
