"""Crosstalk between the amplifiers of a detector: ghosts in readout order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpflow.camera import Detector
from cpflow.options import Options


class Crosstalk(Options):
    """Sizes of the coefficients, which relate adu to adu."""

    neighbour: float = 2e-4
    """Mean coefficient between amplifiers next to each other in the camera's order."""
    decay: float = 0.4
    """Factor by which it falls with each further amplifier."""
    scatter: float = 0.3
    """Relative standard deviation of each coefficient; the matrix is not symmetric."""
    quadratic: float = 0.0
    """Mean coefficient of the squared source between neighbours, in 1/adu."""


def draw_coefficients(
    model: Crosstalk, detector: Detector, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the linear coefficients; those of the square are these times quadratic / neighbour.

    ``neighbour * decay^(|s - t| - 1) * (1 + N(0, scatter))``, and 0 for s = t.

    Returns
    -------
    ndarray of float64 (source amp, target amp)
    """
    index = np.arange(len(detector.amplifiers))
    distance = np.abs(index[:, None] - index[None, :])
    size = model.neighbour * model.decay ** (distance - 1.0)
    drawn = size * (1 + model.scatter * rng.standard_normal(size.shape))
    return np.where(distance == 0, 0.0, drawn)


def add_crosstalk(
    signal: NDArray[np.float32],
    linear: NDArray[np.float64],
    quadratic: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Add to each amplifier what leaks from all others at the same time of the readout.

    ``out_t = in_t + sum_s c[s, t] in_s + q[s, t] in_s^2``, all s without ghosts of their own. As
    raw areas are in readout order no flips are needed (reference 2.7).

    Parameters
    ----------
    signal : ndarray of float32 (amp, row, column)
        Adu above the bias level.
    linear, quadratic : ndarray of float64 (source amp, target amp)
        Coefficients.
    """
    leaked = np.tensordot(linear.T.astype(np.float32), signal, axes=1)
    if quadratic is not None:
        leaked += np.tensordot(quadratic.T.astype(np.float32), np.square(signal), axes=1)
    leaked += signal
    return leaked
