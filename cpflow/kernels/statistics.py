"""Statistics of one set of values: clipped mean, percentiles, medians of integers (spec 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from cpflow.kernels.selection import quantiles

#: A normal distribution's standard deviation over the distance of its quartiles.
IQR_TO_SIGMA = 0.741301109252802

# Sums run in this many interleaved parts, which the compiler puts in vector registers. The number
# is fixed, so a sum does not depend on the machine.
_LANES = np.uint64(16)
# Values in one partial sum: short, so that rounding errors stay small.
_CHUNK = np.uint64(4096)


@dataclass(frozen=True, slots=True)
class ClippedStatistics:
    """Clipped mean and standard deviation of a set of values.

    Attributes
    ----------
    mean : float
        In the unit of the values; NaN if none is finite.
    stdev : float
        With ``used - 1`` in the denominator; NaN for fewer than two values.
    n : int
        Finite, unmasked values.
    used : int
        Those that the last pass kept.
    median : float
        Of all `n`.
    """

    mean: float
    stdev: float
    n: int
    used: int
    median: float


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _first_kept(values, good, centre, width):  # type: ignore[no-untyped-def]
    """Find a value that is kept; NaN if there is none."""
    everything = good.shape[0] == 0
    for i in range(values.shape[0]):
        value = np.float64(values[i])
        if abs(value - centre) <= width and (everything or good[i]):
            return value
    return np.nan


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _moments(values, good, centre, width, origin):  # type: ignore[no-untyped-def]
    """Count, sum and sum of squares, around `origin`, of what lies within `width` of `centre`."""
    everything = good.shape[0] == 0
    size = np.uint64(values.shape[0])
    counts = np.zeros(_LANES, np.int64)
    sums = np.zeros(_LANES)
    squares = np.zeros(_LANES)
    count, total, total2 = 0, 0.0, 0.0
    for chunk in range(np.uint64(0), size, _CHUNK):
        stop = min(chunk + _CHUNK, size)
        whole = stop - (stop - chunk) % _LANES
        counts[:] = 0
        sums[:] = 0.0
        squares[:] = 0.0
        if everything:
            for start in range(chunk, whole, _LANES):
                for lane in range(_LANES):
                    value = np.float64(values[start + lane])
                    keep = abs(value - centre) <= width
                    d = value - origin
                    counts[lane] += 1 if keep else 0
                    sums[lane] += d if keep else 0.0
                    squares[lane] += d * d if keep else 0.0
        else:
            for start in range(chunk, whole, _LANES):
                for lane in range(_LANES):
                    value = np.float64(values[start + lane])
                    keep = (abs(value - centre) <= width) & good[start + lane]
                    d = value - origin
                    counts[lane] += 1 if keep else 0
                    sums[lane] += d if keep else 0.0
                    squares[lane] += d * d if keep else 0.0
        for i in range(whole, stop):
            value = np.float64(values[i])
            if abs(value - centre) <= width and (everything or good[i]):
                d = value - origin
                counts[0] += 1
                sums[0] += d
                squares[0] += d * d
        for lane in range(_LANES):
            count += counts[lane]
            total += sums[lane]
            total2 += squares[lane]
    return count, total, total2


def clipped_statistics(
    values: npt.ArrayLike,
    good: npt.NDArray[np.bool_] | None = None,
    clip: float = 3.0,
    iterations: int = 3,
) -> ClippedStatistics:
    """Compute the clipped mean of a whole set of values: an image, an overscan region.

    Parameters
    ----------
    values : array, any shape
        Values that are not finite are left out. float32 data are neither copied nor sorted; others
        are taken as float64.
    good : array of bool, same shape, optional
        Which values count.
    clip : float
        Half-width of the kept interval in standard deviations.
    iterations : int
        Passes, always as many. 0 is the plain mean.

    Returns
    -------
    ClippedStatistics

    Raises
    ------
    ValueError
        If `good` has another shape than `values`, or `clip` or `iterations` is negative.

    Notes
    -----
    Spec 3.3, the rule of `cpflow.kernels.clipped_mean`. Pass 1 keeps the values within
    ``clip * 0.7413 * (q75 - q25)`` of the median, later ones those within ``clip`` standard
    deviations of the previous mean; every pass tests all values again. Quartiles are exact
    (`cpflow.kernels.selection`).
    """
    if not (clip >= 0 and iterations >= 0):
        raise ValueError(f"clip ({clip}) and iterations ({iterations}) cannot be negative")
    array = np.asarray(values)
    if array.dtype != np.float32:
        array = array.astype(np.float64, copy=False)
    n, (q25, q50, q75) = quantiles(array, good, (0.25, 0.5, 0.75))
    if n == 0:
        return ClippedStatistics(np.nan, np.nan, 0, 0, np.nan)
    flat = np.ascontiguousarray(array).reshape(-1)
    flags = (
        np.empty(0, np.bool_) if good is None else np.ascontiguousarray(good, np.bool_).reshape(-1)
    )
    centre, width = float(q50), float(clip * IQR_TO_SIGMA * (q75 - q25))
    if iterations == 0:
        width = float(np.finfo(np.float64).max)
    used, mean, variance = 0, np.nan, np.nan
    for iteration in range(max(iterations, 1)):
        if iteration > 0:
            centre, width = mean, clip * float(np.sqrt(variance)) if used > 1 else 0.0
        # Sums around one of the survivors: if all are equal, the mean is exactly theirs.
        origin = _first_kept(flat, flags, centre, width)
        if np.isnan(origin):
            return ClippedStatistics(np.nan, np.nan, n, 0, float(q50))
        used, total, squares = _moments(flat, flags, centre, width, origin)
        mean = origin + total / used
        variance = max(squares - total * (total / used), 0.0) / (used - 1) if used > 1 else np.nan
    return ClippedStatistics(float(mean), float(np.sqrt(variance)), n, int(used), float(q50))


def percentiles(
    values: npt.NDArray[Any], levels: Sequence[float], good: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float64]:
    """Compute percentiles of the finite values.

    Parameters
    ----------
    values : array, any shape
    levels : sequence of float
        Percentages, 0 to 100.
    good : array of bool, same shape, optional
        Which values count.

    Returns
    -------
    array of float64, shape (levels,)
        Linearly interpolated, as by numpy; NaN where no value is finite.

    Raises
    ------
    ValueError
        If a level is outside 0 to 100 or `good` has another shape than `values`.

    Notes
    -----
    Spec 3.5: the distribution that a product's header lists per amplifier.
    """
    return quantiles(np.asarray(values), good, [level / 100 for level in levels])[1]


def integer_quantile(values: npt.NDArray[Any], fraction: float) -> float:
    """Compute a quantile of counts as if each were spread evenly over its own bin.

    Parameters
    ----------
    values : array of integers, any shape
    fraction : float
        Between 0 and 1.

    Returns
    -------
    float
        ``v - 0.5 + (fraction*n - below)/equal``, where v is the value at sorted position
        ``int(fraction*(n - 1))``; NaN without values.

    Raises
    ------
    ValueError
        If `values` is not of an integer type, or `fraction` is outside 0 to 1.

    Notes
    -----
    Spec 3.3. ``[5, 5, 5, 6]`` has the median 5.1667 and ``[1, 2, 2, 3]`` 2.0. Quantised data need
    no random dither with it.
    """
    flat = np.asarray(values).reshape(-1)
    if flat.dtype.kind not in "iu":
        raise ValueError(f"an integer quantile needs integers, not {flat.dtype}")
    if not 0 <= fraction <= 1:
        raise ValueError(f"quantiles are asked for between 0 and 1, not at {fraction}")
    n = flat.size
    if n == 0:
        return float("nan")
    if n == 1:
        return float(flat[0])
    position = int(fraction * (n - 1))
    value = np.partition(flat, position)[position]
    below = np.count_nonzero(flat < value)
    equal = np.count_nonzero(flat == value)
    return float(value) - 0.5 + (fraction * n - below) / equal


def integer_median(values: npt.NDArray[Any]) -> float:
    """Compute the tie-aware median of counts: `integer_quantile` at 0.5."""
    return integer_quantile(values, 0.5)
