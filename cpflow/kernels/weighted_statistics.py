"""Robust statistics of a few values of unequal precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpflow.kernels.statistics import IQR_TO_SIGMA

# Tuning of the Cauchy weight, and what it keeps of the precision where all is normal (spec 0.4).
_CAUCHY = 2.385
_EFFICIENCY = 0.95


@dataclass(frozen=True, slots=True)
class WeightedMean:
    """Clipped mean of values of unequal precision.

    Attributes
    ----------
    mean : float
        NaN without values.
    error : float
        Of the mean, if the errors given are right.
    scale : float
        What the errors have to be multiplied by to explain the scatter; NaN for a single value.
    kept : array of bool, shape (values,)
    """

    mean: float
    error: float
    scale: float
    kept: npt.NDArray[np.bool_]


def weighted_median(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> float:
    """Return the value with half of the weight on either side.

    Parameters
    ----------
    values, weights : array of float64, shape (n,)
        Finite; weights positive.

    Returns
    -------
    float
        The middle of two values where exactly half of the weight is below; NaN without values.

    Notes
    -----
    It minimises ``sum(weights * abs(values - median))``: for errors s the best weight is 1/s.
    """
    if values.size == 0:
        return float("nan")
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    half = 0.5 * below[-1]
    first = int(np.searchsorted(below, half))
    last = first + 1 if below[first] == half and first + 1 < len(order) else first
    return float(0.5 * (values[order[first]] + values[order[last]]))


def weighted_clipped_mean(
    values: npt.NDArray[np.float64],
    errors: npt.NDArray[np.float64],
    *,
    clip: float = 5.0,
    iterations: int = 3,
) -> WeightedMean:
    """Average values, each weighted by 1/error**2, without those far off.

    Parameters
    ----------
    values, errors : array of float64, shape (n,)
        Errors may have any common factor. Values that are not finite are left out.
    clip : float
        In standard deviations as the scatter has them, not as the errors claim.
    iterations : int
        Passes; each tests all values again.

    Returns
    -------
    WeightedMean

    Notes
    -----
    Spec 0.2 for residuals over their errors. The first centre is the weighted median: the plain one
    is as bad as a typical value, and would clip those that are much better than typical.
    """
    finite = np.isfinite(values) & np.isfinite(errors) & (errors > 0)
    kept = finite.copy()
    if not finite.any():
        return WeightedMean(np.nan, np.nan, np.nan, kept)
    safe = np.where(finite, errors, 1.0)
    centre = weighted_median(values[finite], 1.0 / safe[finite])
    residual = np.where(finite, (values - centre) / safe, np.nan)
    q25, q75 = np.percentile(residual[finite], [25, 75])
    width = clip * IQR_TO_SIGMA * (q75 - q25)
    mean, total, scale = centre, 0.0, np.nan
    for _ in range(max(iterations, 1)):
        inside = finite & (np.abs(residual) <= width) if iterations > 0 else finite
        # Two or three values can all be outside; then there is nothing to tell them apart by.
        kept = inside if inside.any() else finite
        weight = np.where(kept, 1.0 / safe**2, 0.0)
        total = float(weight.sum())
        mean = centre + float((weight * np.where(kept, values - centre, 0.0)).sum()) / total
        residual = np.where(finite, (values - mean) / safe, np.nan)
        count = int(kept.sum())
        scale = np.nan
        if count > 1:
            scale = float(np.sqrt((residual[kept] ** 2).sum() / (count - 1)))
        width = clip * scale if count > 1 else 0.0
    return WeightedMean(float(mean), float(total**-0.5), scale, kept)


def robust_line(
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    errors: npt.NDArray[np.float64],
    *,
    rounds: int = 10,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Fit a straight line with Cauchy weights.

    Parameters
    ----------
    x, y, errors : array of float64, shape (n,)
        Finite; errors positive, with any common factor.
    rounds : int
        Reweighted fits after the first.

    Returns
    -------
    parameters : array of float64, shape (2,)
        Intercept and slope; NaN where two different x are not there.
    errors : array of float64, shape (2,)
        Of both, if the errors given are right.
    scale : float
        What the errors have to be multiplied by to explain the scatter; NaN for two points.

    Notes
    -----
    Spec 0.4, with two corrections: residuals are over their errors and their scatter, since the
    tuning constant means standard deviations; and the weight goes with the square of the residual,
    where the reference squares it once more.
    """
    unknown = np.full(2, np.nan)
    if len(x) < 2 or np.ptp(x) == 0:
        return unknown, unknown.copy(), float("nan")
    unit = float(np.abs(x).max())
    design = np.stack([np.ones_like(x), x / unit], axis=1) / errors[:, None]
    right = y / errors
    inverse = np.linalg.inv(design.T @ design)
    found = np.asarray(inverse @ (design.T @ right), np.float64)
    scale = float("nan")
    if len(x) > 2:
        for turn in range(rounds + 1):
            residual = right - design @ found
            # Of n residuals two degrees of freedom are gone.
            median = float(np.median(np.abs(residual)))
            scale = 1.4826 * median * float(np.sqrt(len(x) / (len(x) - 2)))
            if turn == rounds or scale == 0:
                break
            weight = 1.0 / (1.0 + (residual / (scale * _CAUCHY)) ** 2)
            normal = (design * weight[:, None]).T @ design
            moment = (design * weight[:, None]).T @ right
            found = np.asarray(np.linalg.solve(normal, moment), np.float64)
    sigma = np.sqrt(np.diag(inverse) / (_EFFICIENCY if len(x) > 2 else 1.0))
    back = np.array([1.0, 1.0 / unit])
    return found * back, sigma * back, scale
