"""Tables as FITS files: one binary table per HDU, under their name only once complete."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.io.fits_product import _header


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column: an entry, or an array of any shape, for each row; and its unit.

    The unit is the comment of ``TTYPEn``, and ``TUNITn`` if FITS knows it.
    """

    values: npt.NDArray[Any]
    unit: str = ""


def column(values: Any, unit: str = "") -> TableColumn:
    """Return a column; numbers get no smaller type than they have."""
    return TableColumn(np.asarray(values), unit)


def each_row(values: Any, rows: int, unit: str = "") -> TableColumn:
    """Return a column with the same content in each row."""
    array = np.asarray(values)
    return TableColumn(np.broadcast_to(array, (rows, *array.shape)).copy(), unit)


def missing(rows: int, *shape: int, unit: str = "") -> TableColumn:
    """Return a column of NaN."""
    return TableColumn(np.full((rows, *shape), np.nan), unit)


def write_tables(
    path: str | Path,
    tables: Sequence[tuple[str, Mapping[str, TableColumn]]],
    header: Mapping[str, object],
) -> None:
    """Write tables as FITS, one HDU each after an empty first one.

    The same content gives the same bytes, whenever it is written.

    Parameters
    ----------
    path : str or path
        An existing file is replaced.
    tables : sequence of (str, mapping of str to TableColumn)
        Name of the HDU, and its columns.
    header : mapping of str to value
        For the first HDU and the first table, where readers of tables look for it. A keyword longer
        than eight characters becomes a HIERARCH card.

    Raises
    ------
    ProductError
        If a keyword cannot be written.
    """
    from astropy.io import fits
    from astropy.table import Column, Table

    cards = _header(header, str(path))
    hdus = [fits.PrimaryHDU(header=cards)]
    for number, (name, columns) in enumerate(tables):
        table = Table([Column(_plain(c.values), name=key) for key, c in columns.items()])
        hdu = fits.table_to_hdu(table)
        for place, one in enumerate(columns.values(), start=1):
            if not one.unit:
                continue
            # FITS has no electron, and readers that are strict about units refuse the table.
            if "electron" not in one.unit:
                hdu.header.set(f"TUNIT{place}", one.unit, after=f"TFORM{place}")
            hdu.header.comments[f"TTYPE{place}"] = one.unit
        hdu.name = name
        if number == 0:
            hdu.header.update(cards)
        hdus.append(hdu)
    written = fits.HDUList(hdus)
    written.update_extend()
    for hdu in written:
        # astropy's comment on these cards is the time of day; leave it out.
        hdu.add_checksum(when="")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        written.writeto(partial, output_verify="exception")
        os.replace(partial, target)  # noqa: PTH105 - says that it overwrites, on every system
    finally:
        partial.unlink(missing_ok=True)


def _plain(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return text as FITS has it: of one width, at least one letter, ASCII."""
    if values.dtype.kind not in "UOTS":
        return np.ascontiguousarray(values)
    texts = [str(item).encode("ascii", "replace").decode() for item in values.ravel()]
    width = max((len(text) for text in texts), default=1)
    return np.array(texts, f"U{max(width, 1)}").reshape(values.shape)
