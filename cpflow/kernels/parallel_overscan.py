"""Model of the parallel overscan, per column, and the rules that only it has (spec 2.6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from cpflow.kernels.masks import grow as grow_mask
from cpflow.kernels.overscan import PER_ROW, OverscanFit, fill_empty_rows, fit_overscan

# A column this far above the running median of so many columns is an outlier; none is tested so
# close to the ends.
_STEP = 5.0
_WINDOW = 5
_UNTESTED = 5
# Columns on each side of a bad one that are bad too.
_GROWTH = 2
# An overscan this bright, as a fraction of an imaging area this bright, holds bled charge.
_BLED_FRACTION = 0.5
_BLED_LEVEL = 10_000.0


def bled_pixels(pixels: npt.NDArray[Any], saturation: float, grow: int) -> npt.NDArray[np.bool_]:
    """Flag charge that bled into a parallel overscan.

    Parameters
    ----------
    pixels : array, shape (rows, columns)
    saturation : float
        Level in the unit of the pixels; a pixel at or above it is flagged.
    grow : int
        Manhattan radius by which the flags grow, inside the region.

    Returns
    -------
    array of bool, shape (rows, columns)

    Notes
    -----
    Spec 2.6: 20000 adu, or 0.75 of the saturation level, grown by 7.
    """
    return grow_mask(np.asarray(pixels >= saturation), grow)


def outlying_columns(level: npt.NDArray[np.float64], step: float = _STEP) -> npt.NDArray[np.bool_]:
    """Find columns that stand out of their neighbours by `step` or more.

    Parameters
    ----------
    level : array of float64, shape (columns,)
        Without NaN.
    step : float
        In the unit of the level: 5 adu, times the gain in electrons.

    Returns
    -------
    array of bool, shape (columns,)
        False within 5 columns of either end, which are not tested.

    Notes
    -----
    Spec 2.6, `doMedianSmoothingOutlierRejection`: a 5-point running median.
    """
    outlying = np.zeros(level.shape, np.bool_)
    inner = slice(_UNTESTED, len(level) - _UNTESTED)
    if inner.start < inner.stop:
        smooth = median_filter(level, size=_WINDOW, mode="nearest")
        outlying[inner] = (level - smooth >= step)[inner]
    return outlying


def fit_parallel_overscan(
    pixels: npt.NDArray[Any],
    fit: OverscanFit,
    *,
    saturation: float = 20_000.0,
    grow: int = 7,
    smoothing_rejection: bool = True,
    step: float = _STEP,
    imaging_median: float | None = None,
    masked: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float64]:
    """Model the parallel overscan of one amplifier.

    Parameters
    ----------
    pixels : array, shape (rows, columns)
        Serial-overscan-subtracted pixels in readout order: the first row is the one next to the
        imaging area. Columns are the imaging columns.
    fit : OverscanFit
        `leading` and `trailing` count rows here. Empty columns are always filled.
    saturation, grow
        See `bled_pixels`; not finite: nothing is flagged.
    smoothing_rejection : bool
        Replace columns that `outlying_columns` finds.
    step : float
        See `outlying_columns`.
    imaging_median : float, optional
        Median of the imaging area. If above 10000, and the overscan's is above half of it, nothing
        is corrected.
    masked : array of bool, shape (rows, columns), optional
        Further pixels that are not used.

    Returns
    -------
    array of float64, shape (columns,)
        Level to subtract from the imaging columns; 0 if nothing can be corrected.

    Raises
    ------
    ValueError
        As `cpflow.kernels.overscan.fit_overscan`.

    Notes
    -----
    Spec 2.6, ERA26. A column whose pixels all deviate, or that stands out, is replaced with 2
    columns on each side by the level of the good columns around it.
    """
    flags = bled_pixels(pixels, saturation, grow) if np.isfinite(saturation) else None
    if masked is not None:
        flags = masked if flags is None else flags | masked
    if imaging_median is not None and imaging_median > _BLED_LEVEL:
        left = pixels if flags is None else pixels[~flags]
        if left.size and np.median(left) > _BLED_FRACTION * imaging_median:
            return np.zeros(pixels.shape[1])
    columns = np.ascontiguousarray(pixels.T)
    turned = None if flags is None else np.ascontiguousarray(flags.T)
    if fit.fit_type not in PER_ROW:
        return fit_overscan(columns, replace(fit, fill_empty_rows=True), turned).level
    model = fit_overscan(columns, replace(fit, fill_empty_rows=False), turned)
    level = model.level
    used = slice(fit.leading, columns.shape[1] - fit.trailing)
    deviant = model.mask[:, used] if turned is None else model.mask[:, used] | turned[:, used]
    bad = deviant.all(axis=1) & model.mask[:, used].any(axis=1)
    if smoothing_rejection and model.valid:
        filled = level.copy()
        fill_empty_rows(filled)
        bad |= outlying_columns(filled, step)
    if bad.any():
        level[grow_mask(bad.reshape(1, -1), _GROWTH)[0]] = np.nan
    if np.isnan(level).all():
        return np.zeros(pixels.shape[1])
    fill_empty_rows(level)
    return level
