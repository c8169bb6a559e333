"""The brighter-fatter effect: collected charge moves the boundaries of pixels.

A kernel K (1/electron) makes of the charge Q collected so far a potential phi = K (*) Q. Light that
arrives crosses each pixel boundary in proportion to the difference of phi, towards the larger one.
In even light the area of a pixel thus changes by ``sum a_kl Q_kl`` with the area coefficients
``a = -laplacian(K)``, which sum to zero: the model of Astier et al. 2019 (arXiv:1905.08677), whose
equation 20 gives the covariances of flats. Truth is `a` as computed from K, not as asked for.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
import scipy.signal
import scipy.special
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
    area = _area(kernel)
    centre = area.shape[0] // 2
    return np.ascontiguousarray(area[centre:, centre:].T)


def _area(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``-laplacian(K)`` (y, x), one pixel larger on each side."""
    padded = np.pad(kernel, 2)
    return (
        4 * padded[1:-1, 1:-1]
        - padded[2:, 1:-1] - padded[:-2, 1:-1] - padded[1:-1, 2:] - padded[1:-1, :-2]
    )  # fmt: skip


def collect(
    expected: NDArray[np.float32],
    kernel: NDArray[np.float64],
    b: float,
    rng: np.random.Generator,
    steps: int | None = None,
) -> NDArray[np.float32]:
    """Collect Poisson charge while the boundaries of pixels move.

    Charge is drawn at ``steps + 1`` times of the exposure. In each step between two of them the
    boundaries stand where the charge drawn so far has moved them, and what is expected to cross
    them, not what has been drawn, changes the means of the next draw: moving what was drawn would
    smooth the shot noise.

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
        Number of steps; so that 10,000 electrons arrive in each in the brightest pixel, 16 at most,
        if not given.

    Returns
    -------
    ndarray of float32 (y, x)
        Whole electrons. No mean charge is lost, not even at the edges, so that their sum is a
        Poisson number with the mean ``sum(expected)``.

    Notes
    -----
    In even light a deviation q from the mean charge F grows as ``dq/dF = (a + c F) * q`` with
    ``c = a b`` and the convolution ``*``. With the shot noise that makes the differential equation
    of Astier et al. 2019, ``dC/dF = 1 + 2 (a + c F) * C``, whose series is equation 20. Its
    solution is an integral over the times at which charge arrives. The times of the draws and their
    shares of the light are the points and weights of Radau's quadrature, which has one at the end,
    and a step multiplies q by the exact exponential, see `_over_a_step`: 1e-6 of the variance is
    left with one step at 10,000 electrons, and less with more.

    That exponential is for the typical level of the light. Where there is less or more of it, a
    step is right to the first order in q, and to the second in the mean: the effect on covariances
    is off by 0.07 % where the light differs by a tenth, by 0.4 % where it is half.
    The outermost pixels have one boundary less that moves.
    """
    if steps is None:
        steps = min(_MOST_STEPS, max(1, math.ceil(float(expected.max()) / _LARGEST_STEP)))
    times, shares = _radau(steps)
    level = _typical(expected)
    half = kernel.shape[0] // 2
    shape = tuple(scipy.fft.next_fast_len(n + 2 * half, real=True) for n in expected.shape)
    charge = draw_poisson(expected * np.float32(shares[0]), rng)
    for i in range(steps):
        length, middle = times[i + 1] - times[i], (times[i + 1] + times[i]) / 2
        # Mean charge that is there in the middle, but not in the draws. No boundary moves before
        # the first draw: the first step makes up for it.
        time = times[1] ** 2 / (2 * length) if i == 0 else middle
        present = charge + expected * np.float32(time - shares[: i + 1].sum())
        growth = length * level * (1 + b * middle * level)
        potential = _potential(present, _over_a_step(kernel, growth), shape)
        mean = _shifted(
            expected,
            potential,
            np.float32(shares[i + 1]),
            np.float32(length),
            np.float32(b * middle / 2),
        )
        charge += draw_poisson(mean, rng)
    return charge


