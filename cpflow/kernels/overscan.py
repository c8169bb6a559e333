"""Models of the overscan level of one amplifier (spec 2.6).

Rows are sorted once. What the deviation limit and the outlier cut of a row keep is then a run of
its sorted values, so a row costs a few look-ups; only a row with masked pixels is collected again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np
import numpy.typing as npt

from cpflow.kernels.curves import fit_polynomial, fit_spline
from cpflow.kernels.statistics import clipped_statistics, integer_median

CONSTANTS = ("MEAN", "MEANCLIP", "MEDIAN")
PER_ROW = ("MEDIAN_PER_ROW", "MEAN_PER_ROW")
POLYNOMIALS = ("POLY", "CHEB", "LEG")
SPLINES = ("NATURAL_SPLINE", "CUBIC_SPLINE", "AKIMA_SPLINE")
FIT_TYPES = CONSTANTS + PER_ROW + POLYNOMIALS + SPLINES

# The reference's rounded factor from the distance of a row's quartiles to its sigma.
_ROW_IQR_TO_SIGMA = 0.74
# Good rows on either side that stand in for a run of rows without any pixel left.
_NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class OverscanFit:
    """How the overscan is modelled.

    Parameters
    ----------
    fit_type : str
        One of `FIT_TYPES`.
    order : int
        Degree of a polynomial, or number of bins of a spline.
    clip : float
        Outlier cut of a row, and of MEANCLIP, in standard deviations.
    integer : bool
        Medians are those of `cpflow.kernels.statistics.integer_median`, of the pixels cut to
        integers (ERA21); else ordinary ones.
    leading, trailing : int
        Columns that are not used, next to the imaging area and at the far side.
    max_deviation : float
        Pixels farther than this from the median of the region are flagged and not used.
    deviation_sign : str
        ``"positive"`` flags only those above.
    cap_row_sigma : bool
        Row sigmas above twice their median are replaced by it (ERA26).
    fill_empty_rows : bool
        Rows without any pixel left take their neighbours' level (ERA26) instead of NaN.
    noise_full_width : bool
        The residual is measured on skipped columns too (ERA26).
    """

    fit_type: str = "MEDIAN_PER_ROW"
    order: int = 1
    clip: float = 3.0
    integer: bool = True
    leading: int = 0
    trailing: int = 0
    max_deviation: float = 1000.0
    deviation_sign: Literal["absolute", "positive"] = "absolute"
    cap_row_sigma: bool = False
    fill_empty_rows: bool = False
    noise_full_width: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be fitted."""
        if self.fit_type not in FIT_TYPES:
            raise ValueError(
                f"unknown overscan fit {self.fit_type!r}; there are {', '.join(FIT_TYPES)}"
            )
        if self.deviation_sign not in ("absolute", "positive"):
            raise ValueError(f"the deviation is absolute or positive, not {self.deviation_sign!r}")
        if min(self.order, self.leading, self.trailing) < 0:
            raise ValueError("order, leading and trailing cannot be negative")


