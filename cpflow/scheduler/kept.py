"""Measurements and solutions of a run, kept in its staging: beside bands, what is never redone.

A measurement takes a whole exposure, a solution all of them. Each is written when it is computed,
under the key of its task, which follows from what decides the value. A worker that dies loses what
it computes just then, and a run that is resumed begins where it was.
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dask._task_spec import GraphNode, Task

from cpflow.errors import ProductError
from cpflow.scheduler.plain import pack, unpack, write_value
from cpflow.stack.frame import Failure
from cpflow.stack.pairs import gather_pairs, measure_pair
from cpflow.stack.tasks import gather, measure_exposure

logger = logging.getLogger(__name__)

_KEPT: tuple[Callable[..., Any], ...] = (
    measure_exposure,
    measure_pair,
    gather,
    gather_pairs,
)


def keeping(directory: Path, nodes: Mapping[Any, GraphNode]) -> tuple[dict[Any, GraphNode], int]:
    """Return tasks of which those that are long write their values, or read those that are there.

    Parameters
    ----------
    directory : path
        Of the values.
    nodes : mapping
        Tasks by key.

    Returns
    -------
    nodes : dict
        The same keys.
    kept : int
        How many need not be computed.
    """
    there = {path.name for path in directory.glob("*.npz")} if directory.is_dir() else set()
    found: dict[Any, GraphNode] = {}
    kept = 0
    for key, node in nodes.items():
        if not (isinstance(node, Task) and node.func in _KEPT):
            found[key] = node
            continue
        name = _file_name(str(key))
        path = str(directory / name)
        # The last bytes of such a file say whether it is whole.
        if name in there and zipfile.is_zipfile(path):
            found[key] = Task(key, read_value, path)
            kept += 1
        else:
            found[key] = Task(key, remembered, path, node.func, *node.args, **node.kwargs)
    return found, kept


def remembered(path: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Return what is in a file, or call a function and write what it returns there.

    Read back as it was written, so that a value has the same layout in memory whether it was kept
    or not: sums depend on it. Failures are not written: the file may be mended.
    """
    with suppress(FileNotFoundError, ValueError):
        return unpack(Path(path).read_bytes())
    value = function(*arguments, **named)
    if isinstance(value, Failure):
        return value
    try:
        content = pack(value)
    except TypeError as error:
        logger.warning("a value is not kept for a resumed run: %s", error)
        return value
    write_value(Path(path), content)
    return unpack(content)


def read_value(path: str) -> Any:
    """Return what is in a file.

    Raises
    ------
    ProductError
        If it is damaged; it is not there afterwards.
    """
    try:
        return unpack(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        Path(path).unlink(missing_ok=True)
        raise ProductError(
            f"staged measurement {path} cannot be read: {error}",
            hint="run the same command again: it is computed anew",
        ) from error


def _file_name(key: str) -> str:
    """Return a name for the value of a task: readable, and different for each key."""
    shown = "".join(c if c.isalnum() or c in "-_" else "_" for c in key)[:60]
    return f"{shown}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
