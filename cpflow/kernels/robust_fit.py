"""Linear models fitted by iteratively reweighted least squares (reference 0.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from cpflow.kernels.robust_weights import WeightFunction, robust_scale, robust_weights

Array = npt.NDArray[np.float64]

_STEP: Final = 1e-5


@dataclass(frozen=True, slots=True)
class RobustFit:
    """A linear model and what the fit thought of each point.

    Attributes
    ----------
    parameters, errors : array of float64, shape (parameters,)
        NaN if the points do not determine them.
    covariance : array of float64, shape (parameters, parameters)
        Its diagonal has the squared errors.
    weights : array of float64, shape (points,)
        Between 0 and 1, of the squared residuals; 0 for points that are not finite.
    residuals : array of float64, shape (points,)
        Values less model, in their unit.
    scale : float
        Standard deviation of the residuals in units of the given errors.
    reduced_chi2 : float
        Weighted squares of residuals in units of the given errors, over the sum of weights less the
        number of parameters; NaN if that is not positive.
    rounds : int
        Solutions computed.
    """

    parameters: Array
    errors: Array
    covariance: Array
    weights: Array
    residuals: Array
    scale: float
    reduced_chi2: float
    rounds: int


def _solve(design: Array, values: Array, weights: Array) -> Array | None:
    root = np.sqrt(weights)
    # Columns of one length: singular values then tell degeneracy, not units.
    lengths = np.linalg.norm(design * root[:, None], axis=0)
    if not (lengths > 0).all():
        return None
    scaled, _, rank, _ = np.linalg.lstsq(design / lengths * root[:, None], values * root, None)
    return np.asarray(scaled / lengths) if rank == design.shape[1] else None


def _covariance(design: Array, z: Array, scale: float, function: WeightFunction) -> Array:
    """Return the covariance of an M-estimate (Huber & Ronchetti 2009, eq. 7.81)."""
    n, p = design.shape
    lengths = np.linalg.norm(design, axis=0)
    triangle = np.linalg.qr(design / lengths, mode="r")
    inverse = np.linalg.pinv(triangle) / lengths[:, None]

    def psi(t: Array) -> Array:
        return np.asarray(t * robust_weights(t, function))

    slope = float(np.mean(psi(z + _STEP) - psi(z - _STEP))) / (2 * _STEP)
    if n <= p or slope <= 0:
        return np.full((p, p), np.nan)
    variance = scale**2 * float(np.sum(psi(z) ** 2)) / (n - p) / slope**2
    return np.asarray(variance * inverse @ inverse.T)


def robust_fit(
    design: npt.ArrayLike,
    values: npt.ArrayLike,
    errors: npt.ArrayLike | None = None,
    *,
    function: WeightFunction = "cauchy",
    scale: float | None = None,
    iterations: int = 100,
    tolerance: float = 1e-10,
) -> RobustFit:
    """Fit ``values = design @ parameters`` so that single points far off hardly matter.

    Parameters
    ----------
    design : array of float, shape (points, parameters)
    values : array of float, shape (points,)
    errors : array of float, shape (points,), optional
        Standard errors in the unit of `values`, above zero; 1 if not given. Points that are not
        finite, or whose error is not above zero, are left out.
    function : str
        See `robust_weights`.
    scale : float, optional
        Residuals are compared with this many errors; by default with their own scatter, computed
        anew in each round from the median of their size.
    iterations : int
        Rounds at most of each stage.
    tolerance : float
        A stage ends when the model changes nowhere by more than this times the largest value, both
        in errors.

    Returns
    -------
    RobustFit

    Raises
    ------
    ValueError
        If shapes do not fit, or the function is unknown.

    Notes
    -----
    Differs from the reference (0.4) in this: weights multiply squared residuals; residuals are in
    units of their errors and scatter, not of the root of the ordinate; rounds go on until
    parameters stay, not ten times; functions that give up distant points begin with the solution of
    "huber", which is unique.
    """
    x, y = np.asarray(design, np.float64), np.asarray(values, np.float64)
    sigma = np.ones_like(y) if errors is None else np.asarray(errors, np.float64)
    if x.ndim != 2 or y.shape != x.shape[:1] or sigma.shape != y.shape:
        raise ValueError(f"design {x.shape}, values {y.shape} and errors {sigma.shape} do not fit")
    robust_weights(0.0, function)
    usable = np.isfinite(x).all(axis=1) & np.isfinite(y) & np.isfinite(sigma) & (sigma > 0)
    a, b = x[usable] / sigma[usable, None], y[usable] / sigma[usable]
    n, p = a.shape
    weights = np.ones(n)
    parameters = _solve(a, b, weights) if n >= p > 0 else None
    spread, rounds = math.nan, 1
    # Rounding of the values is all the scatter that an exact model leaves.
    floor = 64 * np.finfo(np.float64).eps * float(np.median(np.abs(b))) if n else 0.0
    stages: tuple[WeightFunction, ...] = (function,) if function == "none" else ("huber", function)
    for stage in stages:
        for _ in range(iterations):
            if parameters is None:
                break
            residuals = b - a @ parameters
            if function == "none" and scale is None:
                spread = math.sqrt(float(residuals @ residuals) / (n - p)) if n > p else math.nan
                break
            spread = scale if scale is not None else max(robust_scale(residuals, p), floor)
            weights = robust_weights(residuals / spread, stage) if spread > 0 else np.ones(n)
            new = _solve(a, b, weights)
            rounds += 1
            change = np.inf if new is None else np.abs(a @ (new - parameters)).max()
            parameters = new
            if change <= tolerance * float(np.abs(b).max()):
                break
    if parameters is None:
        nothing = np.full(p, np.nan)
        blank = np.full(len(y), np.nan)
        return RobustFit(
            nothing, nothing, np.full((p, p), np.nan), np.zeros(len(y)), blank, math.nan, math.nan,
            rounds,
        )  # fmt: skip
    residuals = b - a @ parameters
    z = residuals / spread if spread > 0 else np.zeros(n)
    covariance = _covariance(a, z, spread, function)
    freedom = float(weights.sum()) - p
    chi2 = float(weights @ residuals**2) / freedom if freedom > 0 else math.nan
    all_weights = np.zeros(len(y))
    all_weights[usable] = weights
    return RobustFit(
        parameters,
        np.sqrt(np.diag(covariance)),
        covariance,
        all_weights,
        y - x @ parameters,
        float(spread),
        chi2,
        rounds,
    )


def robust_polynomial(
    abscissa: npt.ArrayLike,
    ordinate: npt.ArrayLike,
    degree: int,
    errors: npt.ArrayLike | None = None,
    *,
    function: WeightFunction = "cauchy",
    scale: float | None = None,
) -> RobustFit:
    """Fit a polynomial; see `robust_fit`.

    Parameters
    ----------
    abscissa, ordinate : array of float, shape (points,)
    degree : int
    errors : array of float, shape (points,), optional
        Of the ordinate.
    function, scale
        As in `robust_fit`.

    Returns
    -------
    RobustFit
        Parameters are coefficients of the powers 0 to `degree` of the abscissa.

    Raises
    ------
    ValueError
        If shapes do not fit, the degree is negative, or the function is unknown.

    Notes
    -----
    The fit is one of Legendre polynomials of the abscissa on -1 to 1, for its condition.
    """
    x = np.asarray(abscissa, np.float64)
    if x.ndim != 1 or degree < 0:
        raise ValueError(f"no polynomial of degree {degree} through abscissae of shape {x.shape}")
    finite = x[np.isfinite(x)]
    low, high = (finite.min(), finite.max()) if len(finite) else (-1.0, 1.0)
    domain = [low, high] if high > low else [low - 1.0, low + 1.0]
    t = (2 * x - domain[0] - domain[1]) / (domain[1] - domain[0])
    design = np.polynomial.legendre.legvander(t, degree)
    fit = robust_fit(design, ordinate, errors, function=function, scale=scale)
    powers = np.zeros((degree + 1, degree + 1))
    for k in range(degree + 1):
        basis = np.polynomial.Legendre.basis(k, domain=domain)
        coefficients = basis.convert(kind=np.polynomial.Polynomial).coef
        powers[: len(coefficients), k] = coefficients
    covariance = powers @ fit.covariance @ powers.T
    return replace(
        fit,
        parameters=powers @ fit.parameters,
        errors=np.sqrt(np.diag(covariance)),
        covariance=covariance,
    )
