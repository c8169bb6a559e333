"""Interpolation along one axis through a few nodes: Akima, natural cubic spline, line, constant.

Many series at the same nodes are interpolated at once, and beyond the nodes continued with the
slope and curvature at the end, as the reference does (spec 4.10; afw `Interpolate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Interpolation = Literal["AKIMA", "CUBIC", "LINEAR", "CONSTANT"]
Array = npt.NDArray[np.float64]

#: Nodes that each kind needs; with fewer the next one is taken.
LEAST_NODES: Final[dict[Interpolation, int]] = {
    "AKIMA": 5,
    "CUBIC": 3,
    "LINEAR": 2,
    "CONSTANT": 1,
}


@dataclass(frozen=True, slots=True)
class PiecewiseCubic:
    """Series of cubic polynomials between nodes.

    Attributes
    ----------
    nodes : array of float64, shape (nodes,)
        Ascending.
    coefficients : array of float64, shape (4, nodes - 1, ...)
        Of the powers 0 to 3 of the distance from the node on the left. With a single node one
        constant piece.
    """

    nodes: Array
    coefficients: Array

    def pieces(self, positions: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return which piece each position belongs to; outside, the first or the last."""
        found = np.searchsorted(self.nodes, positions, side="right") - 1
        return np.clip(found, 0, self.coefficients.shape[1] - 1)

    def evaluate(self, positions: npt.ArrayLike) -> Array:
        """Evaluate the series.

        Parameters
        ----------
        positions : array of float, shape (positions,)

        Returns
        -------
        array of float64, shape (positions, ...)
            Outside the nodes with the value, slope and curvature at the end.
        """
        x = np.atleast_1d(np.asarray(positions, np.float64))
        c0, c1, c2, c3 = self.powers(x)
        step = (x - self.nodes[self.pieces(x)]).reshape(-1, *(1,) * (c0.ndim - 1))
        return np.asarray(c0 + step * (c1 + step * (c2 + step * c3)))

    def powers(self, positions: Array) -> tuple[Array, Array, Array, Array]:
        """Return the coefficients at each position, for distances from the left node."""
        c0, c1, c2, c3 = self.coefficients[:, self.pieces(positions)]
        before, after = positions < self.nodes[0], positions > self.nodes[-1]
        c3 = c3.copy()
        c3[before] = 0.0
        if after.any() and len(self.nodes) > 1:
            # The parabola that touches the last piece at its right end, seen from its left end.
            h = self.nodes[-1] - self.nodes[-2]
            e0, e1, e2, e3 = self.coefficients[:, -1]
            c0, c1, c2 = c0.copy(), c1.copy(), c2.copy()
            c0[after], c1[after], c2[after], c3[after] = (
                e0 + h**3 * e3,
                e1 - 3 * h**2 * e3,
                e2 + 3 * h * e3,
                0.0,
            )
        return c0, c1, c2, c3


def best_interpolation(nodes: int, wanted: Interpolation) -> Interpolation:
    """Return the wanted kind, or the next one that so few nodes are enough for.

    Raises
    ------
    ValueError
        If there is no node, or the kind is unknown.
    """
    if wanted not in LEAST_NODES:
        raise ValueError(f"interpolation is one of {', '.join(LEAST_NODES)}, not {wanted!r}")
    kinds = list(LEAST_NODES)
    for kind in kinds[kinds.index(wanted) :]:
        if nodes >= LEAST_NODES[kind]:
            return kind
    raise ValueError("there is nothing to interpolate between")


