"""Gain, read noise and brighter-fatter coefficients from a photon transfer curve (spec 1.7)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from cpflow.kernels.ptc_covariance_fit import CovarianceFit, fit_covariances
from cpflow.kernels.ptc_long_range import subtract_long_range
from cpflow.kernels.ptc_models import exp_approximation, full_covariance
from cpflow.kernels.ptc_result import PtcFit, bad_fit, noise_from_square
from cpflow.kernels.ptc_selection import Selection, SelectionOptions, select_pairs
from cpflow.kernels.ptc_variance_fit import fit_exp_approximation, fit_polynomial

Array = npt.NDArray[np.float64]
FitType = Literal["EXPAPPROXIMATION", "FULLCOVARIANCE", "FULLCOVARIANCE_NO_B", "POLYNOMIAL"]


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How a photon transfer curve is fitted.

    Attributes
    ----------
    fit_type : {"EXPAPPROXIMATION", "FULLCOVARIANCE", "FULLCOVARIANCE_NO_B", "POLYNOMIAL"}
    lags : int
        Lags of the full covariance fit; not more than were measured.
    degree : int
        Highest power of the mean in the full covariance fit. 4 is equation 20 as published, with
        which b is half too large and a00 1.6 % if the curve goes up to 110,000 electrons.
    min_mean, max_mean : float
        Pairs outside are not used; those at the limits are. In adu.
    min_p_value : float
        Pairs with a smaller probability of normal noise are not used.
    selection : SelectionOptions
        Of outliers and the turnoff.
    subtract_long_range : bool
        Whether the full covariance fit is of what `subtract_long_range` leaves.
    long_range_start, long_range_degree : int
        See there.
    polynomial_degree : int
    """

    fit_type: FitType = "EXPAPPROXIMATION"
    lags: int = 10
    degree: int = 8
    min_mean: float = 0.0
    max_mean: float = 1e6
    min_p_value: float = 0.01
    selection: SelectionOptions = field(default_factory=SelectionOptions)
    subtract_long_range: bool = False
    long_range_start: int = 4
    long_range_degree: int = 1
    polynomial_degree: int = 3


def fit_ptc(
    means: Array,
    variances: Array,
    covariances: Array,
    sqrt_weights: Array,
    good: npt.NDArray[np.bool_] | None = None,
    p_values: Array | None = None,
    options: FitOptions | None = None,
) -> PtcFit:
    """Fit the photon transfer curve of one amplifier.

    Parameters
    ----------
    means, variances : array of float64, shape (pairs,)
        In adu and adu squared, in any order. NaN is left out.
    covariances, sqrt_weights : array of float64, shape (pairs, lags, lags)
        In adu squared and its inverse. One lag is enough if only variances are fitted.
    good : array of bool, shape (pairs,), optional
        Pairs that may be used.
    p_values : array of float64, shape (pairs,), optional
        Probabilities that the noise is normal.
    options : FitOptions, optional

    Returns
    -------
    PtcFit

    Raises
    ------
    ValueError
        If shapes do not fit, the fit type is unknown, or more lags are wanted than there are.

    Notes
    -----
    The error of a variance is V sqrt(2/n), n from the weights and V from the fitted curve, not from
    the measurement: one that is too low by chance would else have a larger weight. Equation 16 has
    no neighbours and no b, so that its gain is too high by up to some tenths of a per cent if the
    curve goes beyond 50,000 electrons, and its a00 too small by several per cent.
    """
    options = options or FitOptions()
    _check(means, variances, covariances, sqrt_weights, options)
    full = options.fit_type in ("FULLCOVARIANCE", "FULLCOVARIANCE_NO_B")
    lags = options.lags if full else 1
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = 1 / (sqrt_weights[:, 0, 0] * covariances[:, 0, 0])
    possible = np.isfinite(errors) & (errors > 0)
    possible &= (means >= options.min_mean) & (means <= options.max_mean)
    if good is not None:
        possible &= good
    if p_values is not None:
        possible &= p_values >= options.min_p_value
    chosen = select_pairs(means, variances, errors, possible, options.selection)
    if chosen.reason:
        return bad_fit(len(means), lags, chosen.reason)
    mean = means[chosen.used]
    if full:
        return _full_covariance(means, covariances, sqrt_weights, errors, chosen, options)
    least = 4 if options.fit_type == "EXPAPPROXIMATION" else options.polynomial_degree + 2
    if len(mean) < least:
        return bad_fit(len(means), lags, f"{len(mean)} pairs, {least} are needed")
    if options.fit_type == "POLYNOMIAL":
        return fit_polynomial(means, variances, errors, chosen, options.polynomial_degree)
    return fit_exp_approximation(means, variances, errors, chosen)


