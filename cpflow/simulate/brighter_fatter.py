"""The brighter-fatter effect: collected charge moves the boundaries of pixels.

A kernel K (1/electron) makes of the charge Q collected so far a potential phi = K (*) Q. Charge
that arrives is moved across each pixel boundary by the difference of phi, towards the larger one.
In even light the area of a pixel thus changes by ``sum a_kl Q_kl`` with the area coefficients
``a = -laplacian(K)``, which sum to zero: the model of Astier et al. 2019 (arXiv:1905.08677), whose
equation 20 gives the covariances of flats. Truth is `a` as computed from K, not as asked for.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import diags, identity, kron
from scipy.sparse.linalg import spsolve

from cpflow.options import Options

_HALF = 8
_LARGEST_STEP = 10_000.0
_MOST_STEPS = 16


class BrighterFatter(Options):
    """Area coefficients that are wanted, per electron."""

    a: tuple[tuple[float, ...], ...] = (
        (0.0, 4.2e-7, 6.0e-8, 2.2e-8, 1.1e-8),
        (1.75e-7, 1.2e-7, 4.2e-8, 1.9e-8, 1.0e-8),
        (4.0e-8, 3.6e-8, 2.2e-8, 1.3e-8, 8.0e-9),
        (1.8e-8, 1.7e-8, 1.2e-8, 8.0e-9, 6.0e-9),
        (1.0e-8, 9.0e-9, 7.0e-9, 6.0e-9, 4.0e-9),
    )
    """``a[i][j]`` for a lag of i columns and j rows; a[0][0] is minus the sum of all others."""
    b: float = -1e-6
    """Relative growth of the coefficients per electron collected (Astier's b, one for all lags)."""


def area_quadrant(model: BrighterFatter) -> NDArray[np.float64]:
    """Return the wanted coefficients ``[lag x, lag y]``; a[0, 0] makes the sum over all zero."""
    a = np.array(model.a, np.float64)
    weights = np.full(a.shape, 4.0)
    weights[0, :] = weights[:, 0] = 2.0
    weights[0, 0] = 0.0
    a[0, 0] = -(weights * a).sum()
    return a


def solve_kernel(quadrant: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve ``laplacian(K) = -a`` with K = 0 outside 17 x 17 pixels.

    Parameters
    ----------
    quadrant : ndarray of float64 (lag x, lag y)
        Area coefficients per electron.

    Returns
    -------
    ndarray of float64 (y, x)
        The kernel, its centre in the middle.
    """
    side = 2 * _HALF + 1
    a = np.zeros((side, side))
    for i in range(quadrant.shape[0]):
        for j in range(quadrant.shape[1]):
            for x in {_HALF + i, _HALF - i}:
                for y in {_HALF + j, _HALF - j}:
                    a[y, x] = quadrant[i, j]
    second = diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(side, side))
    laplacian = kron(second, identity(side)) + kron(identity(side), second)
    solved = spsolve(laplacian.tocsc(), -a.ravel())
    return np.asarray(solved, np.float64).reshape(side, side)


def area_coefficients(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``-laplacian(K)`` of a kernel that is zero outside, as a quadrant ``[lag x, lag y]``.

    This is what `collect` does to the areas of pixels in even light, to first order in them.
    """
    padded = np.pad(kernel, 2)
    laplacian = (
        padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]
        - 4 * padded[1:-1, 1:-1]
    )  # fmt: skip
    centre = laplacian.shape[0] // 2
    return np.ascontiguousarray(-laplacian[centre:, centre:].T)


def collect(
    expected: NDArray[np.float32],
    kernel: NDArray[np.float64],
    b: float,
    rng: np.random.Generator,
    steps: int | None = None,
) -> NDArray[np.float32]:
    """Collect Poisson charge while the boundaries of pixels move.

    The exposure is cut into steps of at most 10,000 electrons in the brightest pixel, 16 at most.
    In each one Poisson charge arrives, and is moved with the potential of what was there before
    plus half of itself; that makes the covariances right to second order in the step.

    Parameters
    ----------
    expected : ndarray of float32 (y, x)
        Mean electrons of each pixel without the effect.
    kernel : ndarray of float64 (y, x)
        From `solve_kernel`.
    b : float
        The potential difference at a boundary is multiplied by 1 + b * (mean charge beside it).
    rng : numpy.random.Generator
        Source of the Poisson draws.
    steps : int, optional
        Number of steps.

    Returns
    -------
    ndarray of float32 (y, x)
        Electrons. Their sum is that of the arrivals: none is lost, not even at the edges.
    """
    if steps is None:
        steps = min(_MOST_STEPS, max(1, math.ceil(float(expected.max()) / _LARGEST_STEP)))
    half = kernel.shape[0] // 2
    shape = tuple(scipy.fft.next_fast_len(n + 2 * half, real=True) for n in expected.shape)
    transform = scipy.fft.rfft2(kernel.astype(np.float32), shape)
    charge = np.zeros_like(expected)
    for _ in range(steps):
        arriving = draw_poisson(expected / np.float32(steps), rng)
        # Beyond the edges the light goes on as in a mirror, so that edges do not attract charge.
        padded = np.pad(charge + arriving / 2, half, mode="reflect")
        potential = scipy.fft.irfft2(scipy.fft.rfft2(padded, shape) * transform, shape)
        inner = potential[2 * half : padded.shape[0], 2 * half : padded.shape[1]]
        charge += _moved(arriving, charge, np.ascontiguousarray(inner), np.float32(b))
    return charge


def draw_poisson(mean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw Poisson numbers, row by row so that no large array of integers is needed."""
    drawn = np.empty_like(mean)
    for y in range(0, mean.shape[0], 64):
        drawn[y : y + 64] = rng.poisson(mean[y : y + 64])
    return drawn


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _moved(
    arriving: NDArray[np.float32],
    charge: NDArray[np.float32],
    potential: NDArray[np.float32],
    b: float,
) -> NDArray[np.float32]:
    rows, columns = arriving.shape
    out = arriving.copy()
    for y in range(rows):
        for x in range(columns):
            for dy, dx in ((0, 1), (1, 0)):
                v, u = y + dy, x + dx
                if v < rows and u < columns:
                    shift = potential[v, u] - potential[y, x]
                    beside = charge[y, x] + charge[v, u] + (arriving[y, x] + arriving[v, u]) / 2
                    shift *= 1 + b * beside / 2
                    donor = arriving[y, x] if shift > 0 else arriving[v, u]
                    out[y, x] -= donor * shift
                    out[v, u] += donor * shift
    return out
