"""Defects as ECSV tables, in the layout that LATISS publishes (spec isr-and-combine 4.8).

Columns ``x0 y0 width height``: boxes of pixels of the assembled, trimmed detector, counted from 0.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import ProductError
from cpflow.io.ecsv import check_owner, columns_of, read_table, write_table
from cpflow.io.fits_defects import read_boxes
from cpflow.products import DEFECTS

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger(__name__)

COLUMNS = ("x0", "y0", "width", "height")


def read_defects(
    path: Path,
    *,
    instrument: str,
    detector: int,
    shape: tuple[int, int],
    product: str = DEFECTS.name,
) -> Any:
    """Read defects as a product.

    Parameters
    ----------
    path : pathlib.Path
        ECSV, or FITS if its name ends so (`cpflow.io.fits_defects.read_boxes`).
    instrument : str
    detector : int
    shape : tuple of int
        Rows and columns of the detector; a box that reaches beyond it is cut.
    product : str
        Type that the table may say it is: defects, or manual_defects.

    Returns
    -------
    xarray.Dataset
        As `cpflow.products.DEFECTS` says.

    Raises
    ------
    ProductError
        If a box is empty or lies outside the detector, or the table belongs to something else.
    """
    if path.suffix == ".fits":
        boxes, meta = read_boxes(path)
        check_owner(path, meta, _owner(meta, product), instrument, detector)
        return defects_product(
            _inside(path, boxes, shape), instrument=instrument, detector=detector
        )
    table = read_table(path)
    check_owner(path, table.meta, _owner(table.meta, product), instrument, detector)
    columns_of(path, table, COLUMNS)
    values = []
    for name in COLUMNS:
        column = np.ma.filled(np.ma.asarray(table[name]), -1)
        if column.dtype.kind not in "iu" and len(column):
            raise ProductError(f"{path}: column {name} is not of integers")
        values.append(column.astype(np.int64))
    boxes = np.column_stack(values) if len(table) else np.empty((0, 4), np.int64)
    return defects_product(_inside(path, boxes, shape), instrument=instrument, detector=detector)


def _owner(meta: Mapping[str, Any], product: str) -> str:
    """Return what a table may call itself: lists made by hand are often called defects."""
    return DEFECTS.name if meta.get("OBSTYPE") == DEFECTS.name else product


def _inside(path: Path, boxes: npt.NDArray[np.int64], shape: tuple[int, int]) -> Any:
    rows, columns = shape
    size = np.array([columns, rows])
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    wrong = (boxes[:, 2:] < 1).any(axis=1) | (low >= size).any(axis=1) | (high <= 0).any(axis=1)
    if wrong.any():
        number = int(np.flatnonzero(wrong)[0])
        x0, y0, width, height = boxes[number].tolist()
        raise ProductError(
            f"{path}: box {number + 1} (x0 {x0}, y0 {y0}, {width} x {height}) has no pixel of the "
            f"detector, which has {columns} columns and {rows} rows",
            hint="is this file for another camera?",
        )
    cut_low, cut_high = np.maximum(low, 0), np.minimum(high, size)
    count = int(((cut_low != low) | (cut_high != high)).any(axis=1).sum())
    if count:
        logger.warning("%s: %d boxes reach beyond the detector and were cut", path, count)
    return np.column_stack([cut_low, cut_high - cut_low])


def defects_product(boxes: npt.NDArray[np.int64], *, instrument: str, detector: int) -> xr.Dataset:
    """Return boxes, shape (box, 4) of x0, y0, width, height, as a product."""
    import xarray as xr

    product = xr.Dataset(
        {
            name: ("box", boxes[:, i].astype(np.int32), {"units": "pixel"})
            for i, name in enumerate(COLUMNS)
        },
        attrs={"product": DEFECTS.name, "instrument": instrument, "detector": detector},
    )
    DEFECTS.check(product)
    return product


def write_defects(path: Path, product: xr.Dataset, meta: Mapping[str, Any]) -> None:
    """Write a defects product as ECSV.

    Parameters
    ----------
    path : pathlib.Path
        It appears complete or not at all.
    product : xarray.Dataset
    meta : mapping
        Goes into the table's header, after ``OBSTYPE``, ``INSTRUME`` and ``DETECTOR``.
    """
    from astropy.table import Table

    table = Table({name: product[name].values.astype(np.int32) for name in COLUMNS})
    for name in COLUMNS:
        table[name].unit = "pix"
    table.meta.update(
        {
            "OBSTYPE": DEFECTS.name,
            "INSTRUME": product.attrs.get("instrument"),
            "DETECTOR": product.attrs.get("detector"),
            "defects_SCHEMA": "",
            "defects_VERSION": 2.0,
            **meta,
        }
    )
    write_table(path, table)
