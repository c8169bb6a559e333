"""Fringes: interference of the sky's emission lines in the silicon."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpflow.options import Options


class Fringe(Options):
    """Shape of the pattern; an observation says how strong it is."""

    period: float = 40.0
    """Pixels between fringes, on average."""
    thickness: float = 3.0
    """Fringes by which the silicon's thickness varies over the detector, beside a tilt."""


def draw_fringes(
    model: Fringe, shape: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw a detector's fringe pattern, ``cos(2 pi d(y, x))`` less its mean.

    The path difference d, in wavelengths, is a tilt of one wavelength per `period` pixels in a
    random direction plus smooth waves of amplitude `thickness`.

    Parameters
    ----------
    model : Fringe
        Sizes.
    shape : tuple of int
        Rows and columns.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of float32 (y, x)
        Relative to the sky: multiply by amplitude and sky level.
    """
    y = np.arange(shape[0])[:, None]
    x = np.arange(shape[1])[None, :]
    angle = rng.uniform(0, 2 * np.pi)
    path = (x * np.cos(angle) + y * np.sin(angle)) / model.period
    for _ in range(3):
        m, n = rng.uniform(0.3, 1.5, 2)
        p, q = rng.uniform(0, 1, 2)
        wave = np.sin(2 * np.pi * (m * x / shape[1] + p)) * np.cos(
            2 * np.pi * (n * y / shape[0] + q)
        )
        path = path + model.thickness / 3 * wave
    pattern = np.cos(2 * np.pi * path)
    return np.asarray(pattern - pattern.mean(), np.float32)
