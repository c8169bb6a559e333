"""Charge transfer inefficiency from the extended-pixel edge response (spec electro-optical 5).

The pixels that are read after the last illuminated one should be empty. What is in them was left
behind by the transfers of the charge before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpflow.kernels.statistics import ClippedStatistics, clipped_statistics
from cpflow.kernels.truncation import clipped_stdev_of_normal

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EdgeResponse:
    """The edge of an amplifier's imaging area, and what trails it, in the unit of the pixels.

    Attributes
    ----------
    signal, signal_error : float
        Clipped mean of the last illuminated column (row) and its error.
    profile, profile_errors : array of float64, shape (trailing,)
        Clipped mean of each trailing column (row) and its error.
    cti, error : float
        Charge transfer inefficiency and its error; NaN without signal.
    lines : int
        Rows (columns) that were used.
    """

    signal: float
    signal_error: float
    profile: Array
    profile_errors: Array
    cti: float
    error: float
    lines: int


def edge_response(
    last: npt.ArrayLike,
    trailing: npt.ArrayLike,
    transfers: int,
    *,
    first: int = 2,
    clip: float = 3.0,
    iterations: int = 3,
    common_error: float = 0.0,
) -> EdgeResponse:
    """Measure the charge that trails the last illuminated pixel.

    Parameters
    ----------
    last : array, shape (lines,)
        The last illuminated column, one value per row, its level subtracted; for parallel transfer
        the last row, one value per column. A line that is not finite is left out: saturated ones.
    trailing : array, shape (lines, trailing)
        The overscan pixels that are read after it, nearest first.
    transfers : int
        Of the last illuminated pixel: imaging and prescan columns, or rows.
    first : int
        Trailing pixels that count as deferred charge.
    clip, iterations : float, int
        Of the clipped means, spec 3.3.
    common_error : float
        Error that all lines share in each trailing pixel, in the unit of the pixels: in parallel
        overscan that of the level of a row.

    Returns
    -------
    EdgeResponse
        ``cti = sum of the first trailing means / (signal * transfers)``. Its error is that of the
        sum, line by line: noise that the level of a row puts into all of its pixels is in it.

    Raises
    ------
    ValueError
        If shapes do not fit, there are fewer than `first` trailing pixels, or no transfers.
    """
    edge = np.asarray(last, np.float64)
    after = np.asarray(trailing, np.float64)
    if edge.ndim != 1 or after.ndim != 2 or len(after) != len(edge):
        raise ValueError(f"an edge of {edge.shape} is trailed by pixels of {after.shape}")
    if not 1 <= first <= after.shape[1] or transfers < 1:
        raise ValueError(
            f"{first} of {after.shape[1]} trailing pixels after {transfers} transfers tell nothing"
        )
    good = np.isfinite(edge)
    edge, after = edge[good], after[good]

    def mean(values: Array) -> tuple[float, float]:
        found = clipped_statistics(values, clip=clip, iterations=iterations)
        return found.mean, _error(found, clip, iterations)

    signal, signal_error = mean(edge)
    columns = [mean(column) for column in after.T]
    profile = np.array([value for value, _ in columns])
    errors = np.hypot([error for _, error in columns], common_error)
    deferred = float(profile[:first].sum())
    _, sum_error = mean(after[:, :first].sum(axis=1))
    cti = error = np.nan
    if signal > 0:
        cti = deferred / (signal * transfers)
        variance = sum_error**2 + first * common_error**2
        error = np.sqrt(variance + (deferred * signal_error / signal) ** 2) / (signal * transfers)
    return EdgeResponse(
        signal, signal_error, profile, errors, float(cti), float(error), int(good.sum())
    )


def _error(found: ClippedStatistics, clip: float, iterations: int) -> float:
    """Return the error of a clipped mean of normal noise."""
    if found.used < 2:
        return float("nan")
    return found.stdev / clipped_stdev_of_normal(clip, iterations) / float(np.sqrt(found.used))


def cti_turnoff(
    signals: npt.ArrayLike,
    cti: npt.ArrayLike,
    errors: npt.ArrayLike,
    *,
    tolerance: float = 1e-5,
    significance: float = 5.0,
) -> float:
    """Find the signal up to which the charge transfer inefficiency does not grow.

    Parameters
    ----------
    signals, cti, errors : array of float, shape (exposures,)
        In any order. Exposures that are not finite are left out.
    tolerance : float
        Growth that is none.
    significance : float
        And so many errors have to be exceeded as well.

    Returns
    -------
    float
        The highest signal below the first one whose inefficiency exceeds the weighted mean of those
        with less signal; the highest of all if none does; NaN without signals.

    Notes
    -----
    The tolerance is the reference's, which clips the gradient of the curve at one standard
    deviation (electro-optical 5) and so finds a turn-off in noise. Traps make the curve fall at low
    signal, which is no turn-off.
    """
    s, y, e = (np.asarray(values, np.float64) for values in (signals, cti, errors))
    good = np.isfinite(s) & np.isfinite(y) & np.isfinite(e) & (e > 0)
    order = np.argsort(s[good], kind="stable")
    s, y, e = s[good][order], y[good][order], e[good][order]
    if len(s) == 0:
        return float("nan")
    for i in range(1, len(s)):
        weights = 1 / e[:i] ** 2
        level = float(weights @ y[:i] / weights.sum())
        limit = max(tolerance, significance * float(np.sqrt(e[i] ** 2 + 1 / weights.sum())))
        if y[i] - level > limit:
            return float(s[i - 1])
    return float(s[-1])
