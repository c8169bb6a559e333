"""Photon transfer curves as FITS tables in the layout PTC 2.6 (spec electro-optical 1.14).

One row per amplifier, every column of the layout. What cpflow does not measure is NaN:
``PTC_ROLLOFF*``, ``AMP_OFFSETS``, ``PHOTO_CHARGE``, ``PHOTO_CHARGE_DELTAS``, and ``HIST_VARS`` and
``HIST_CHI2_DOFS`` unless ``ptc.histogram`` was set. ``EXP_ID_ROLLOFF_MASK`` is ``EXP_ID_MASK``, and
``GAIN_UNADJUSTED`` is ``GAIN``, since neither a rolloff nor a ratio of gains is applied.
``PTC_FIT_PARS`` is a00, gain, squared noise for EXPAPPROXIMATION and NaN for other fits, while
``PTC_FIT_CHI_SQ``, reduced, is there for all. Where no amplifier is bad, ``BAD_AMPS`` is one blank.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.io.fits_tables import TableColumn, column, each_row, missing, write_tables

if TYPE_CHECKING:
    import xarray as xr

Floats = npt.NDArray[np.float64]
_FULL = "FULLCOVARIANCE"
_MAD = 1.4826


def write_ptc(
    path: Path,
    product: xr.Dataset,
    meta: Mapping[str, object],
    *,
    mjd_start: npt.ArrayLike | None = None,
    auxiliary: Mapping[str, Any] | None = None,
) -> None:
    """Write a photon transfer curve.

    Parameters
    ----------
    path : pathlib.Path
        It appears complete or not at all.
    product : xarray.Dataset
        A ``ptc``, in memory.
    meta : mapping
        Goes into the header, after what describes the layout.
    mjd_start : array of float, shape (pair,), optional
        When the first exposure of each pair began, TAI.
    auxiliary : mapping of str to array of shape (pair,), optional
        Becomes a column ``PTCAUX_<key>`` each.
    """
    header: dict[str, object] = {
        "OBSTYPE": "PTC",
        "PTC_SCHEMA": "Gen3 Photon Transfer Curve",
        "PTC_VERSION": 2.6,
        "INSTRUME": product.attrs.get("instrument"),
        "DETECTOR": product.attrs.get("detector"),
        **meta,
    }
    columns = {**_scalars(product), **_of_pairs(product, mjd_start), **_matrices(product)}
    rows = product.sizes["amp"]
    for key, values in (auxiliary or {}).items():
        columns[f"PTCAUX_{key}"] = each_row(values, rows)
    write_tables(path, [("PTC", columns)], header)


def fitted_side(product: xr.Dataset) -> int:
    """Return to how many lags matrices were fitted; as many as measured if none were."""
    finite = np.isfinite(product["a"].values).any(axis=(0, 1))
    side = int(np.flatnonzero(finite)[-1]) + 1 if finite.any() else 0
    return side if side > 1 else product.sizes["lag_y"]


def _fit_type(product: xr.Dataset) -> str:
    return str(product.attrs.get("fit_type", _FULL))


def _scalars(product: xr.Dataset) -> dict[str, TableColumn]:
    rows = product.sizes["amp"]

    def of(name: str) -> Floats:
        if name not in product:
            return np.full(rows, np.nan)
        return np.asarray(product[name].values, np.float64)

    names = np.array([str(name) for name in product["amp"].values])
    bad = ~np.isfinite(of("gain"))
    with np.errstate(divide="ignore", invalid="ignore"):
        chi2 = of("chi2") / (of("dof") if "dof" in product else 1.0)
    values, errors = _parameters(product)
    median, sigma = _overscan(product)
    columns = {
        "AMPLIFIER_NAME": column(names),
        "PTC_FIT_TYPE": each_row(_fit_type(product), rows),
        "COV_MATRIX_SIDE": each_row(product.sizes["lag_x"], rows),
        "COV_MATRIX_SIDE_FULL_COV_FIT": each_row(fitted_side(product), rows),
        "GAIN": column(of("gain"), "electron/adu"),
        "GAIN_ERR": column(of("gain_error"), "electron/adu"),
        "GAIN_UNADJUSTED": column(of("gain"), "electron/adu"),
        "NOISE": column(of("noise"), "electron"),
        "NOISE_ERR": column(of("noise_error"), "electron"),
        "OVERSCAN_MEDIAN": column(median, "adu"),
        "OVERSCAN_MEDIAN_SIGMA": column(sigma, "adu"),
        "PTC_FIT_PARS": column(values),
        "PTC_FIT_PARS_ERROR": column(errors),
        "PTC_FIT_CHI_SQ": column(chi2),
        "PTC_TURNOFF": column(of("turnoff"), "adu"),
        "PTC_TURNOFF_SAMPLING_ERROR": column(of("turnoff_error"), "adu"),
        **{
            f"PTC_ROLLOFF{which}": missing(rows, unit="adu")
            for which in ("", "_ERROR", "_TAU", "_TAU_ERROR")
        },
        "BAD_AMPS": each_row(names[bad], rows),
        "NPIXEL_COVARIANCES": column(_pixels(product)),
    }
    if not bad.any():
        # FITS has no empty list of names in each row that all its readers take.
        columns["BAD_AMPS"] = each_row(np.array([""]), rows)
    return columns


def _parameters(product: xr.Dataset) -> tuple[Floats, Floats]:
    """Return a00, gain and squared noise with errors, shape (amp, 3); NaN for other fits."""
    shape = (product.sizes["amp"], 3)
    if _fit_type(product) != "EXPAPPROXIMATION":
        return np.full(shape, np.nan), np.full(shape, np.nan)
    square = product["noise_matrix"].values[:, 0, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        # The relative error of a square is twice that of its root.
        error = 2 * np.abs(square) * product["noise_error"].values / product["noise"].values
    values = np.stack([product["a"].values[:, 0, 0], product["gain"].values, square], axis=1)
    errors = [product["a_error"].values[:, 0, 0], product["gain_error"].values, error]
    return values, np.stack(errors, axis=1)


def _overscan(product: xr.Dataset) -> tuple[Floats, Floats]:
    """Return median and scatter of the overscan level over used pairs (spec 1.7)."""
    rows = product.sizes["amp"]
    median, sigma = np.full(rows, np.nan), np.full(rows, np.nan)
    if "overscan_level" in product:
        for a, (level, used) in enumerate(
            zip(product["overscan_level"].values, product["used"].values, strict=True)
        ):
            good = level[used & np.isfinite(level)]
            if good.size:
                median[a] = np.median(good)
                sigma[a] = _MAD * np.median(np.abs(good - median[a]))
    return median, sigma


def _pixels(product: xr.Dataset) -> npt.NDArray[np.int64]:
    """Return the number of pixels of the pairs, -1 where it is not one number."""
    if "n_pixels" not in product:
        return np.full(product.sizes["amp"], -1, np.int64)
    pixels = product["n_pixels"].values
    return np.where(np.ptp(pixels, axis=1) == 0, pixels[:, 0], -1).astype(np.int64)


def _of_pairs(product: xr.Dataset, mjd_start: npt.ArrayLike | None) -> dict[str, TableColumn]:
    rows, pairs = product.sizes["amp"], product.sizes["pair"]
    used = np.asarray(product["used"].values, np.bool_)

    def of(name: str, unit: str = "") -> TableColumn:
        if name not in product:
            return missing(rows, pairs, unit=unit)
        return column(np.asarray(product[name].values, np.float64), unit)

    full = _fit_type(product).startswith(_FULL)
    variance = product["covariances"].values[:, :, 0, 0] if full else product["variance"].values
    model = product["covariances_model"].values[:, :, 0, 0]
    if "variance_model" in product:
        model = product["variance_model"].values
    times = (
        product["exposure_time"].values if "exposure_time" in product else np.full(pairs, np.nan)
    )
    starts = np.full(pairs, np.nan) if mjd_start is None else np.asarray(mjd_start, np.float64)

    def final(values: Floats, unit: str) -> TableColumn:
        return column(np.where(used, values, np.nan), unit)

    return {
        "INPUT_EXP_ID_PAIRS": each_row(product["exposures"].values.astype(np.int64), rows),
        "INPUT_EXP_PAIR_MJD_START": each_row(starts, rows, "d"),
        "EXP_ID_MASK": column(used),
        "EXP_ID_ROLLOFF_MASK": column(used),
        "RAW_EXP_TIMES": each_row(times, rows, "s"),
        "RAW_MEANS": of("mean", "adu"),
        "RAW_DELTAS": of("delta", "adu"),
        "RAW_VARS": of("variance", "adu2"),
        "ROW_MEAN_VARIANCE": of("row_mean_variance", "adu2"),
        "HIST_VARS": of("histogram_variance", "adu2"),
        "HIST_CHI2_DOFS": of("histogram_chi2"),
        "KS_PVALUES": of("p_value"),
        "GAIN_LIST": of("pair_gain", "electron/adu"),
        "NOISE_LIST": of("overscan_noise", "adu"),
        "OVERSCAN_MEDIAN_LIST": of("overscan_level", "adu"),
        "FINAL_MEANS": final(product["mean"].values, "adu"),
        "FINAL_VARS": final(variance, "adu2"),
        "FINAL_MODEL_VARS": final(model, "adu2"),
        "PHOTO_CHARGE": missing(rows, pairs),
        "PHOTO_CHARGE_DELTAS": missing(rows, pairs),
        "AMP_OFFSETS": missing(rows, pairs, unit="adu"),
    }


def _matrices(product: xr.Dataset) -> dict[str, TableColumn]:
    rows, side = product.sizes["amp"], fitted_side(product)

    def flat(values: Floats, unit: str) -> TableColumn:
        return column(np.asarray(values, np.float64).reshape(rows, -1), unit)

    def fitted(name: str, unit: str) -> TableColumn:
        return flat(product[name].values[..., :side, :side], unit)

    with np.errstate(divide="ignore"):
        weights = 1 / product["covariance_errors"].values
    return {
        "A_MATRIX": fitted("a", "electron-1"),
        "B_MATRIX": fitted("b", "electron-1"),
        "NOISE_MATRIX": fitted("noise_matrix", "electron2"),
        "COVARIANCES": flat(product["covariances"].values, "adu2"),
        "COVARIANCES_SQRT_WEIGHTS": flat(weights, "adu-2"),
        "COVARIANCES_MODEL": fitted("covariances_model", "adu2"),
    }
