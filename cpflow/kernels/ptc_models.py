"""Variance and covariances of flats as functions of their signal.

Means and gains are in adu and electron/adu, ``a`` and ``b`` in 1/electron, noises in electron
squared; what comes out is in adu squared. Matrices are indexed ``[lag in x, lag in y]``.
Astier et al. 2019 (arXiv:1905.08677), its equations 16 and 20; spec 1.8, 1.10, 1.11.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cpflow.kernels.ptc_series import growth_series

Array = npt.NDArray[np.float64]

#: Highest power of the mean in equation 20 as published.
DEGREE = 4

# Below this a few terms of the series are more precise than the difference of exponentials.
_SMALL = 1e-3


def _growth(z: Array) -> tuple[Array, Array]:
    """Return ``(exp(z) - 1)/z`` and its derivative, also at and near z = 0."""
    small = np.abs(z) < _SMALL
    safe = np.where(small, 1.0, z)
    value = np.where(small, 1 + z / 2 * (1 + z / 3 * (1 + z / 4)), np.expm1(safe) / safe)
    slope = np.where(
        small, 0.5 + z / 3 * (1 + z * 3 / 8 * (1 + z * 4 / 15)), (np.exp(safe) - value) / safe
    )
    return value, slope


def exp_approximation(mean: npt.ArrayLike, a00: float, gain: float, noise2: float) -> Array:
    """Compute the variance of equation 16, the approximation by an exponential.

    Parameters
    ----------
    mean : array of float, any shape
        Signal in adu.
    a00 : float
        Relative change of a pixel's area per electron in it, in 1/electron; usually negative.
    gain : float
        In electron/adu.
    noise2 : float
        Squared read noise in electron squared.

    Returns
    -------
    array of float64, the shape of `mean`
        ``(exp(2 a00 F) - 1)/(2 a00 g**2) + noise2/g**2`` in adu squared, where F is g times the
        mean; without `a00` it is ``mean/g + noise2/g**2``.
    """
    mu = np.asarray(mean, np.float64)
    return np.asarray(mu / gain * _growth(2 * a00 * gain * mu)[0] + noise2 / gain**2)


def exp_approximation_jacobian(mean: Array, a00: float, gain: float, noise2: float) -> Array:
    """Compute the derivatives of `exp_approximation` by a00, gain and noise2.

    Parameters
    ----------
    mean : array of float64, shape (n,)
    a00, gain, noise2 : float
        As for `exp_approximation`.

    Returns
    -------
    array of float64, shape (n, 3)
    """
    value, slope = _growth(2 * a00 * gain * mean)
    by_a = 2 * mean**2 * slope
    by_gain = (2 * a00 * mean**2 * slope - mean * value / gain) / gain - 2 * noise2 / gain**3
    return np.stack([by_a, by_gain, np.full_like(by_a, 1 / gain**2)], axis=-1)


def polynomial(mean: npt.ArrayLike, coefficients: npt.ArrayLike) -> Array:
    """Compute a variance as a polynomial of the mean.

    Parameters
    ----------
    mean : array of float, any shape
        Signal in adu.
    coefficients : array of float, shape (degree + 1,)
        Of the powers 0 and up: squared read noise in adu squared, one over the gain, a00, ...

    Returns
    -------
    array of float64, the shape of `mean`
        In adu squared.
    """
    mu = np.asarray(mean, np.float64)
    return np.asarray(
        np.polynomial.polynomial.polyval(mu, np.asarray(coefficients, np.float64)), np.float64
    )


def covariance_coefficients(
    gain: float, a: Array, noise: Array, c: Array | None = None, degree: int = DEGREE
) -> Array:
    """Compute the coefficients of equation 20, a polynomial in the mean.

    Parameters
    ----------
    gain : float
        In electron/adu.
    a : array of float64, shape (lags, lags)
        Changes of area in 1/electron.
    noise : array of float64, shape (lags, lags)
        Covariances without signal in electron squared.
    c : array of float64, shape (lags, lags), optional
        a times b, element by element, in 1/electron squared; b is the growth of `a` with signal.
    degree : int
        Highest power of the mean, 1 or more. 4 is equation 20 as published.

    Returns
    -------
    array of float64, shape (degree + 1, lags, lags)
        Of the powers 0 to `degree` of the mean in adu.

    Raises
    ------
    ValueError
        If shapes differ or the degree is below 1.

    Notes
    -----
    Spec 1.10, with Q7: ``(F/g**2) (a F + 2/3 (a*a + c) F**2 + (1/3 a*a*a + 5/6 a*c) F**3) +
    n/g**2`` and F/g**2 at lag (0, 0), where ``*`` is the convolution of matrices of four quadrants.
    Convolutions have their geometric centre and are complete; the reference cuts a*a at 1.5 times
    the lags, which changes the result by 1e-8. See `growth_series` for higher powers.
    """
    if a.ndim != 2 or noise.shape != a.shape or (c is not None and c.shape != a.shape):
        raise ValueError("a, noise and c are square matrices of the same lags")
    lags = len(a)
    series = growth_series(a, c, degree).values[:, :lags, :lags]
    coefficients = series * (gain ** (np.arange(degree + 1) - 2.0))[:, None, None]
    coefficients[0] = noise / gain**2
    return np.asarray(coefficients)


def full_covariance(
    mean: npt.ArrayLike,
    gain: float,
    a: Array,
    noise: Array,
    c: Array | None = None,
    degree: int = DEGREE,
) -> Array:
    """Compute the covariances of equation 20.

    Parameters
    ----------
    mean : array of float, shape (n,)
        Signal in adu.
    gain, a, noise, c, degree
        As for `covariance_coefficients`.

    Returns
    -------
    array of float64, shape (n, lags, lags)
        In adu squared.
    """
    mu = np.asarray(mean, np.float64)
    powers = mu[:, None] ** np.arange(degree + 1)
    coefficients = covariance_coefficients(gain, a, noise, c, degree)
    return np.asarray(np.tensordot(powers, coefficients, axes=1))