def interpolate_nodes(
    nodes: npt.ArrayLike, values: npt.ArrayLike, kind: Interpolation = "AKIMA"
) -> PiecewiseCubic:
    """Interpolate series between nodes.

    Parameters
    ----------
    nodes : array of float, shape (nodes,)
        Ascending, no two equal.
    values : array of float, shape (nodes, ...)
        One series for each index of the later axes.
    kind : str
        ``"AKIMA"`` (5 nodes at least), ``"CUBIC"``: the natural spline (3), ``"LINEAR"`` (2) or
        ``"CONSTANT"``: the mean. With fewer nodes the next one is taken.

    Returns
    -------
    PiecewiseCubic

    Raises
    ------
    ValueError
        If nodes and values do not fit, nodes do not ascend, or the kind is unknown.

    Notes
    -----
    H. Akima, "A new method of interpolation and smooth curve fitting", JACM 17 (1970) 589.
    """
    x, y = np.asarray(nodes, np.float64), np.asarray(values, np.float64)
    if x.ndim != 1 or y.shape[:1] != x.shape:
        raise ValueError(f"nodes of shape {x.shape} do not have values of shape {y.shape}")
    if not (np.diff(x) > 0).all():
        raise ValueError("nodes have to ascend")
    kind = best_interpolation(len(x), kind)
    if kind == "CONSTANT":
        coefficients = np.zeros((4, 1, *y.shape[1:]))
        coefficients[0, 0] = y.mean(axis=0)
        return PiecewiseCubic(x[:1], coefficients)
    h = np.diff(x).reshape(-1, *(1,) * (y.ndim - 1))
    slopes = np.diff(y, axis=0) / h
    if kind == "AKIMA":
        left, right = _akima_ends(slopes)
    elif kind == "CUBIC":
        left, right = _natural_ends(h, slopes)
    else:
        left = right = slopes
    c2 = (3 * slopes - 2 * left - right) / h
    c3 = (left + right - 2 * slopes) / h**2
    return PiecewiseCubic(x, np.stack([y[:-1], left, c2, c3]))


def _akima_ends(slopes: Array) -> tuple[Array, Array]:
    """Take the derivatives at both ends of each piece from the slopes around it.

    At a corner, where both pairs of neighbouring slopes are equal, each piece keeps its own slope
    (as GSL's non-rounded spline does).
    """
    m = np.empty((slopes.shape[0] + 4, *slopes.shape[1:]))
    m[2:-2] = slopes
    m[1] = 2 * m[2] - m[3]
    m[0] = 3 * m[2] - 2 * m[3]
    m[-2] = 2 * m[-3] - m[-4]
    m[-1] = 3 * m[-3] - 2 * m[-4]
    change = np.abs(np.diff(m, axis=0))
    before, after = change[:-2], change[2:]
    total = before + after
    corner = total == 0
    share = np.where(corner, 0.0, before) / np.where(corner, 1.0, total)
    derivative = (1 - share) * m[1:-2] + share * m[2:-1]
    left = np.where(corner, m[2:-1], derivative)[:-1]
    right = np.where(corner, m[1:-2], derivative)[1:]
    # A piece that begins at a corner is a line in the reference; its right end follows.
    return left, np.where(corner[:-1], slopes, right)


def _natural_ends(h: Array, slopes: Array) -> tuple[Array, Array]:
    """Solve for the derivatives of a natural cubic spline, which has no curvature at its ends.

    The second derivatives M solve ``h0 M0 + 2 (h0 + h1) M1 + h1 M2 = 6 (slope1 - slope0)`` at each
    inner node; elimination from the first to the last node.
    """
    n = slopes.shape[0] + 1
    second = np.zeros((n, *slopes.shape[1:]))
    ratio = np.zeros(n)
    widths = h.reshape(-1)
    for k in range(1, n - 1):
        pivot = 2 * (widths[k - 1] + widths[k]) - widths[k - 1] * ratio[k - 1]
        ratio[k] = widths[k] / pivot
        right = 6 * (slopes[k] - slopes[k - 1]) - widths[k - 1] * second[k - 1]
        second[k] = right / pivot
    for k in range(n - 2, 0, -1):
        second[k] -= ratio[k] * second[k + 1]
    left = slopes - h * (2 * second[:-1] + second[1:]) / 6
    right_end = slopes + h * (second[:-1] + 2 * second[1:]) / 6
    return left, right_end
