"""Finished bands on disk: the unit of resumption.

A band is one file with its arrays, and one JSON record with the checksum of that file. The record
is written last, by a rename; a band without a record is not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from cpflow.errors import ProductError
from cpflow.io.npz import read_arrays, written_arrays
from cpflow.permissions import make_directory, permitted, share
from cpflow.store import write_text


@dataclass(frozen=True, slots=True)
class BandRecord:
    """One finished band: its name, the checksum of its file, its size, and when it was done."""

    name: str
    checksum: str
    size: int
    finished: float


def write_band(
    directory: str, name: str, variables: Sequence[str], *arrays: npt.NDArray[Any] | Written
) -> BandRecord:
    """Write the arrays of a band, then its record."""
    for array in arrays:
        if isinstance(array, Written):
            return array.record
    target = Path(directory)
    make_directory(target)
    named: dict[str, Any] = dict(zip(variables, arrays, strict=True))
    content = written_arrays(named)
    record = BandRecord(name, hashlib.sha256(content).hexdigest(), len(content), time.time())
    # Two workers may compute one band after a lost connection; both write the same bytes.
    temporary = target / f".{name}.{os.getpid()}.{time.monotonic_ns()}.tmp"
    with permitted():
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        share(temporary)
        temporary.rename(target / f"{name}.npz")
    write_text(
        target / f"{name}.json",
        json.dumps({"checksum": record.checksum, "size": record.size, "finished": record.finished}),
    )
    return record


@dataclass(frozen=True, slots=True)
class Written:
    """Stands for the arrays of a band that is written already."""

    record: BandRecord

    def __getitem__(self, number: int) -> Written:
        """Stand for one of the arrays."""
        return self


def unless_written(directory: str, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that computes a band, unless that is finished.

    When a worker dies, Dask has all that it held computed again: what it had written is not.
    """
    record = finished_band(Path(directory), name)
    return function(*arguments) if record is None else Written(record)


def finished_band(directory: Path, name: str) -> BandRecord | None:
    """Return the record of a band if it is there and its file has the right checksum."""
    try:
        values: Mapping[str, Any] = json.loads((directory / f"{name}.json").read_text())
        with (directory / f"{name}.npz").open("rb") as handle:
            checksum = hashlib.file_digest(handle, "sha256").hexdigest()
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if checksum != values["checksum"]:
        return None
    return BandRecord(name, checksum, values["size"], values["finished"])


def read_band(directory: Path, name: str) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of a finished band.

    Raises
    ------
    ProductError
        If the file is damaged.
    """
    try:
        return read_arrays(directory / f"{name}.npz")
    except (OSError, ValueError) as error:
        raise ProductError(
            f"staged band {directory / name} cannot be read: {error}",
            hint="run the same command again: it is computed anew",
        ) from error
