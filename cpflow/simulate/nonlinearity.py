"""Nonlinear response of the output amplifiers, as the exact inverse of a known correction."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator

from cpflow.camera import Detector
from cpflow.options import Options


class Nonlinearity(Options):
    """Kind and size of the correction; signals in adu above the bias level."""

    type: Literal["squared", "spline"] = "squared"
    squared: float = 2e-7
    """Coefficient c0 of the correction ``u + c0 u^2``, in 1/adu."""
    scatter: float = 0.2
    """Relative standard deviation of the size from amplifier to amplifier."""
    nodes: tuple[float, ...] = (0.0, 2e3, 1e4, 3e4, 6e4, 9e4, 1.2e5, 1.5e5)
    """Nodes of the spline A of the correction ``u - A(u)``."""
    values: tuple[float, ...] = (0.0, -6.0, 8.0, 30.0, -40.0, -120.0, -60.0, 0.0)
    """Values of the spline at its nodes."""


def draw_sizes(
    model: Nonlinearity, detector: Detector, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the factor (amp) by which each amplifier's nonlinearity is larger than the model's."""
    return 1 + model.scatter * rng.standard_normal(len(detector.amplifiers))


def distort_squared(linear: NDArray[np.float32], c0: float) -> NDArray[np.float32]:
    """Return the u for which ``u + c0 u^2`` is the linear signal.

    ``2 L / (1 + sqrt(1 + 4 c0 L))``, the root that goes to L as c0 goes to 0; linear below zero,
    where no electron is.

    Parameters
    ----------
    linear : ndarray of float32
        Signal in adu.
    c0 : float
        1/adu.
    """
    root = np.sqrt(np.maximum(1 + 4 * c0 * np.maximum(linear, 0).astype(np.float64), 0))
    return np.asarray(2 * linear / (1 + root), np.float32)


def distort_spline(
    linear: NDArray[np.float32], nodes: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the u for which ``u - A(u)`` is the linear signal, A an Akima spline.

    A is tabulated at 32 points per node interval or more, where linear interpolation between them
    is good to 1e-3 adu for the shipped nodes. Beyond the nodes A keeps its last value.

    Parameters
    ----------
    linear : ndarray of float32
        Signal in adu.
    nodes, values : ndarray of float64
        Nodes in adu, the first of them 0, and the values of A.
    """
    observed = np.linspace(nodes[0], nodes[-1], max(32 * nodes.size, 8192))
    deviation = Akima1DInterpolator(nodes, values)(observed)
    return np.asarray(linear + np.interp(linear, observed - deviation, deviation), np.float32)