def _radau(steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points and weights of Radau's quadrature from 0 to 1, the last of them at 1."""
    x, weights = scipy.special.roots_jacobi(steps, 1, 0)
    times = np.append((1 + x) / 2, 1.0)
    shares = np.append(weights / (1 - x) / 2, 1 / (steps + 1) ** 2)
    return times, shares


def _typical(expected: NDArray[np.float32]) -> float:
    """Return the level of even light, whatever is in the shade and however hot some pixels are."""
    some = expected[::8, ::8]
    return float(np.median(some[some >= some.mean(dtype=np.float64) / 2]))


def _over_a_step(kernel: NDArray[np.float64], growth: float) -> NDArray[np.float64]:
    """Return the kernel whose shifts by charge at the start are those of a whole step.

    The deviations, and with them the shifts, grow during the step by ``exp(growth * a)``, with the
    electrons that arrive as `growth`. The mean of that is ``1 + g a / 2 + g**2 a*a / 6 + ...``.
    """
    area = _area(kernel)
    term = total = kernel
    for n in (2, 3, 4):
        term = scipy.signal.convolve(term, area, mode="same") * (growth / n)
        total = total + term
    return total


def _potential(
    charge: NDArray[np.float32], kernel: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Convolve charge with a kernel, by transforms of a shape that is large enough."""
    half = kernel.shape[0] // 2
    # Beyond the edges the light goes on as in a mirror, so that edges do not attract charge.
    padded = np.pad(charge, half, mode="reflect")
    spectrum = scipy.fft.rfft2(padded, shape)
    spectrum *= scipy.fft.rfft2(kernel.astype(np.float32), shape)
    potential = scipy.fft.irfft2(spectrum, shape)
    inner = potential[2 * half : padded.shape[0], 2 * half : padded.shape[1]]
    return np.ascontiguousarray(inner)


def draw_poisson(mean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw Poisson numbers, row by row so that no large array of integers is needed."""
    drawn = np.empty_like(mean)
    for y in range(0, mean.shape[0], 64):
        drawn[y : y + 64] = rng.poisson(mean[y : y + 64])
    return drawn


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _shifted(
    expected: NDArray[np.float32],
    potential: NDArray[np.float32],
    share: np.float32,
    length: np.float32,
    b: np.float32,
) -> NDArray[np.float32]:
    """Return the means of a draw: a share of the light, and what crosses in a step's length."""
    rows, columns = expected.shape
    out = np.empty_like(expected)
    left = np.zeros(columns + 1, np.float32)
    below = np.zeros(columns, np.float32)
    above = np.zeros(columns, np.float32)
    for y in range(rows):
        e, p = expected[y], potential[y]
        for x in range(columns - 1):
            left[x + 1] = _moved(e[x], e[x + 1], p[x + 1] - p[x], share, length, b)
        if y + 1 < rows:
            f, q = expected[y + 1], potential[y + 1]
            for x in range(columns):
                above[x] = _moved(e[x], f[x], q[x] - p[x], share, length, b)
        else:
            above[:] = 0
        for x in range(columns):
            mean = share * e[x] + (left[x] - left[x + 1]) + (below[x] - above[x])
            out[y, x] = max(mean, np.float32(0))
        below, above = above, below
    return out


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _moved(
    low: np.float32,
    high: np.float32,
    difference: np.float32,
    share: np.float32,
    length: np.float32,
    b: np.float32,
) -> np.float32:
    """Return what crosses a boundary from the lower to the higher pixel."""
    one, none = np.float32(1), np.float32(0)
    shift = length * max(one + b * (low + high), none) * difference
    # A quarter of the share at most, so that no mean is negative.
    most = np.float32(0.25) * share
    shift = min(max(shift, -most), most)
    return shift * (low if shift > none else high)
