"""Brighter-fatter kernels as FITS tables in the layout of version 1.1 (spec 3.3).

The first table has a row per amplifier, the second the kernel of the detector. Kernels are indexed
[x, y], row by row. ``EXP_ID_MASK``, ``RAW_MEANS``, ``RAW_VARIANCES``, ``RAW_XCORRS``, ``GAIN`` and
``NOISE`` belong to the photon transfer curve; without it they hold NaN, for one pair that is not
used. ``KERNEL_ERR``, and ``VALID`` of the detector, are more than the layout has.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cpflow.io.fits_tables import TableColumn, column, missing, write_tables

if TYPE_CHECKING:
    import xarray as xr

Floats = npt.NDArray[np.float64]
_UNIT = "electron-1"


def write_kernel(
    path: Path,
    product: xr.Dataset,
    meta: Mapping[str, object],
    *,
    detector_name: str,
    ptc: xr.Dataset | None = None,
) -> None:
    """Write the kernels of a detector.

    Parameters
    ----------
    path : pathlib.Path
        It appears complete or not at all.
    product : xarray.Dataset
        A ``bfk``, in memory.
    meta : mapping
        Goes into the header, after what describes the layout.
    detector_name : str
        As the second table calls the detector.
    ptc : xarray.Dataset, optional
        The photon transfer curve that it was made from, in memory.
    """
    across, along = product["detector_kernel"].shape
    header: dict[str, object] = {
        "OBSTYPE": "bfk",
        "bfk_SCHEMA": "Brighter-fatter kernel",
        "bfk_VERSION": 1.1,
        "INSTRUME": product.attrs.get("instrument"),
        "DETECTOR": product.attrs.get("detector"),
        "LEVEL": "AMP",
        "KERNEL_DX": across,
        "KERNEL_DY": along,
        **meta,
    }
    rows = product.sizes["amp"]
    names = np.array([str(name) for name in product["amp"].values])

    def flat(name: str) -> TableColumn:
        if name not in product:
            return missing(rows, across * along, unit=_UNIT)
        return column(np.asarray(product[name].values, np.float64).reshape(rows, -1), _UNIT)

    amplifiers = {
        "AMPLIFIER": column(names),
        **_inputs(product, ptc, (across - 1) // 2),
        "MEAN_XCORRS": flat("pre_kernel"),
        "KERNEL": flat("kernel"),
        "KERNEL_ERR": flat("kernel_error"),
        "VALID": column(np.asarray(product["valid"].values, np.bool_)),
    }
    kernel = np.asarray(product["detector_kernel"].values, np.float64).reshape(1, -1)
    detector = {
        "DETECTOR": column(np.array([detector_name])),
        "KERNEL": column(kernel, _UNIT),
    }
    if "detector_valid" in product:
        detector["VALID"] = column(np.asarray(product["detector_valid"].values, np.bool_)[None])
    if "detector_kernel_error" in product:
        error = np.asarray(product["detector_kernel_error"].values, np.float64)
        detector["KERNEL_ERR"] = column(error.reshape(1, -1), _UNIT)
    write_tables(path, [("AMPLIFIERS", amplifiers), ("DETECTORS", detector)], header)


def _inputs(product: xr.Dataset, ptc: xr.Dataset | None, lags: int) -> dict[str, TableColumn]:
    rows = product.sizes["amp"]
    if ptc is None:
        return {
            "EXP_ID_MASK": column(np.zeros((rows, 1), np.bool_)),
            "RAW_MEANS": missing(rows, 1, unit="adu"),
            "RAW_VARIANCES": missing(rows, 1, unit="adu2"),
            "RAW_XCORRS": missing(rows, lags * lags, unit="adu2"),
            "GAIN": missing(rows, unit="electron/adu"),
            "NOISE": missing(rows, unit="electron"),
        }
    covariances = np.asarray(ptc["covariances"].values, np.float64)[:, :, :lags, :lags]
    return {
        "EXP_ID_MASK": column(np.asarray(ptc["used"].values, np.bool_)),
        "RAW_MEANS": column(ptc["mean"].values, "adu"),
        "RAW_VARIANCES": column(ptc["variance"].values, "adu2"),
        "RAW_XCORRS": column(covariances.reshape(rows, -1), "adu2"),
        "GAIN": column(ptc["gain"].values, "electron/adu"),
        "NOISE": column(ptc["noise"].values, "electron"),
    }
