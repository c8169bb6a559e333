"""Which pairs of a photon transfer curve are used, and where the curve turns off (spec 1.8)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from cpflow.kernels.ptc_models import exp_approximation, exp_approximation_jacobian

Array = npt.NDArray[np.float64]
Pairs = npt.NDArray[np.bool_]

# a00 in 1/electron, gain in electron/adu, squared noise in electron squared.
_START = (-2e-6, 1.5, 25.0)
_LOWER = (-1e-4, 0.1, 0.0)
_UPPER = (0.0, 10.0, 2000.0)
# A residual of so many standard errors has half the pull that it would have in least squares.
_ROBUST = 2.0


@dataclass(frozen=True, slots=True)
class SelectionOptions:
    """How outliers and the turnoff are found.

    Attributes
    ----------
    clip : float
        Pairs beyond this many standard errors from the curve are left out.
    iterations : int
        Fits at most, until the choice stays; with 0 nothing is left out.
    model_tolerance : float
        Relative error of the curve itself, added in quadrature to that of the variance.
        Equation 16 is an approximation; without this term pairs above about 60,000 electrons are
        left out because of it, where there are a million pixels.
    initial_signal : float
        The first fit uses pairs up to this mean.
    largest_gap : float
        Above two or more rejected pairs in a row others are used only within this of the last one
        used: beyond the turnoff a variance can be right by chance.
    in_electrons : bool
        Whether the last two are in electrons, for which a median gain is taken, or in adu.
    """

    clip: float = 5.0
    iterations: int = 10
    model_tolerance: float = 0.005
    initial_signal: float = 50_000.0
    largest_gap: float = 9000.0
    in_electrons: bool = True


@dataclass(frozen=True, slots=True)
class Selection:
    """Pairs that are used and the curve that they were compared with.

    Attributes
    ----------
    used : array of bool, shape (pairs,)
    parameters : (float, float, float)
        a00, gain, squared noise of equation 16.
    turnoff : float
        Largest mean used, in adu.
    turnoff_error : float
        Half the distance of its neighbours, or the distance of the one below.
    reason : str
        Why there is none; then the numbers are NaN.
    """

    used: Pairs
    parameters: tuple[float, float, float]
    turnoff: float
    turnoff_error: float
    reason: str


def select_pairs(
    means: Array,
    variances: Array,
    relative_errors: Array,
    good: Pairs,
    options: SelectionOptions | None = None,
) -> Selection:
    """Leave out pairs that are not on a photon transfer curve.

    Parameters
    ----------
    means, variances : array of float64, shape (pairs,)
        In adu and adu squared, in any order.
    relative_errors : array of float64, shape (pairs,)
        Standard errors of the variances over the variances, ``sqrt(2/pixels)``.
    good : array of bool, shape (pairs,)
        Pairs that may be used. Others, and values that are not finite, never are.
    options : SelectionOptions, optional

    Returns
    -------
    Selection

    Notes
    -----
    Spec 1.8. A bounded, robust fit of equation 16 to the fainter pairs is compared with all;
    those within `clip` errors make the next fit. Other than in the reference, residuals are in
    units of their errors and not of the root of the variance, errors come from the curve, so that
    a variance that is too low has no small error, and the first fit has a limit on the signal
    only (Q6).
    """
    options = options or SelectionOptions()
    known = np.isfinite(means) & np.isfinite(variances) & np.isfinite(relative_errors)
    order = np.argsort(np.where(known, means, np.inf), kind="stable")
    order = order[(good & known)[order]]
    mean, variance, error = means[order], variances[order], relative_errors[order]
    if len(mean) < 3:
        return _nothing(len(means), f"{len(mean)} pairs, 3 are needed")
    if not np.median(variance) > 0:
        return _nothing(len(means), "variances are not above 0")
    scale = float(np.median(mean / np.maximum(variance, 1e-9))) if options.in_electrons else 1.0
    kept = mean <= options.initial_signal / scale
    if options.iterations == 0 or np.count_nonzero(kept) < 4:
        kept = np.ones_like(kept)
    floor = options.model_tolerance if options.iterations > 0 else 0.0
    parameters = _START
    for _ in range(max(options.iterations, 1)):
        parameters = _robust_fit(mean[kept], variance[kept], error[kept], floor)
        if options.iterations == 0:
            break
        model = exp_approximation(mean, *parameters)
        allowed = options.clip * model * np.hypot(error, floor)
        new = _without_gaps(mean, np.abs(variance - model) < allowed, options.largest_gap / scale)
        if np.count_nonzero(new) < 3:
            return _nothing(len(means), "fewer than 3 pairs are on a photon transfer curve")
        if np.array_equal(new, kept):
            break
        kept = new
    used = np.zeros(len(means), np.bool_)
    used[order[kept]] = True
    turnoff, turnoff_error = _turnoff(np.sort(means[np.isfinite(means)]), float(mean[kept][-1]))
    return Selection(used, parameters, turnoff, turnoff_error, "")


def _robust_fit(
    mean: Array, variance: Array, error: Array, floor: float
) -> tuple[float, float, float]:
    gain = float(np.clip(np.median(mean / np.maximum(variance, 1e-9)), 0.11, 9.9))
    parameters = (_START[0], gain, _START[2])
    # Errors come from the curve of the last round; the first one is a straight line.
    for model_a00 in (0.0, None, None):
        a00 = parameters[0] if model_a00 is None else model_a00
        model = exp_approximation(mean, a00, *parameters[1:])
        sigma = model * np.hypot(error, floor)

        def residuals(p: Array, sigma: Array = sigma) -> Array:
            return np.asarray((exp_approximation(mean, *p) - variance) / sigma)

        def jacobian(p: Array, sigma: Array = sigma) -> Array:
            return exp_approximation_jacobian(mean, *p) / sigma[:, None]

        fit = least_squares(
            residuals, parameters, jacobian, (_LOWER, _UPPER), x_scale=(1e-6, 0.1, 10.0),
            loss="cauchy", f_scale=_ROBUST,
        )  # fmt: skip
        parameters = (float(fit.x[0]), float(fit.x[1]), float(fit.x[2]))
    return parameters


def _without_gaps(mean: Array, near: Pairs, largest_gap: float) -> Pairs:
    """Keep pairs, whose means ascend, up to the first gap of two rejected pairs or more."""
    kept = near.copy()
    last = -1
    for i in np.flatnonzero(near):
        if i - last > 2 and last >= 0 and mean[i] - mean[last] > largest_gap:
            kept[i:] = False
            break
        last = int(i)
    return kept


def _turnoff(sorted_means: Array, turnoff: float) -> tuple[float, float]:
    at = int(np.searchsorted(sorted_means, turnoff))
    below = float(sorted_means[at - 1]) if at > 0 else math.nan
    if at + 1 < len(sorted_means):
        return turnoff, 0.5 * (float(sorted_means[at + 1]) - below)
    return turnoff, turnoff - below


def _nothing(pairs: int, reason: str) -> Selection:
    nan = math.nan
    return Selection(np.zeros(pairs, np.bool_), (nan, nan, nan), nan, nan, reason)
