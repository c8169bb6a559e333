"""What the fit of a photon transfer curve gives (spec 1.12, 1.14)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PtcFit:
    """A fitted photon transfer curve. Without one, `reason` says why and numbers are NaN.

    Attributes
    ----------
    gain, gain_error : float
        In electron/adu. All errors are standard errors from the curvature of chi2 with the errors
        of the data, times the root of chi2/dof where that is above 1.
    noise, noise_error : float
        Read noise of the fit in electron.
    a, a_error : array of float64, shape (lags, lags)
        In 1/electron, ``[lag in x, lag in y]``; a00 alone, shape (1, 1), if only variances are
        fitted.
    b, b_error : array of float64, the same shape
        In 1/electron; NaN if not fitted.
    noise_matrix : array of float64, the same shape
        In electron squared; its sign is that of the fit, also where `noise` is its root.
    turnoff, turnoff_error : float
        Largest mean used in adu, and its sampling error.
    used : array of bool, shape (pairs,)
        Pairs that were fitted.
    model_variances : array of float64, shape (pairs,)
        The curve in adu squared, at all pairs with a finite mean.
    model_covariances : array of float64, shape (pairs, lags, lags)
        The same at all lags.
    parameters, parameter_errors : array of float64
        a00, gain, squared noise of EXPAPPROXIMATION, or coefficients of POLYNOMIAL from the power
        0 in adu; otherwise empty.
    chi2 : float
    dof : int
    reason : str
        Why the amplifier is bad; empty if it is not.
    """

    gain: float
    gain_error: float
    noise: float
    noise_error: float
    a: Array
    a_error: Array
    b: Array
    b_error: Array
    noise_matrix: Array
    turnoff: float
    turnoff_error: float
    used: npt.NDArray[np.bool_]
    model_variances: Array
    model_covariances: Array
    parameters: Array
    parameter_errors: Array
    chi2: float
    dof: int
    reason: str


def noise_from_square(noise2: float, error: float) -> tuple[float, float]:
    """Return a read noise and its error from those of its square, which may be below 0.

    Parameters
    ----------
    noise2, error : float
        In electron squared.

    Returns
    -------
    (float, float)
        ``sqrt(|noise2|)`` and ``error / (2 sqrt(|noise2|))`` in electron (spec 1.8).
    """
    noise = math.sqrt(abs(noise2))
    return noise, 0.5 * error / noise if noise > 0 else math.nan


def bad_fit(pairs: int, lags: int, reason: str) -> PtcFit:
    """Return the result for an amplifier without a photon transfer curve.

    Parameters
    ----------
    pairs, lags : int
        Sizes of its arrays.
    reason : str
        Why there is none.

    Returns
    -------
    PtcFit
        No pair is used, all numbers are NaN (spec 1.12).
    """
    nan = math.nan

    def matrix() -> Array:
        return np.full((lags, lags), nan)

    return PtcFit(
        nan, nan, nan, nan, matrix(), matrix(), matrix(), matrix(), matrix(), nan, nan,
        np.zeros(pairs, np.bool_), np.full(pairs, nan), np.full((pairs, lags, lags), nan),
        np.zeros(0), np.zeros(0), nan, 0, reason,
    )  # fmt: skip
