"""Crosstalk coefficients of a detector from the ratios of its exposures (spec 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from cpflow.kernels.crosstalk_fit import RatioFit, fit_ratios
from cpflow.kernels.crosstalk_measure import CrosstalkRatios
from cpflow.kernels.masks import Mask
from cpflow.kernels.statistics import IQR_TO_SIGMA

Floats = npt.NDArray[np.float64]

# Of a normal distribution half of the quartile distance is the median absolute deviation.
_MAD_TO_SIGMA = 2 * IQR_TO_SIGMA


@dataclass(frozen=True, slots=True)
class CrosstalkSolution:
    """Crosstalk of a detector: a target reads ``c S + q S**2`` of a source S.

    All arrays have the shape (source amp, target amp).

    Attributes
    ----------
    coefficients : array of float64
        c; NaN without ratios, as for an amplifier with itself.
    errors : array of float64
        Standard deviation of a single ratio; NaN without a degree of freedom.
    mean_errors : array of float64
        Standard error of c.
    counts : array of int64
        Ratios that clipping left.
    valid : array of bool
        Whether there is crosstalk for certain.
    quadratic, quadratic_errors : array of float64
        q in the inverse of the ratios' flux unit, and its standard error; zeros if not fitted.
    """

    coefficients: Floats
    errors: Floats
    mean_errors: Floats
    counts: npt.NDArray[np.int64]
    valid: Mask
    quadratic: Floats
    quadratic_errors: Floats


def solve_crosstalk(
    exposures: Sequence[CrosstalkRatios],
    *,
    order: int = 0,
    clip: float = 2.0,
    rounds: int = 3,
    weighted: bool = True,
    significance: float = 3.0,
    scale_significance: bool = True,
    reject_negative: bool = False,
    zero_invalid: bool = False,
) -> CrosstalkSolution:
    """Combine the ratios of several exposures.

    Parameters
    ----------
    exposures : sequence of CrosstalkRatios
    order : int
        0: the coefficient is one number; 1: it is linear in the source's flux.
    clip, rounds, weighted
        Of `fit_ratios`. Weights are on unless one wants the reference's plain means.
    significance : float
        A valid coefficient is so many errors from zero; of order 1 both together are, at the same
        probability, because each by itself takes the error of the other.
    scale_significance : bool
        Test against the error of the coefficient; else against the scatter of a single ratio.
    reject_negative : bool
        Negative coefficients are not valid.
    zero_invalid : bool
        Put zeros, without errors, where a coefficient is not valid.

    Returns
    -------
    CrosstalkSolution

    Raises
    ------
    ValueError
        If there is no exposure, exposures have different amplifiers, or `order` is not 0 or 1.

    Notes
    -----
    Spec 4.2. Pairs with a single ratio are not valid (spec 8, Q18). The error is that of the
    clipped mean; the scatter over sqrt(N), which the reference tests, is 19 % less.
    """
    if not exposures:
        raise ValueError("there is no exposure to take crosstalk from")
    shape = exposures[0].shape
    if any(exposure.shape != shape for exposure in exposures):
        raise ValueError("exposures have different numbers of amplifiers")
    out = CrosstalkSolution(
        np.full(shape, np.nan),
        np.full(shape, np.nan),
        np.full(shape, np.nan),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.bool_),
        np.zeros(shape),
        np.zeros(shape),
    )
    for s, t in np.ndindex(shape):
        pairs = [exposure.pair(s, t) for exposure in exposures]
        fit = fit_ratios(
            np.concatenate([ratio for ratio, _ in pairs]),
            np.concatenate([flux for _, flux in pairs]),
            order=order,
            clip=clip,
            rounds=rounds,
            weighted=weighted,
        )
        out.coefficients[s, t], out.errors[s, t] = fit.parameters[0], fit.scatter
        out.mean_errors[s, t] = np.sqrt(fit.covariance[0, 0])
        out.counts[s, t] = fit.count
        if order == 1:
            out.quadratic[s, t] = fit.parameters[1]
            out.quadratic_errors[s, t] = np.sqrt(fit.covariance[1, 1])
        out.valid[s, t] = _significant(fit, significance, scale_significance)
    if reject_negative:
        out.valid[out.coefficients < 0] = False
    return _without_invalid(out) if zero_invalid else out


def filter_detectors(
    solutions: Sequence[CrosstalkSolution],
    *,
    linear_limit: float = 3.0,
    quadratic_limit: float = 6.0,
) -> tuple[tuple[CrosstalkSolution, ...], Mask]:
    """Replace what one detector has unlike all others of its type.

    Parameters
    ----------
    solutions : sequence of CrosstalkSolution
        Of detectors of one type.
    linear_limit, quadratic_limit : float
        How many standard deviations, as the median absolute deviation gives them, an element may
        be from the median over detectors.

    Returns
    -------
    solutions : tuple of CrosstalkSolution
        Elements beyond that are the median; they are valid if most detectors' are, and keep their
        own errors.
    replaced : array of bool, shape (detector, source amp, target amp)
        Where the linear or the quadratic one was replaced.

    Raises
    ------
    ValueError
        If detectors have different amplifiers, or a limit is negative.

    Notes
    -----
    Spec 4.2, CrosstalkFilterTask. Elements that are NaN have no part in the median and stay. Fewer
    than three detectors cannot outvote one.
    """
    if not solutions:
        return (), np.zeros((0, 0, 0), np.bool_)
    if len({solution.coefficients.shape for solution in solutions}) != 1:
        raise ValueError("detectors of one type have the same amplifiers")
    linear, moved = replace_outliers(np.stack([s.coefficients for s in solutions]), linear_limit)
    square, bent = replace_outliers(np.stack([s.quadratic for s in solutions]), quadratic_limit)
    replaced = np.asarray(moved | bent, np.bool_)
    flags = np.stack([s.valid for s in solutions])
    majority = 2 * flags.sum(axis=0) > len(solutions)
    filtered = tuple(
        replace(
            solution,
            coefficients=linear[i],
            quadratic=square[i],
            valid=np.where(replaced[i], majority, solution.valid),
        )
        for i, solution in enumerate(solutions)
    )
    return filtered, replaced


def replace_outliers(values: Floats, limit: float) -> tuple[Floats, Mask]:
    """Replace values far from the median along the first axis by that median.

    Parameters
    ----------
    values : array of float64, shape (detector, ...)
        NaN has no part in the median and stays.
    limit : float
        In standard deviations, 1.4826 times the median absolute deviation.

    Returns
    -------
    values : array of float64, same shape
    replaced : array of bool, same shape

    Raises
    ------
    ValueError
        If the limit is negative.
    """
    if not limit >= 0:
        raise ValueError(f"a limit of {limit} leaves nothing")
    known = np.isfinite(values)
    # Sorted with NaN last, so that an element without any value needs no case of its own.
    median = _median(values, known)
    deviation = np.abs(values - median)
    width = limit * _MAD_TO_SIGMA * _median(deviation, known)
    replaced = known & (deviation > width) & (known.sum(axis=0) >= 3)
    return np.where(replaced, median, values), np.asarray(replaced, np.bool_)


def _median(values: Floats, known: Mask) -> Floats:
    ordered = np.sort(np.where(known, values, np.nan), axis=0)
    count = known.sum(axis=0, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=0)
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(values) - 1), axis=0)
    return np.asarray(0.5 * (low + high)[0], np.float64)


def _significant(fit: RatioFit, limit: float, scaled: bool) -> bool:
    if fit.count <= len(fit.parameters) or not np.isfinite(fit.scatter):
        return False
    if not scaled:
        return bool(abs(fit.parameters[0]) > limit * fit.scatter)
    if len(fit.parameters) == 1:
        return bool(abs(fit.parameters[0]) > limit * np.sqrt(fit.covariance[0, 0]))
    c, q = fit.parameters
    (cc, cq), (_, qq) = fit.covariance
    # The other parameter's share taken out of c leaves two independent normal numbers.
    if qq == 0:
        return bool(c != 0 or q != 0)
    rest = cc - cq**2 / qq
    chi2 = q**2 / qq + (c - q * cq / qq) ** 2 / rest if rest > 0 else np.inf
    # Of two numbers chi2 exceeds -2 ln p with the probability p; of one it does the limit's square.
    return bool(chi2 > -2 * (np.log(2) + log_ndtr(-limit)))


def _without_invalid(solution: CrosstalkSolution) -> CrosstalkSolution:
    valid = solution.valid
    return replace(
        solution,
        coefficients=np.where(valid, solution.coefficients, 0.0),
        errors=np.where(valid, solution.errors, np.nan),
        mean_errors=np.where(valid, solution.mean_errors, np.nan),
        quadratic=np.where(valid, solution.quadratic, 0.0),
        quadratic_errors=np.where(valid, solution.quadratic_errors, np.nan),
    )
