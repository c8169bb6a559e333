"""The correction of nonlinearity as a polynomial of the observed signal, fitted to a ramp."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cpflow.kernels.linearity_result import RampFit, no_fit
from cpflow.kernels.linearity_scatter import total_errors
from cpflow.kernels.robust_fit import robust_fit

Array = npt.NDArray[np.float64]

_ROUNDS = 20


def polynomial_correction(signal: npt.ArrayLike, coefficients: Array) -> Array:
    """Return ``sum c_k y**(k + 2)``: what is added to the observed signal (reference 2.1)."""
    y = np.asarray(signal, np.float64)
    return np.asarray(y**2 * np.polynomial.polynomial.polyval(y, coefficients))


def fit_polynomial_ramp(
    x: Array,
    y: Array,
    group: npt.NDArray[np.int64],
    errors: Array | None,
    order: int,
    *,
    fit_offset: bool = True,
    clip: float = 5.0,
) -> RampFit:
    """Fit ``y + sum c_k y**(k + 2) = offset + slope[group] x``.

    Parameters
    ----------
    x, y : array of float64, shape (points,)
        Abscissa, and observed signal in adu, both above 0.
    group : array of int64, shape (points,)
        From 0 on; all numbers occur.
    errors : array of float64, shape (points,), optional
        Of `y`, adu, see `total_errors`.
    order : int
        Of the polynomial: the largest power of y, 2 at least.
    fit_offset : bool
        Otherwise the offset is 0.
    clip : float
        Points further off are rejected, in standard deviations.

    Returns
    -------
    RampFit
        Values are c_0 to c_(order - 2).

    Notes
    -----
    Reference 2.4 with another model. The reference fits the observed signal as a polynomial of the
    ideal one and turns the signs of its coefficients, which is the first order of the inverse:
    for a deviation of 3 % it is wrong by about 0.1 %. Here the correction itself is fitted. The
    model is linear in all its parameters, groups included; 1 is the coefficient of y, so the slope
    is that of small signals. Noise of y in the powers of y on the right-hand side is negligible:
    its square, 1e-8 or less, is what it changes them by.

    A robust fit (bisquare) finds the points that are off by more than `clip`; then least squares of
    all others, until these stay the same.
    """
    groups, powers = int(group.max()) + 1, np.arange(2, order + 1)
    columns = [x * (group == j) for j in range(groups)]
    # Powers of the signal over its largest one, all between 0 and 1.
    top = float(y.max())
    columns += [-top * (y / top) ** int(n) for n in powers]
    if fit_offset:
        columns.append(np.ones_like(y))
    design = np.stack(columns, axis=1)
    parameters = design.shape[1]
    if len(y) <= parameters:
        reason = f"{len(y)} points do not determine {parameters} parameters"
        return no_fit(len(powers), reason)
    # Relative residuals first: whatever their origin, errors grow with the signal.
    sigma, jitter = y, 0.0
    for _ in range(3):
        fit = robust_fit(design, y, sigma, function="bisquare")
        if not np.isfinite(fit.parameters).all():
            reason = "signals and abscissae do not determine the polynomial"
            return no_fit(len(powers), reason)
        sigma, jitter = total_errors(fit.residuals, y, errors, parameters)
    used = np.abs(fit.residuals) <= clip * sigma
    for _ in range(_ROUNDS):
        fit = robust_fit(design[used], y[used], sigma[used], function="none")
        if not np.isfinite(fit.parameters).all():
            reason = f"{np.count_nonzero(used)} consistent points do not determine the polynomial"
            return no_fit(len(powers), reason)
        near = np.abs(y - design @ fit.parameters) <= clip * sigma
        if np.array_equal(near, used):
            break
        used = near
    scale = top ** (1.0 - powers)
    found = slice(groups, groups + len(powers))
    return RampFit(
        fit.parameters[found] * scale,
        fit.errors[found] * scale,
        fit.parameters[:groups],
        float(fit.parameters[-1]) if fit_offset else 0.0,
        used,
        sigma,
        jitter,
        fit.reduced_chi2,
        "",
    )


def tabulate_correction(coefficients: Array, top: float, entries: int) -> npt.NDArray[np.float32]:
    """Tabulate a polynomial correction.

    Parameters
    ----------
    coefficients : array of float64, shape (order - 1,)
        See `polynomial_correction`.
    top : float
        Largest signal that the polynomial was fitted to, adu; beyond the table is constant.
    entries : int

    Returns
    -------
    array of float32, shape (entries,)
        What is added to signals whose integer part is the index.

    Notes
    -----
    Reference 2.4.5 tabulates against the ideal signal and reads by the observed one; this table is
    against the observed signal all along. An entry holds for signals from k to k + 1, so the
    polynomial is taken between; the first also holds for those from -1 to 0 (2.1), so it is 0.
    """
    middle = np.arange(entries) + 0.5
    middle[:1] = 0.0
    return polynomial_correction(np.minimum(middle, top), coefficients).astype(np.float32)