def _full_covariance(
    means: Array,
    covariances: Array,
    sqrt_weights: Array,
    errors: Array,
    chosen: Selection,
    options: FitOptions,
) -> PtcFit:
    lags, used = options.lags, chosen.used
    pairs = int(np.count_nonzero(used))
    if pairs < max(lags, 5):
        return bad_fit(len(means), lags, f"{pairs} pairs, {max(lags, 5)} are needed")
    # The weights at all lags are of the measured variance; the curve's is better.
    curve = exp_approximation(means, *chosen.parameters)
    weights = sqrt_weights * (covariances[:, 0, 0] / curve)[:, None, None]
    if options.subtract_long_range:
        covariances = subtract_long_range(
            covariances, weights, options.long_range_start, options.long_range_degree
        )
    fit = fit_covariances(
        means[used],
        covariances[used, :lags, :lags],
        weights[used, :lags, :lags],
        chosen.parameters,
        options.fit_type == "FULLCOVARIANCE",
        options.degree,
    )
    if not fit.converged or not fit.gain > 0:
        return bad_fit(len(means), lags, f"the fit ends at a gain of {fit.gain:.6g}")
    model = full_covariance(means, fit.gain, fit.a, fit.noise, fit.c, options.degree)
    return _of_covariances(fit, chosen, model, options.fit_type == "FULLCOVARIANCE")


def _of_covariances(fit: CovarianceFit, chosen: Selection, model: Array, with_b: bool) -> PtcFit:
    n, shape = fit.a.size, fit.a.shape
    covariance = fit.covariance * (max(1.0, fit.chi2 / fit.dof) if fit.dof > 0 else math.nan)
    errors = np.sqrt(np.diag(covariance))
    a_error, noise_errors = errors[:n].reshape(shape), errors[-n - 1 : -1]
    b, b_error = np.full(shape, math.nan), np.full(shape, math.nan)
    if with_b:
        b = fit.c / fit.a
        mixed = np.diag(covariance[:n, n : 2 * n]).reshape(shape)
        square = errors[n : 2 * n].reshape(shape) ** 2 + (b * a_error) ** 2 - 2 * b * mixed
        b_error = np.sqrt(np.maximum(square, 0)) / np.abs(fit.a)
    noise, noise_error = noise_from_square(float(fit.noise[0, 0]), float(noise_errors[0]))
    return PtcFit(
        gain=fit.gain,
        gain_error=float(errors[-1]),
        noise=noise,
        noise_error=noise_error,
        a=fit.a,
        a_error=a_error,
        b=b,
        b_error=b_error,
        noise_matrix=fit.noise,
        turnoff=chosen.turnoff,
        turnoff_error=chosen.turnoff_error,
        used=chosen.used,
        model_variances=model[:, 0, 0].copy(),
        model_covariances=model,
        parameters=np.zeros(0),
        parameter_errors=np.zeros(0),
        chi2=fit.chi2,
        dof=fit.dof,
        reason="",
    )


def _check(
    means: Array, variances: Array, covariances: Array, sqrt_weights: Array, options: FitOptions
) -> None:
    n = len(means)
    square = covariances.ndim == 3 and covariances.shape[1] == covariances.shape[2]
    if means.shape != (n,) or variances.shape != (n,) or not square or len(covariances) != n:
        raise ValueError(
            f"means of {means.shape}, variances of {variances.shape}, covariances of "
            f"{covariances.shape}"
        )
    if sqrt_weights.shape != covariances.shape:
        raise ValueError(f"covariances of {covariances.shape}, weights of {sqrt_weights.shape}")
    if options.fit_type in ("FULLCOVARIANCE", "FULLCOVARIANCE_NO_B"):
        if not 1 <= options.lags <= covariances.shape[1]:
            raise ValueError(f"{options.lags} lags of {covariances.shape[1]} measured")
    elif options.fit_type not in ("EXPAPPROXIMATION", "POLYNOMIAL"):
        raise ValueError(f"no fit type is called {options.fit_type!r}")
