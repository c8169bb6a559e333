"""Akima splines of the deviation from linearity, for quick use on all pixels (reference 2.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
from scipy.interpolate import Akima1DInterpolator

Array = npt.NDArray[np.float64]

# Equal bins over the nodes that say in which piece to start looking.
_BINS = 4096


@dataclass(frozen=True, slots=True)
class DeviationSpline:
    """A spline through deviations from linearity.

    Attributes
    ----------
    nodes : array of float64, shape (nodes,)
        Signals in adu, ascending from 0.
    powers : array of float64, shape (nodes - 1, 4)
        Coefficients in each piece of the powers 0 to 3 of the distance from its left node.
    top : float
        Larger signals get the deviation of this one.
    first_piece : array of int32, shape (bins,)
        The piece at the lower end of each of equal bins from 0 to the last node.
    """

    nodes: Array
    powers: Array
    top: float
    first_piece: npt.NDArray[np.int32]

    def evaluate(self, signal: Array, derivative: int = 0) -> Array:
        """Return the deviation, or its derivative, at signals between 0 and `top`."""
        x = np.clip(signal, 0.0, self.top)
        found = np.searchsorted(self.nodes, x, side="right") - 1
        piece = np.clip(found, 0, len(self.powers) - 1)
        z = x - self.nodes[piece]
        c0, c1, c2, c3 = np.moveaxis(self.powers[piece], -1, 0)
        if derivative:
            return np.asarray(c1 + z * (2 * c2 + z * 3 * c3))
        return np.asarray(c0 + z * (c1 + z * (c2 + z * c3)))


def deviation_spline(nodes: Array, values: Array, margin: float) -> DeviationSpline:
    """Make a spline that is zero at zero.

    Parameters
    ----------
    nodes : array of float64, shape (nodes,)
        Signals in adu.
    values : array of float64, shape (nodes,)
        Observed less linear, in adu. The first one is subtracted from all.
    margin : float
        In adu: the spline is used up to this far below the last node.

    Returns
    -------
    DeviationSpline
        With a node (0, 0) in front if the first one is elsewhere.

    Raises
    ------
    ValueError
        If nodes do not ascend from 0 or above, or are fewer than two.

    Notes
    -----
    Reference 2.1; Akima 1970 as `scipy.interpolate.Akima1DInterpolator` has it.
    """
    values = values - values[:1]
    if len(nodes) and nodes[0] != 0:
        nodes, values = np.concatenate([[0.0], nodes]), np.concatenate([[0.0], values])
    if len(nodes) < 2 or not (np.diff(nodes) > 0).all() or nodes[-1] <= margin:
        raise ValueError(f"nodes of a linearity spline have to ascend from 0: {nodes.tolist()}")
    powers = np.ascontiguousarray(Akima1DInterpolator(nodes, values).c[::-1].T)
    edges = np.linspace(0.0, nodes[-1], _BINS + 1)[:-1]
    first = np.searchsorted(nodes, edges, side="right") - 1
    return DeviationSpline(nodes, powers, float(nodes[-1] - margin), first.astype(np.int32))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _deviation(signal, nodes, powers, top, first_piece, per_adu):  # type: ignore[no-untyped-def]
    at = min(max(signal, 0.0), top)
    piece = first_piece[int(at * per_adu)]
    # Rounding may have chosen a bin next to the right one.
    while at < nodes[piece]:
        piece -= 1
    while at >= nodes[piece + 1]:
        piece += 1
    z = at - nodes[piece]
    return powers[piece, 0] + z * (powers[piece, 1] + z * (powers[piece, 2] + z * powers[piece, 3]))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _subtract(image, gain, first, second, two):  # type: ignore[no-untyped-def]
    beyond = 0
    # Two named splines: a loop over a tuple of them takes ten times as long.
    nodes1, powers1, top1, pieces1 = first
    nodes2, powers2, top2, pieces2 = second
    last1, last2 = nodes1[nodes1.shape[0] - 1], nodes2[nodes2.shape[0] - 1]
    per_adu1, per_adu2 = pieces1.shape[0] / last1, pieces2.shape[0] / last2
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            value = image[y, x]
            signal = np.float64(value) / gain
            if not np.isfinite(signal):
                continue
            total = _deviation(signal, nodes1, powers1, top1, pieces1, per_adu1)
            outside = signal > last1
            if two:
                left = signal - total
                total += _deviation(left, nodes2, powers2, top2, pieces2, per_adu2)
                outside |= left > last2
            image[y, x] = np.float32(np.float64(value) - gain * total)
            beyond += 1 if outside else 0
    return beyond


def subtract_splines(
    image: npt.NDArray[np.float32], gain: float, splines: tuple[DeviationSpline, ...]
) -> int:
    """Subtract deviations in place, each from what the one before has left.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
        Adu times `gain`.
    gain : float
        Electron/adu, or 1.
    splines : tuple of DeviationSpline
        One or two.

    Returns
    -------
    int
        Pixels above the last node of a spline. Those that are not finite stay as they are.
    """
    tables = [(s.nodes, s.powers, s.top, s.first_piece) for s in splines]
    return int(_subtract(image, gain, tables[0], tables[-1], len(tables) == 2))
