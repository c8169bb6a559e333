"""Values of tasks as files, without pickle: arrays, plain values, and cpflow's own dataclasses.

A file is an ``.npz`` of all arrays, with one array more: JSON that says how they go together. No
code is run by reading it: of classes only dataclasses of cpflow are made, field by field.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from cpflow.io.npz import read_arrays, written_arrays
from cpflow.permissions import make_directory, share

_TREE = "tree"
_PLAIN = (bool, int, float, str, type(None))


def pack(value: Any) -> bytes:
    """Return a value as the content of a file.

    Raises
    ------
    TypeError
        If something in it is neither an array, nor a plain value, nor a dataclass of cpflow.
    """
    arrays: list[np.ndarray[Any, Any]] = []
    tree = json.dumps(_down(value, arrays))
    named: dict[str, Any] = {f"a{number}": array for number, array in enumerate(arrays)}
    named[_TREE] = np.frombuffer(tree.encode(), np.uint8)
    return bytes(written_arrays(named))


def unpack(content: bytes) -> Any:
    """Return the value that `pack` was given; equal to the bit.

    Raises
    ------
    ValueError
        If the content is damaged, or of another version of cpflow.
    """
    try:
        arrays = read_arrays(io.BytesIO(content))
        return _up(json.loads(arrays[_TREE].tobytes()), arrays)
    except (
        OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, ImportError,
    ) as error:  # fmt: skip
        raise ValueError(f"not a value of a task: {error}") from error


def write_value(path: Path, content: bytes) -> None:
    """Write a packed value so that a reader sees all of it or nothing.

    It is not forced to disk: one that a power failure damages has a wrong checksum, and is computed
    again.
    """
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    try:
        temporary.write_bytes(content)
        share(temporary)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def _down(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    """Return a value as JSON: plain ones as they are, all others as [kind, ...]."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return ["array", len(arrays) - 1]
    if isinstance(value, np.generic):
        arrays.append(np.asarray(value))
        return ["scalar", len(arrays) - 1]
    if type(value) in (tuple, list):
        return [type(value).__name__, [_down(item, arrays) for item in value]]
    if type(value) is dict:
        items = [[_down(key, arrays), _down(item, arrays)] for key, item in value.items()]
        return ["dict", items]
    if type(value) is range:
        return ["range", [value.start, value.stop, value.step]]
    if _is_own(type(value)):
        names = [field.name for field in dataclasses.fields(value)]
        fields = {name: _down(getattr(value, name), arrays) for name in names}
        return ["of", type(value).__module__, type(value).__qualname__, fields]
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} is no plain value")


def _up(tree: Any, arrays: Any) -> Any:
    if not isinstance(tree, list):
        return tree
    kind, *rest = tree
    if kind == "array":
        return arrays[f"a{rest[0]}"]
    if kind == "scalar":
        return arrays[f"a{rest[0]}"][()]
    if kind in ("tuple", "list"):
        items = [_up(item, arrays) for item in rest[0]]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict":
        return {_up(key, arrays): _up(item, arrays) for key, item in rest[0]}
    if kind == "range":
        return range(*rest[0])
    if kind == "of":
        return _made(rest[0], rest[1], rest[2], arrays)
    raise KeyError(kind)


def _made(module: str, name: str, fields: dict[str, Any], arrays: Any) -> Any:
    if module.partition(".")[0] != "cpflow":
        raise KeyError(module)
    kind: Any = importlib.import_module(module)
    for part in name.split("."):
        kind = getattr(kind, part)
    if not (isinstance(kind, type) and _is_own(kind)):
        raise KeyError(name)
    if set(fields) != {field.name for field in dataclasses.fields(kind)}:
        raise KeyError(f"the fields of {name}")
    value: Any = object.__new__(kind)
    for field, tree in fields.items():
        # What a frozen one does itself; it was checked when it was made.
        object.__setattr__(value, field, _up(tree, arrays))
    return value


def _is_own(kind: type) -> bool:
    own = kind.__module__.partition(".")[0] == "cpflow"
    return own and dataclasses.is_dataclass(kind)
