"""Where the response of an amplifier leaves the straight line, and groups of equal illumination."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpflow.kernels.masks import Mask

Array = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int64]

# Points that a group without a good one is given for a start (reference 2.3.6).
_FIRST_POINTS = 10


@dataclass(frozen=True, slots=True)
class Turnoff:
    """End of the linear range of an amplifier.

    Attributes
    ----------
    signal : float
        The largest observed signal that is on the line, adu; NaN if there is none.
    index : int
        Which point that is; -1 if there is none.
    max_signal : float
        Median of the signals within 1 % of the largest one; `signal` if that is the last point.
    good : array of bool, shape (points,)
        Points on the line.
    expected : array of float64, shape (points,)
        The line, in adu.
    """

    signal: float
    index: int
    max_signal: float
    good: Mask
    expected: Array


def group_exposures(
    abscissa: npt.ArrayLike,
    signal: npt.ArrayLike,
    *,
    gap: float = 0.1,
    bright: float = 0.9,
) -> Groups:
    """Find exposures of equal illumination.

    Parameters
    ----------
    abscissa : array of float, shape (points,)
        Exposure time or photodiode charge.
    signal : array of float, shape (points,) or (amplifiers, points)
        In electrons, so that amplifiers count alike; their mean is used, NaN left out.
    gap : float
        Groups are apart by more than this part of the median ratio of signal to abscissa.
    bright : float
        Points above this part of the largest signal may be saturated, and adopt the group of the
        brightest other point.

    Returns
    -------
    array of int64, shape (points,)
        From 0 on, from the least to the most signal per abscissa; -1 where there is no ratio.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Notes
    -----
    Reference 2.3.5.
    """
    x, table = np.asarray(abscissa, np.float64), np.atleast_2d(np.asarray(signal, np.float64))
    if x.ndim != 1 or table.ndim != 2 or table.shape[1] != len(x):
        raise ValueError(f"abscissae of shape {x.shape} do not have signals of {table.shape}")
    known = np.isfinite(table)
    count = known.sum(axis=0)
    mean = np.where(known, table, 0.0).sum(axis=0) / np.maximum(count, 1)
    usable = np.isfinite(x) & (x > 0) & (count > 0) & (mean > 0)
    groups = np.full(len(x), -1, np.int64)
    if not usable.any():
        return groups
    ratio = np.full(len(x), np.nan)
    ratio[usable] = mean[usable] / x[usable]
    ratio /= np.median(ratio[usable])
    faint = usable & (mean <= bright * mean[usable].max())
    if not faint.any():
        faint = usable
    order = np.flatnonzero(faint)[np.argsort(ratio[faint], kind="stable")]
    groups[order] = np.concatenate([[0], np.cumsum(np.diff(ratio[order]) > gap)])
    brightest = np.flatnonzero(faint)[np.argmax(mean[faint])]
    groups[usable & ~faint] = groups[brightest]
    return groups


def find_turnoff(
    abscissa: npt.ArrayLike,
    ordinate: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    trusted: Mask | None = None,
    *,
    min_signal: float = 1000.0,
    max_signal: float = math.inf,
    max_deviation: float = 0.01,
) -> Turnoff:
    """Find the largest signal that is still proportional to the abscissa.

    Parameters
    ----------
    abscissa : array of float, shape (points,)
        Exposure time or photodiode charge.
    ordinate : array of float, shape (points,)
        Mean signal, adu.
    groups : array of int, shape (points,), optional
        Each has a slope of its own; points with a negative number are left out.
    trusted : array of bool, shape (points,), optional
        Points that the search begins with, those of the photon transfer curve say.
    min_signal, max_signal : float
        It begins with points between these, adu.
    max_deviation : float
        Relative, of a point on the line.

    Returns
    -------
    Turnoff

    Raises
    ------
    ValueError
        If shapes do not fit.

    Notes
    -----
    Reference 2.3.6: lines ``a x`` with ``a = sum x / sum (x**2/y)``; residuals ``(y - a x)/y`` less
    their median; if more than four points are within `max_deviation`, the largest of these is the
    turnoff, else the worst fitted point is dropped, while four are left. The median is that of the
    fitted points, as in the reference's double spline; in its other types all points count, and a
    long plateau of saturated ones then passes for the line.
    """
    x, y = np.asarray(abscissa, np.float64), np.asarray(ordinate, np.float64)
    group = np.zeros(len(x), np.int64) if groups is None else np.asarray(groups, np.int64)
    if x.ndim != 1 or x.shape != y.shape or group.shape != x.shape:
        raise ValueError(f"abscissae {x.shape}, signals {y.shape} and groups {group.shape} differ")
    finite = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0) & (group >= 0)
    fitted = finite & (y >= min_signal) & (y <= max_signal)
    if trusted is not None:
        fitted &= trusted
    for number in np.unique(group[finite]):
        members = np.flatnonzero(finite & (group == number))
        if not fitted[members].any():
            fitted[members[:_FIRST_POINTS]] = True
    nothing = np.zeros(len(x), np.bool_)
    line = np.full(len(x), np.nan)
    while np.count_nonzero(fitted) >= 4:
        line = _proportional(x, y, group, fitted)
        residual = np.full(len(x), np.inf)
        known = finite & np.isfinite(line)
        residual[known] = (y - line)[known] / y[known]
        residual[known] = np.abs(residual[known] - np.median(residual[fitted]))
        good = residual < max_deviation
        if np.count_nonzero(good) > 4:
            return _turnoff(y, good, finite, line)
        fitted[np.flatnonzero(fitted)[np.argmax(residual[fitted])]] = False
    if fitted.any():
        return _turnoff(y, fitted, finite, line)
    return Turnoff(math.nan, -1, math.nan, nothing, line)


def _proportional(x: Array, y: Array, group: Groups, fitted: Mask) -> Array:
    line = np.full(len(x), np.nan)
    for number in np.unique(group[fitted]):
        members = group == number
        chosen = members & fitted
        slope = x[chosen].sum() / (x[chosen] ** 2 / y[chosen]).sum()
        line[members] = slope * x[members]
    return line


def _turnoff(y: Array, good: Mask, finite: Mask, line: Array) -> Turnoff:
    index = int(np.flatnonzero(good)[np.argmax(y[good])])
    top = float(y[finite].max())
    largest = float(np.median(y[finite & (y > 0.99 * top)]))
    # Without a point beyond the turnoff nothing is known of saturation.
    if y[index] == top:
        largest = float(y[index])
    return Turnoff(float(y[index]), index, largest, good, line)
