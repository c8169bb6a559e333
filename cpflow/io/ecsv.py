"""ECSV tables of curated calibrations: reading, and whom they say they belong to."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpflow.errors import ProductError

if TYPE_CHECKING:
    from astropy.table import Table


def read_table(path: Path) -> Table:
    """Read an ECSV file.

    Raises
    ------
    ProductError
        If it cannot be read.
    """
    from astropy.table import Table

    try:
        with warnings.catch_warnings():
            # Units such as "electrons" are no concern of these tables.
            warnings.simplefilter("ignore")
            return Table.read(path, format="ascii.ecsv")
    except Exception as error:  # astropy and its YAML reader raise whatever they meet
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise ProductError(f"{path} is not a sound ECSV table: {first[0]}") from error


def write_table(path: Path, table: Table) -> None:
    """Write an ECSV file under its name once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        table.write(temporary, format="ascii.ecsv", overwrite=True)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_owner(
    path: Path, meta: Mapping[str, Any], product: str, instrument: str, detector: int
) -> None:
    """Refuse a table that says that it belongs to something else.

    What a table does not say is not checked.

    Raises
    ------
    ProductError
        Naming the keyword.
    """
    expected = {"OBSTYPE": product, "INSTRUME": instrument, "DETECTOR": detector}
    for key, wanted in expected.items():
        given = meta.get(key)
        if given in (None, ""):
            continue
        if str(given).strip().lower() != str(wanted).lower():
            raise ProductError(
                f"{path}: {key} is {given!r}, expected {wanted!r}",
                hint="a file that lies in the wrong directory?",
            )


def columns_of(path: Path, table: Table, names: tuple[str, ...]) -> None:
    """Refuse a table without some columns.

    Raises
    ------
    ProductError
        Naming those that it lacks.
    """
    lacking = [name for name in names if name not in table.colnames]
    if lacking:
        raise ProductError(f"{path} has no column {', '.join(lacking)}")