@dataclass(frozen=True, slots=True)
class OverscanModel:
    """The level of an overscan region, in the unit of its pixels.

    Attributes
    ----------
    level : array of float64, shape (rows,)
        What to subtract from each row. 0 where `valid` is false; NaN in a row without pixels if
        such rows are not filled.
    mask : array of bool, shape (rows, columns)
        Pixels flagged by `max_deviation`, in the columns that were used.
    mean, median, stdev : float
        Of `level`; the standard deviation is a clipped one.
    residual_stdev : float
        Clipped standard deviation (3 sigma, 3 passes) of the corrected overscan: the empirical read
        noise.
    valid : bool
        False if no pixel was usable: nothing is corrected then.
    """

    level: npt.NDArray[np.float64]
    mask: npt.NDArray[np.bool_]
    mean: float
    median: float
    stdev: float
    residual_stdev: float
    valid: bool


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _interpolated(values, first, n, fraction):  # type: ignore[no-untyped-def]
    position = fraction * (n - 1)
    rank = np.int64(position)
    t = position - rank
    low = np.float64(values[first + rank])
    high = np.float64(values[first + min(rank + 1, n - 1)])
    return low + (high - low) * t if t < 0.5 else high - (high - low) * (1.0 - t)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _integer_median(values, first, n):  # type: ignore[no-untyped-def]
    """Take the tie-aware median of n sorted values, cut to integers (spec 3.3)."""
    position = first + (n - 1) // 2
    value = np.int64(values[position])
    if n == 1:
        return np.float64(value)
    start = position
    while start > first and np.int64(values[start - 1]) == value:
        start -= 1
    stop = position + 1
    while stop < first + n and np.int64(values[stop]) == value:
        stop += 1
    return value - 0.5 + (0.5 * n - (start - first)) / (stop - start)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _finite_length(values):  # type: ignore[no-untyped-def]
    """How many values come before the NaN that sorting puts last; infinite ones count."""
    n = values.shape[0]
    while n > 0 and np.isnan(np.float64(values[n - 1])):
        n -= 1
    return n


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _row_quartiles(ordered, centre, sigma):  # type: ignore[no-untyped-def]
    for row in range(ordered.shape[0]):
        values = ordered[row]
        n = _finite_length(values)
        if n == 0:
            centre[row] = sigma[row] = np.nan
            continue
        centre[row] = _interpolated(values, 0, n, 0.5)
        iqr = _interpolated(values, 0, n, 0.75) - _interpolated(values, 0, n, 0.25)
        sigma[row] = _ROW_IQR_TO_SIGMA * iqr


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _kept(value, centre, width, lowest, highest):  # type: ignore[no-untyped-def]
    return abs(value - centre) <= width and lowest <= value and value <= highest


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _collapse(pixels, ordered, masked, centre, width, lowest, highest, median, integer, level):  # type: ignore[no-untyped-def]
    """Reduce each row to the median or mean of its surviving pixels; NaN without any."""
    kept = np.empty(pixels.shape[1], pixels.dtype)
    for row in range(pixels.shape[0]):
        values = ordered[row]
        first, stop = 0, values.shape[0]
        if masked.shape[0] > 0 and masked[row].any():
            stop = 0
            for column in range(pixels.shape[1]):
                value = np.float64(pixels[row, column])
                if not masked[row, column] and _kept(
                    value, centre[row], width[row], lowest, highest
                ):
                    kept[stop] = pixels[row, column]
                    stop += 1
            kept[:stop].sort()
            values = kept
        else:
            while first < stop and not _kept(
                np.float64(values[first]), centre[row], width[row], lowest, highest
            ):
                first += 1
            while stop > first and not _kept(
                np.float64(values[stop - 1]), centre[row], width[row], lowest, highest
            ):
                stop -= 1
        n = stop - first
        if n == 0:
            level[row] = np.nan
        elif not median:
            total = 0.0
            for rank in range(first, stop):
                total += np.float64(values[rank])
            level[row] = total / n
        elif integer:
            level[row] = _integer_median(values, first, n)
        else:
            level[row] = _interpolated(values, first, n, 0.5)


def fill_empty_rows(level: npt.NDArray[np.float64]) -> None:
    """Replace NaN by the level of neighbouring rows, in place.

    Parameters
    ----------
    level : array of float64, shape (rows,)
        Left as it is if all of it is NaN.

    Notes
    -----
    Spec 2.6. A run of NaN takes the median of the 5 values before it, if it starts after index 5,
    and the 5 after it, if it ends before index n - 5; of all values if neither. Only values that
    were there before count, so the order of the runs does not matter.
    """
    empty = np.isnan(level)
    if not empty.any() or empty.all():
        return
    edges = np.flatnonzero(np.diff(np.concatenate([[False], empty, [False]]).astype(np.int8)))
    original = level.copy()
    everywhere = float(np.median(original[~empty]))
    for start, stop in edges.reshape(-1, 2):
        before = original[start - _NEIGHBOURS : start] if start > _NEIGHBOURS else original[:0]
        after = (
            original[stop : stop + _NEIGHBOURS]
            if stop - 1 < len(level) - _NEIGHBOURS
            else original[:0]
        )
        near = np.concatenate([before, after])
        near = near[~np.isnan(near)]
        level[start:stop] = np.median(near) if len(near) else everywhere


def _median(values: npt.NDArray[Any]) -> float:
    # One rank at a time is several times faster than np.median, which asks for three at once.
    half = values.size // 2
    parted = np.partition(values, half)
    if values.size % 2:
        return float(parted[half])
    return 0.5 * (float(parted[:half].max()) + float(parted[half]))


def _constant(fit: OverscanFit, values: npt.NDArray[Any]) -> float:
    if fit.fit_type == "MEAN":
        return float(values.mean(dtype=np.float64))
    if fit.fit_type == "MEANCLIP":
        return clipped_statistics(values, clip=fit.clip).mean
    return integer_median(values.astype(np.int64)) if fit.integer else _median(values)


