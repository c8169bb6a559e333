"""Fits of the variances alone: equation 16 of Astier et al. 2019, or a polynomial."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from cpflow.kernels.ptc_models import exp_approximation, exp_approximation_jacobian, polynomial
from cpflow.kernels.ptc_result import PtcFit, bad_fit, noise_from_square
from cpflow.kernels.ptc_selection import Selection

Array = npt.NDArray[np.float64]


def fit_exp_approximation(
    means: Array, variances: Array, relative_errors: Array, chosen: Selection
) -> PtcFit:
    """Fit equation 16 to the variances of the chosen pairs.

    Parameters
    ----------
    means, variances, relative_errors : array of float64, shape (pairs,)
        In adu, adu squared, and standard errors of the variances over the variances.
    chosen : Selection

    Returns
    -------
    PtcFit

    Notes
    -----
    Spec 1.8 step 6: unbounded. The weights are those of the curve of the last round.
    """
    mean, variance, error = (x[chosen.used] for x in (means, variances, relative_errors))
    p = np.array(chosen.parameters)
    sigma = error
    for _ in range(3):
        sigma = error * exp_approximation(mean, *p)
        p = least_squares(
            lambda p, sigma=sigma: (exp_approximation(mean, *p) - variance) / sigma,
            p,
            lambda p, sigma=sigma: exp_approximation_jacobian(mean, *p) / sigma[:, None],
            method="lm",
            x_scale="jac",
        ).x
    a00, gain, noise2 = (float(x) for x in p)
    model = exp_approximation(means, a00, gain, noise2)
    chi2 = float((((variance - model[chosen.used]) / sigma) ** 2).sum())
    jacobian = exp_approximation_jacobian(mean, a00, gain, noise2) / sigma[:, None]
    p_errors = _errors(np.linalg.pinv(jacobian / _norms(jacobian)), chi2, len(mean) - 3)
    p_errors /= _norms(jacobian)
    return _of_variances(chosen, p, p_errors, (a00, gain, noise2), p_errors, model, chi2)


def fit_polynomial(
    means: Array, variances: Array, relative_errors: Array, chosen: Selection, degree: int
) -> PtcFit:
    """Fit a polynomial to the variances of the chosen pairs.

    Parameters
    ----------
    means, variances, relative_errors : array of float64, shape (pairs,)
        In adu, adu squared, and standard errors of the variances over the variances.
    chosen : Selection
    degree : int
        1 or more.

    Returns
    -------
    PtcFit

    Notes
    -----
    Spec 1.11. a00 is the coefficient of the square, as to second order in the signal it is in
    equation 20.
    """
    mean, variance, error = (x[chosen.used] for x in (means, variances, relative_errors))
    sigma = error * exp_approximation(mean, *chosen.parameters)
    k, k_errors, chi2 = np.zeros(0), np.zeros(0), 0.0
    for _ in range(3):
        design = mean[:, None] ** np.arange(degree + 1) / sigma[:, None]
        inverse = np.linalg.pinv(design / _norms(design))
        k = inverse @ (variance / sigma) / _norms(design)
        model = polynomial(mean, k)
        chi2 = float((((variance - model) / sigma) ** 2).sum())
        k_errors = _errors(inverse, chi2, len(mean) - degree - 1) / _norms(design)
        sigma = np.where(model > 0, error * model, sigma)
    if not k[1] > 0:
        return bad_fit(len(means), 1, "the variance does not grow with the mean")
    gain, gain_error = 1 / k[1], k_errors[1] / k[1] ** 2
    quadratic, its_error = (k[2], k_errors[2]) if degree > 1 else (math.nan, math.nan)
    values = (float(quadratic), float(gain), float(k[0] * gain**2))
    value_errors = np.array([its_error, gain_error, k_errors[0] * gain**2])
    return _of_variances(chosen, k, k_errors, values, value_errors, polynomial(means, k), chi2)


def _norms(matrix: Array) -> Array:
    return np.asarray(np.sqrt((matrix**2).sum(axis=0)))


def _errors(inverse: npt.NDArray[np.floating], chi2: float, dof: int) -> Array:
    """Return errors from the pseudo-inverse of the weighted derivatives."""
    inflation = max(1.0, chi2 / dof) if dof > 0 else math.nan
    return np.asarray(np.sqrt((inverse**2).sum(axis=1) * inflation))


def _of_variances(
    chosen: Selection,
    parameters: Array,
    parameter_errors: Array,
    values: tuple[float, float, float],
    errors: Array,
    model: Array,
    chi2: float,
) -> PtcFit:
    a00, gain, noise2 = values
    if not gain > 0:
        return bad_fit(len(model), 1, f"a gain of {gain:.6g}")
    noise, noise_error = noise_from_square(noise2, float(errors[2]))
    unknown = np.full((1, 1), math.nan)
    return PtcFit(
        gain=gain,
        gain_error=float(errors[1]),
        noise=noise,
        noise_error=noise_error,
        a=np.full((1, 1), a00),
        a_error=np.full((1, 1), float(errors[0])),
        b=unknown,
        b_error=unknown.copy(),
        noise_matrix=np.full((1, 1), noise2),
        turnoff=chosen.turnoff,
        turnoff_error=chosen.turnoff_error,
        used=chosen.used,
        model_variances=model,
        model_covariances=model[:, None, None],
        parameters=parameters,
        parameter_errors=parameter_errors,
        chi2=chi2,
        dof=int(np.count_nonzero(chosen.used)) - len(parameters),
        reason="",
    )
