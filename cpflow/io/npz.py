"""Arrays in one ``.npz`` file, read by many threads at once, and never by running anything.

`numpy.load` reads the head of each array with the parser of Python, of which two threads of Python
3.11 before 3.11.8, and so of Debian 12, may not make use at the same time: one of them fails with
``SystemError: AST constructor recursion depth mismatch`` (python/cpython, issue 106905).
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_HEAD = re.compile(
    r"\{'descr': '(?P<dtype>[^']+)', 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>[\d, ]*)\), \} *\n"
)
# Bytes that hold the length of the head, by the version of the format.
_LENGTH = {(1, 0): 2, (2, 0): 4, (3, 0): 4}


def written_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> memoryview:
    """Return the content of a file with arrays, which `numpy.load` reads, too.

    Raises
    ------
    TypeError
        If there is one of objects, or of records.
    """
    for array in arrays.values():
        if array.dtype.hasobject:
            raise TypeError("an array of objects is no plain value")
        if array.dtype.fields is not None:
            raise TypeError("an array of records is no plain value: take one for each field")
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getbuffer()


def read_arrays(file: Path | io.BytesIO) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a file, by name.

    Raises
    ------
    ValueError
        If it is damaged, or holds something else.
    OSError
        If it cannot be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return {
                name.removesuffix(".npy"): _array(bytearray(archive.read(name)))
                for name in archive.namelist()
            }
    except (
        zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, NotImplementedError,
        RuntimeError,
    ) as error:  # fmt: skip
        raise ValueError(f"not a file of arrays: {error}") from error


def _array(content: bytearray) -> npt.NDArray[Any]:
    """Return the array in the format ``.npy``."""
    size = _LENGTH.get((content[6], content[7])) if len(content) > 8 else None
    if size is None or content[:6] != b"\x93NUMPY":
        raise ValueError("not an array")
    start = 8 + size + int.from_bytes(content[8 : 8 + size], "little")
    head = _HEAD.fullmatch(content[8 + size : start].decode("latin1"))
    dtype = None if head is None else np.dtype(head["dtype"])
    if head is None or dtype is None or dtype.hasobject:
        raise ValueError("not an array of plain values")
    shape = tuple(int(number) for number in head["shape"].split(",") if number.strip())
    values = np.frombuffer(content, dtype, offset=start)
    return values.reshape(shape, order="F" if head["fortran"] == "True" else "C")