def _rows(
    fit: OverscanFit,
    pixels: npt.NDArray[Any],
    masked: npt.NDArray[np.bool_] | None,
    lowest: float,
    highest: float,
) -> npt.NDArray[np.float64]:
    """Return one level per row for the types that collapse rows first."""
    ordered = np.sort(pixels, axis=1)
    centre, sigma, level = (np.empty(len(pixels)) for _ in range(3))
    _row_quartiles(ordered, centre, sigma)
    if fit.cap_row_sigma:
        typical = np.nanmedian(sigma)
        sigma[sigma > 2 * typical] = typical
    _collapse(
        pixels,
        ordered,
        np.empty((0, 0), np.bool_) if masked is None else masked,
        centre,
        fit.clip * sigma,
        lowest,
        highest,
        fit.fit_type == "MEDIAN_PER_ROW",
        fit.integer,
        level,
    )
    if fit.fit_type in PER_ROW:
        if fit.fill_empty_rows:
            fill_empty_rows(level)
        return level
    used = np.isfinite(level)
    if fit.fill_empty_rows:
        fill_empty_rows(level)
    else:
        known = np.isfinite(pixels)
        counts = np.where(used, 1, known.sum(axis=1))
        sums = np.where(known, pixels, 0).sum(axis=1, dtype=np.float64)
        level = np.where(used, level, np.divide(sums, counts, out=sums * np.nan, where=counts > 0))
    if fit.fit_type in POLYNOMIALS:
        return fit_polynomial(fit.fit_type, fit.order, level)
    return fit_spline(fit.fit_type, fit.order, level, used)


def fit_overscan(
    overscan: npt.NDArray[Any], fit: OverscanFit, masked: npt.NDArray[np.bool_] | None = None
) -> OverscanModel:
    """Model the overscan of one amplifier, one level per row.

    Parameters
    ----------
    overscan : array, shape (rows, columns)
        Pixels of any integer or float type in readout order: the first column is the one next to
        the imaging area. For a parallel overscan see `cpflow.kernels.parallel_overscan`.
    fit : OverscanFit
    masked : array of bool, shape (rows, columns), optional
        Pixels that are not used: saturated ones, say. Those that are not finite never are.

    Returns
    -------
    OverscanModel
        In the unit of the pixels.

    Raises
    ------
    ValueError
        If `masked` has another shape than `overscan`, or no column is left to use.

    Notes
    -----
    Spec 2.6, points 2 to 6. A row's outlier cut takes its quartiles from all of its pixels, masked
    ones too; the cut, the mask and the deviation limit together say which pixels are left.
    """
    rows, columns = overscan.shape
    if masked is not None and masked.shape != overscan.shape:
        raise ValueError(f"the overscan has shape {overscan.shape}, its mask {masked.shape}")
    used = slice(fit.leading, columns - fit.trailing)
    if rows == 0 or used.start >= used.stop:
        raise ValueError(
            f"nothing is left of {rows} rows and {columns} columns of overscan without "
            f"{fit.leading} leading and {fit.trailing} trailing columns"
        )
    full = np.asarray(overscan)
    flags = masked
    if full.dtype.kind == "f":
        unknown = ~np.isfinite(full)
        if unknown.any():
            full = np.where(unknown, np.nan, full)  # NaN sorts behind every number
            flags = unknown if masked is None else masked | unknown
    pixels = np.ascontiguousarray(full[:, used])
    flags = None if flags is None or not flags.any() else flags
    flags_used = None if flags is None else np.ascontiguousarray(flags[:, used])
    good = pixels.reshape(-1) if flags_used is None else pixels[~flags_used]
    mask = np.zeros(overscan.shape, np.bool_)
    if good.size == 0:
        return OverscanModel(np.zeros(rows), mask, 0.0, 0.0, 0.0, np.nan, valid=False)
    middle = _median(good)
    highest = middle + fit.max_deviation
    lowest = middle - fit.max_deviation if fit.deviation_sign == "absolute" else -np.inf
    mask[:, used] = (pixels > highest) | (pixels < lowest)
    if fit.fit_type in CONSTANTS:
        inside = good[(good >= lowest) & (good <= highest)]
        level = np.full(rows, _constant(fit, inside))
    else:
        level = _rows(fit, pixels, flags_used, lowest, highest)
    measured = slice(None) if fit.noise_full_width else used
    corrected = full[:, measured] - level[:, None]
    left = None
    if flags is not None or mask.any():
        left = (~mask if flags is None else ~(mask | flags))[:, measured]
    residual = clipped_statistics(corrected, left)
    known = level[np.isfinite(level)]
    return OverscanModel(
        level,
        mask,
        mean=float(known.mean()),
        median=float(np.median(known)),
        stdev=clipped_statistics(known).stdev,
        residual_stdev=residual.stdev,
        valid=True,
    )
