"""Defects as FITS tables: boxes, or regions (spec isr-and-combine 4.8)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import ProductError
from cpflow.io.fits_tables import column, write_tables

if TYPE_CHECKING:
    import xarray as xr
    from astropy.table import Table

COLUMNS = ("x0", "y0", "width", "height")
_REGION = ("X", "Y", "SHAPE")


def write_defects_fits(path: Path, product: xr.Dataset, meta: Mapping[str, Any]) -> None:
    """Write a defects product as a FITS binary table, its boxes in HDU 1.

    Parameters
    ----------
    path : pathlib.Path
        It appears complete or not at all.
    product : xarray.Dataset
    meta : mapping
        Goes into the header, after ``OBSTYPE``, ``INSTRUME`` and ``DETECTOR``.
    """
    header = {
        "OBSTYPE": "defects",
        "INSTRUME": product.attrs.get("instrument"),
        "DETECTOR": product.attrs.get("detector"),
        "defects_VERSION": 2.0,
        **meta,
    }
    boxes = {name: column(product[name].values.astype(np.int32), "pix") for name in COLUMNS}
    write_tables(path, [("DEFECTS", boxes)], header)


def read_boxes(path: Path) -> tuple[npt.NDArray[np.int64], dict[str, Any]]:
    """Read boxes and the header of a FITS file of defects.

    Parameters
    ----------
    path : pathlib.Path
        A table with columns x0, y0, width, height (counted from 0), or a FITS region table with X,
        Y (centres, counted from 1), SHAPE of POINT, BOX or ROTBOX, R and ROTANG.

    Returns
    -------
    boxes : array of int64, shape (box, 4)
        x0, y0, width, height in pixels of the assembled detector, counted from 0.
    header : dict
        Of both HDUs, the table's on top.

    Raises
    ------
    ProductError
        If it cannot be read or has neither layout.
    """
    from astropy.io import fits
    from astropy.table import Table

    try:
        with fits.open(path) as hdus:
            header = {**hdus[0].header, **hdus[1].header}
        table = Table.read(path, hdu=1)
    except (OSError, IndexError, ValueError) as error:
        raise ProductError(f"{path} is no FITS file with a table in HDU 1: {error}") from error
    if all(name in table.colnames for name in COLUMNS):
        boxes = [np.asarray(table[name], np.int64) for name in COLUMNS]
        return np.stack(boxes, axis=1).reshape(-1, 4), header
    if all(name in table.colnames for name in _REGION):
        return _regions(path, table), header
    raise ProductError(
        f"{path} has columns {', '.join(table.colnames)}",
        hint=f"defects have {', '.join(COLUMNS)}, or X, Y, SHAPE, R, ROTANG of a region table",
    )


def _regions(path: Path, table: Table) -> npt.NDArray[np.int64]:
    boxes = np.empty((len(table), 4), np.int64)
    for i, row in enumerate(table):
        shape = str(row["SHAPE"]).strip().upper().lstrip("!")
        width, height = 1.0, 1.0
        if shape in ("BOX", "ROTBOX"):
            width, height = (float(size) for size in np.atleast_1d(row["R"])[:2])
            angle = float(np.atleast_1d(row["ROTANG"])[0]) if "ROTANG" in table.colnames else 0.0
            turns = angle / 90
            if abs(turns - round(turns)) > 1e-6:
                raise ProductError(
                    f"{path}: region {i + 1} is turned by {angle} degrees, not by 90"
                )
            if round(turns) % 2:
                width, height = height, width
        elif shape != "POINT":
            raise ProductError(
                f"{path}: region {i + 1} has shape {shape}", hint="POINT, BOX and ROTBOX are read"
            )
        x, y = (float(np.atleast_1d(row[name])[0]) for name in ("X", "Y"))
        # The centre of the first pixel is 1, so a box of width w about x begins at x - (w+1)/2.
        corner = np.round([x - (width + 1) / 2, y - (height + 1) / 2])
        boxes[i] = *corner, round(width), round(height)
    return boxes
