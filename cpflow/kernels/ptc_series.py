"""Growth of covariances with the charge collected: Astier et al. 2019 (arXiv:1905.08677), sec. 2.

Matrices are quadrants, indexed ``[lag in x, lag in y]``, of matrices that are symmetric in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GrowthSeries:
    """Coefficients of the covariances as a power series of the signal, all in electrons.

    Attributes
    ----------
    values : array of float64, shape (degree + 1, n, n)
        Of the powers 0 to `degree`; n is ``2 lags - 1``.
    by_a, by_c : array of float64, the same shape
        What the change of `a` or `c` has to be convolved with to give that of the values.
    """

    values: Array
    by_a: Array
    by_c: Array


def growth_series(a: Array, c: Array | None, degree: int) -> GrowthSeries:
    """Compute the growth of covariances up to a power of the signal.

    Parameters
    ----------
    a : array of float64, shape (lags, lags)
        Changes of area in 1/electron.
    c : array of float64, shape (lags, lags), optional
        Growth of `a` with the signal in 1/electron squared; 0 if not given.
    degree : int
        Highest power, 1 or more.

    Returns
    -------
    GrowthSeries

    Raises
    ------
    ValueError
        If `degree` is less than 1.

    Notes
    -----
    While F electrons are collected, ``dC/dF = 1 + 2 (a + c F) * C``, with the convolution ``*`` and
    1 at lag (0, 0). So ``(n + 1) k[n + 1] = 2 a * k[n] + 2 c * k[n - 1]`` after ``k[1] = 1``.
    Up to n = 4 that is equation 20: a, 2/3 (a*a + c), 1/3 a*a*a + 5/6 a*c. The paper stops there;
    the next term, 2/15 a*a*a*a + 3/5 a*a*c + 4/15 c*c, is 0.4 % of the signal at 110,000 electrons
    with a00 = -3e-6 and b = -1e-6. Convolutions are products of Fourier transforms, on a grid wide
    enough that nothing wraps around.
    """
    if degree < 1:
        raise ValueError(f"the covariances grow at least linearly, not with a degree of {degree}")
    lags = len(a)
    side = scipy.fft.next_fast_len(max(degree, 2) * (lags - 1) + 1, real=True)
    once = _transform(a, side)
    twice = _transform(c, side) if c is not None else np.zeros_like(once)
    values = np.zeros((degree + 1, *once.shape))
    by_a, by_c = np.zeros_like(values), np.zeros_like(values)
    values[1] = 1.0
    for n in range(1, degree):
        factor = 2.0 / (n + 1)
        values[n + 1] = factor * (once * values[n] + twice * values[n - 1])
        by_a[n + 1] = factor * (values[n] + once * by_a[n] + twice * by_a[n - 1])
        by_c[n + 1] = factor * (values[n - 1] + once * by_c[n] + twice * by_c[n - 1])
    found = (
        scipy.fft.irfft2(x, (side, side), workers=1)[:, : 2 * lags - 1, : 2 * lags - 1]
        for x in (values, by_a, by_c)
    )
    return GrowthSeries(*found)


def _transform(quadrant: Array, side: int) -> Array:
    """Return the Fourier transform, real by symmetry, of a matrix given by its quadrant."""
    lags = len(quadrant)
    whole = np.zeros((side, side))
    lag = np.arange(lags)
    for rows in (lag, -lag):
        for columns in (lag, -lag):
            whole[np.ix_(rows, columns)] = quadrant
    return np.asarray(scipy.fft.rfft2(whole, workers=1).real)


def convolution_matrix(quadrant: Array, lags: int) -> Array:
    """Write the convolution with a matrix as a linear operator on quadrants.

    Parameters
    ----------
    quadrant : array of float64, shape (n, n)
        The matrix at lags 0 to n - 1; at least ``2 lags - 1`` of them.
    lags : int
        Of what the operator is applied to, and of its result.

    Returns
    -------
    array of float64, shape (lags**2, lags**2)
        Applied to a flattened quadrant, gives the flattened quadrant of the convolution of the two
        matrices of four quadrants.
    """
    reach = 2 * lags - 1
    # The element at lag k stands for those at k and -k, but lag 0 is a single one.
    i, k = np.arange(lags)[:, None], np.arange(lags)
    fold = np.zeros((lags, lags, reach))
    np.add.at(fold, (i, k, np.abs(i - k)), 1.0)
    np.add.at(fold, (i, k[1:], i + k[1:]), 1.0)
    half = np.tensordot(fold, quadrant[:reach, :reach], axes=(2, 0))
    whole = np.tensordot(half, fold, axes=(2, 2))
    return whole.transpose(0, 2, 1, 3).reshape(lags**2, lags**2)
