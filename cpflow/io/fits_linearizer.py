"""Linearizers as FITS tables in the layout of version 1.8 (spec electro-optical 2.6).

One row per amplifier. What cpflow does not have is NaN (``FIT_PARAMS_ERR``; ``INPUT_GAIN`` and
``INPUT_TURNOFF`` of a ramp of flats), 1 (``INP_NORMALIZATION``), 0 (``INP_GROUPING_INDEX``) or
empty (``ABS_REF_AMP``). ``FIT_PARAMS`` is slope and intercept. A linearizer that knows no points
has no columns of points.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.io.fits_tables import TableColumn, column, each_row, missing, write_tables
from cpflow.products import LINEARITY_KINDS

if TYPE_CHECKING:
    import xarray as xr

Floats = npt.NDArray[np.float64]
_TYPES = {
    "none": "None",
    "proportional": "Proportional",
    "squared": "Squared",
    "polynomial": "Polynomial",
    "lookup_table": "LookupTable",
    "spline": "Spline",
    "double_spline": "DoubleSpline",
}


def write_linearizer(
    path: Path,
    product: xr.Dataset,
    detector: Detector,
    meta: Mapping[str, object],
    *,
    ptc: xr.Dataset | None = None,
) -> None:
    """Write a linearizer; lookup tables become a second table.

    Parameters
    ----------
    path : pathlib.Path
        It appears complete or not at all.
    product : xarray.Dataset
        A ``linearizer``, in memory.
    detector : Detector
        Whose amplifiers it belongs to, in this order.
    meta : mapping
        Goes into the header, after what describes the layout.
    ptc : xarray.Dataset, optional
        The photon transfer curve that it was made from, in memory.
    """
    has_table = "table" in product
    header: dict[str, object] = {
        "OBSTYPE": "LINEARIZER",
        "LINEARIZER_SCHEMA": "Gen3 Linearizer",
        "LINEARIZER_VERSION": 1.8,
        "INSTRUME": product.attrs.get("instrument"),
        "DETECTOR": product.attrs.get("detector"),
        "HAS_LINEARITY": True,
        "OVERRIDE": False,
        "HAS_TABLE": has_table,
        "LINEARITY_UNITS": "adu",
        **meta,
    }
    columns = {**_corrections(product), **_boxes(product, detector), **_fits(product)}
    if ptc is not None:
        columns["INPUT_GAIN"] = column(ptc["gain"].values, "electron/adu")
        columns["INPUT_TURNOFF"] = column(ptc["turnoff"].values, "adu")
    tables = [("LINEARIZER", columns)]
    if has_table:
        entries = np.asarray(product["table"].values, np.float32)
        tables.append(("LOOKUP", {"LOOKUP_VALUES": column(entries, "adu")}))
    write_tables(path, tables, header)


def _corrections(product: xr.Dataset) -> dict[str, TableColumn]:
    kinds = [LINEARITY_KINDS[int(kind)] for kind in product["kind"].values]
    # Zeros fill up: readers take the length of a column for that of the coefficients.
    coefficients = np.nan_to_num(np.asarray(product["coefficients"].values, np.float64), nan=0.0)
    for a, kind in enumerate(kinds):
        if kind == "lookup_table":
            # Row and offset: here each amplifier has a row of its own.
            coefficients[a, 0] = a
    names = np.array([str(name) for name in product["amp"].values])
    return {
        "AMPLIFIER_NAME": column(names),
        "TYPE": column(np.array([_TYPES[kind] for kind in kinds])),
        "COEFFS": column(coefficients),
    }


def _boxes(product: xr.Dataset, detector: Detector) -> dict[str, TableColumn]:
    boxes = {amplifier.name: amplifier.detector_box for amplifier in detector.amplifiers}
    of = [boxes[str(name)] for name in product["amp"].values]
    parts = {"X0": "x0", "Y0": "y0", "DX": "width", "DY": "height"}
    return {
        f"BBOX_{key}": column(np.array([getattr(box, name) for box in of], np.int64), "pixel")
        for key, name in parts.items()
    }


def point_count(product: xr.Dataset) -> int:
    """Return how many points there are without those that only fill up."""
    if "signal" not in product:
        return 0
    finite = np.isfinite(product["signal"].values).any(axis=0)
    return int(np.flatnonzero(finite)[-1]) + 1 if finite.any() else 0


def _fits(product: xr.Dataset) -> dict[str, TableColumn]:
    rows, points = product.sizes["amp"], point_count(product)

    def of(name: str, unit: str = "") -> TableColumn:
        return column(values(name), unit)

    def values(name: str) -> Floats:
        if name not in product:
            return np.full(rows, np.nan)
        return np.asarray(product[name].values, np.float64)

    line = np.stack([values("intercept"), values("slope")], axis=1)
    columns = {
        "INPUT_GAIN": missing(rows, unit="electron/adu"),
        "INPUT_TURNOFF": missing(rows, unit="adu"),
        "FIT_PARAMS": column(line[:, ::-1]),
        "FIT_PARAMS_ERR": missing(rows, 2),
        "RED_CHI_SQ": of("chi2"),
        "FIT_RES_SIGMAD": of("scatter"),
        "LIN_FIT": column(line),
        "LINEARITY_TURNOFF": of("turnoff", "adu"),
        "LINEARITY_MAX_SIGNAL": of("max_signal", "adu"),
        "ABS_REF_AMP": each_row("", rows),
    }
    if points:
        abscissa = product["abscissa"].values[:points]
        used = np.asarray(product["used"].values, np.bool_)[:, :points]
        residuals = product["residual_adu"].values[:, :points]
        model = line[:, :1] + line[:, 1:] * abscissa
        columns |= {
            "INP_ABSCISSA": each_row(abscissa, rows),
            "INP_ORDINATE": column(product["signal"].values[:, :points], "adu"),
            "INP_MASK": column(used),
            "INP_GROUPING_INDEX": each_row(np.zeros(points, np.int64), rows),
            "INP_NORMALIZATION": each_row(np.ones(points), rows),
            "FIT_RES": column(np.where(used, residuals, np.nan), "adu"),
            "FIT_RES_UNMASKED": column(residuals, "adu"),
            "FIT_RES_MODEL": column(model, "adu"),
        }
    return columns
