"""The discrete Poisson problem in a box with nothing outside, solved exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft


def laplacian(potential: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Apply the five-point Laplacian to values that are zero outside their array.

    Parameters
    ----------
    potential : array of float64, shape (..., n, m)
        Unit spacing along the last two axes.

    Returns
    -------
    array of float64, same shape
    """
    edges = [(0, 0)] * (potential.ndim - 2) + [(1, 1), (1, 1)]
    padded = np.pad(potential, edges)
    across = padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1]
    along = padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
    return np.asarray(across + along - 4.0 * potential, np.float64)


def solve_poisson(source: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Solve ``laplacian(K) = source`` with K = 0 just outside the array.

    Parameters
    ----------
    source : array, shape (..., n, m)
        Right-hand sides; each pair of the last two axes is a problem of its own.

    Returns
    -------
    array of float64, same shape
        Exact but for rounding: `laplacian` gives the source back to about 1e-15 of its size.

    Raises
    ------
    ValueError
        If the source has fewer than two axes, or no element.

    Notes
    -----
    Spec 3.3. Sines that vanish just outside are the eigenvectors of the five-point Laplacian, their
    eigenvalues ``-4 sin^2(pi k / 2(n+1))`` of each axis added up: a sine transform solves what the
    reference iterates on by over-relaxation.
    """
    right = np.asarray(source, np.float64)
    if right.ndim < 2 or right.size == 0:
        raise ValueError(f"a Poisson problem has two axes, not the shape {right.shape}")
    rows, columns = (
        -4.0 * np.sin(0.5 * np.pi * np.arange(1, n + 1) / (n + 1)) ** 2 for n in right.shape[-2:]
    )
    modes = scipy.fft.dstn(right, type=1, axes=(-2, -1))
    modes /= rows[:, None] + columns[None, :]
    return np.asarray(scipy.fft.idstn(modes, type=1, axes=(-2, -1)), np.float64)
