"""The night sky: a level with a gradient of its own in each exposure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def draw_gradient(size: float, rng: np.random.Generator) -> tuple[float, float]:
    """Draw a gradient (along x, along y) of the given size in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    return size * float(np.cos(angle)), size * float(np.sin(angle))


def sky_shape(shape: tuple[int, int], gradient: tuple[float, float]) -> NDArray[np.float32]:
    """Return the sky relative to its level in the middle, ``1 + gx u + gy v``.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    gradient : tuple of float
        Relative change along x and y from the middle to the edge; u and v go from -1 to 1.

    Returns
    -------
    ndarray of float32 (y, x)
    """
    u = np.linspace(-1, 1, shape[1])[None, :]
    v = np.linspace(-1, 1, shape[0])[:, None]
    return (1 + gradient[0] * u + gradient[1] * v).astype(np.float32)
