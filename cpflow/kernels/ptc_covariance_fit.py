"""Fit of equation 20 of Astier et al. 2019 to covariances at many signals and lags (spec 1.10)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from cpflow.kernels.ptc_models import DEGREE, covariance_coefficients, full_covariance
from cpflow.kernels.ptc_series import convolution_matrix, growth_series

Array = npt.NDArray[np.float64]

_MOST_EVALUATIONS = 200
# Of the first guess; each makes its error a third or so.
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class CovarianceFit:
    """Parameters of equation 20.

    Attributes
    ----------
    gain : float
        In electron/adu.
    a, c, noise : array of float64, shape (lags, lags)
        In 1/electron, 1/electron squared and electron squared. c is a times b.
    covariance : array of float64, shape (parameters, parameters)
        Of a, c (only if it was fitted), noise, gain in this order, flattened; from the weights.
    chi2 : float
    dof : int
    converged : bool
    """

    gain: float
    a: Array
    c: Array
    noise: Array
    covariance: Array
    chi2: float
    dof: int
    converged: bool


def fit_covariances(
    means: Array,
    covariances: Array,
    sqrt_weights: Array,
    start: tuple[float, float, float],
    with_b: bool = True,
    degree: int = DEGREE,
) -> CovarianceFit:
    """Fit equation 20 by least squares.

    Parameters
    ----------
    means : array of float64, shape (pairs,)
        In adu.
    covariances, sqrt_weights : array of float64, shape (pairs, lags, lags)
        In adu squared and its inverse. Values that are not finite have no weight.
    start : (float, float, float)
        a00, gain and squared noise to start from, as found with equation 16.
    with_b : bool
        Whether `a` may change with the signal.
    degree : int
        Highest power of the mean; 4, equation 20 as published, or more.

    Returns
    -------
    CovarianceFit

    Raises
    ------
    ValueError
        If shapes do not fit, there are fewer than 4 pairs, or `degree` is less than 4.

    Notes
    -----
    At each lag the model is a polynomial in the mean. All that the data say about its coefficients
    is in the triangle R and the vector q of a QR decomposition of the weighted
    powers: chi2 is ``|R k - q|**2`` plus a constant. So the size of the problem, with its 3 lags**2
    + 1 parameters, does not depend on the number of pairs. Derivatives are exact.
    """
    pairs, lags = covariances.shape[0], covariances.shape[1]
    if covariances.shape != (pairs, lags, lags) or sqrt_weights.shape != covariances.shape:
        raise ValueError(f"covariances of {covariances.shape}, weights of {sqrt_weights.shape}")
    if len(means) != pairs or pairs < 4:
        raise ValueError(f"{len(means)} means, {pairs} pairs; 4 or more are needed")
    if degree < DEGREE:
        raise ValueError(f"equation 20 has a degree of {DEGREE} or, continued, more; not {degree}")
    known = np.isfinite(covariances) & np.isfinite(sqrt_weights) & (sqrt_weights > 0)
    weights = np.where(known, sqrt_weights, 0.0)
    data = np.where(known, covariances, 0.0)
    problem = _Problem(means, data, weights, with_b, degree)
    fit = least_squares(
        problem.residuals,
        problem.first_guess(start),
        problem.jacobian,
        method="lm",
        x_scale="jac",
        xtol=1e-10,
        ftol=1e-12,
        max_nfev=_MOST_EVALUATIONS,
    )
    gain, a, c, noise = problem.unpack(fit.x)
    model = full_covariance(means, gain, a, noise, c, degree)
    chi2 = float((((data - model) * weights) ** 2).sum())
    dof = int(np.count_nonzero(known)) - len(fit.x)
    covariance = _inverse_square(problem.jacobian(fit.x))
    return CovarianceFit(gain, a, c, noise, covariance, chi2, dof, bool(fit.success))


def _inverse_square(jacobian: Array) -> Array:
    """Return the inverse of ``J.T @ J``; NaN for parameters that the data do not determine."""
    norms = np.sqrt((jacobian**2).sum(axis=0))
    free = norms > 0
    triangle = np.linalg.qr(jacobian[:, free] / norms[free], mode="r")
    inverse = np.full((len(norms), len(norms)), np.nan)
    if np.abs(np.diag(triangle)).min(initial=1.0) < 1e-10:
        return inverse
    root = np.linalg.inv(triangle) / norms[free][:, None]
    inverse[np.ix_(free, free)] = root @ root.T
    return inverse


class _Problem:
    """The compressed data, and the residuals and derivatives of the model."""

    def __init__(
        self, means: Array, data: Array, weights: Array, with_b: bool, degree: int
    ) -> None:
        self.lags = data.shape[1]
        self.with_b = with_b
        self.degree = degree
        n, terms = self.lags**2, degree + 1
        scale = float(means.max())
        self.units = scale ** np.arange(terms)
        powers = (means / scale)[:, None] ** np.arange(terms)
        design = powers * weights.reshape(-1, n).T[:, :, None]
        values = (data * weights).reshape(-1, n).T[:, :, None]
        # With fewer pairs than terms there are rows of zeros.
        rows = ((0, 0), (0, max(terms - len(means), 0)), (0, 0))
        q, self.triangles = np.linalg.qr(np.pad(design, rows))
        self.targets = (q.transpose(0, 2, 1) @ np.pad(values, rows))[:, :, 0]

    def unpack(self, p: Array) -> tuple[float, Array, Array, Array]:
        n = self.lags**2
        shape = (self.lags, self.lags)
        a, noise = p[:n].reshape(shape), p[-n - 1 : -1].reshape(shape)
        c = p[n : 2 * n].reshape(shape) if self.with_b else np.zeros(shape)
        return float(p[-1]), a, c, noise

    def coefficients(self, gain: float, a: Array, noise: Array, c: Array | None) -> Array:
        found = covariance_coefficients(gain, a, noise, c, self.degree)
        return np.asarray(found.reshape(self.degree + 1, -1).T * self.units)

    def residuals(self, p: Array) -> Array:
        gain, a, c, noise = self.unpack(p)
        k = self.coefficients(gain, a, noise, c)
        return np.asarray((self.triangles @ k[:, :, None])[:, :, 0] - self.targets).reshape(-1)

    def jacobian(self, p: Array) -> Array:
        gain, a, c, noise = self.unpack(p)
        r, n = self.lags, self.lags**2
        series = growth_series(a, c, self.degree)
        power = np.arange(self.degree + 1) - 2.0
        factors = self.units * gain**power
        by_a = [f * convolution_matrix(x, r) for f, x in zip(factors, series.by_a, strict=True)]
        by_c = [f * convolution_matrix(x, r) for f, x in zip(factors, series.by_c, strict=True)]
        by_noise = np.zeros((self.degree + 1, n, n))
        by_noise[0] = np.eye(n) / gain**2
        by_gain = (power / gain * self.coefficients(gain, a, noise, c)).T[:, :, None]
        blocks = [np.stack(by_a), *([np.stack(by_c)] if self.with_b else []), by_noise, by_gain]
        by_all = np.concatenate(blocks, axis=2).transpose(1, 0, 2)
        return np.asarray(self.triangles @ by_all).reshape(n * (self.degree + 1), -1)

    def first_guess(self, start: tuple[float, float, float]) -> Array:
        """Fit parabolas at each lag, to what the higher terms of the last round leave."""
        a00, gain, noise2 = start
        a, noise = np.zeros((self.lags, self.lags)), np.zeros((self.lags, self.lags))
        a[0, 0], noise[0, 0] = a00, noise2
        parabola = np.linalg.pinv(self.triangles[:, :, [0, 2]])
        for _ in range(_ROUNDS):
            k = self.coefficients(gain, a, noise, None)
            k[:, [0, 2]] = 0.0
            rest = self.targets - (self.triangles @ k[:, :, None])[:, :, 0]
            solved = parabola @ rest[:, :, None]
            noise = solved[:, 0, 0].reshape(noise.shape) * gain**2
            a = solved[:, 1, 0].reshape(a.shape) / self.units[2]
        c = [np.zeros(a.size)] if self.with_b else []
        return np.concatenate([a.reshape(-1), *c, noise.reshape(-1), [gain]])
