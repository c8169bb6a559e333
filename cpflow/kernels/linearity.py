"""Correction of the nonlinear response of an amplifier (spec 2.8; reference 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

import numba
import numpy as np
import numpy.typing as npt

from cpflow.kernels.linearity_splines import DeviationSpline, deviation_spline, subtract_splines

LinearityType = Literal[
    "lookup_table", "polynomial", "squared", "spline", "double_spline", "proportional", "none"
]
Array = npt.NDArray[np.float64]
Coefficients = Sequence[float] | Array

# By how much the reference stays below the last node, in adu.
_MARGIN: Final = {"spline": 0.1, "double_spline": 0.01}


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_polynomial(image, gain, coefficients):  # type: ignore[no-untyped-def]
    order = coefficients.shape[0]
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            value = np.float64(image[y, x])
            signal = value / gain
            sum_ = 0.0
            for k in range(order):
                sum_ = coefficients[order - 1 - k] + signal * sum_
            image[y, x] = np.float32(value + gain * (signal * signal * sum_))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_table(image, gain, offset, table):  # type: ignore[no-untyped-def]
    beyond, size = 0, table.shape[0]
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            value = np.float64(image[y, x])
            place = offset + value / gain
            if not np.isfinite(place):
                continue
            # Towards zero, so that the first entry holds for the interval from -1 to 1.
            place = np.trunc(place)
            outside = (place < 0.0) | (place >= size)
            place = min(max(place, 0.0), size - 1.0)
            image[y, x] = np.float32(value + gain * table[int(place)])
            beyond += 1 if outside else 0
    return beyond


def _checked(kind: str, coefficients: Coefficients, gain: float) -> Array:
    if kind not in get_args(LinearityType):
        raise ValueError(f"unknown linearity type {kind!r}")
    if not (np.isfinite(gain) and gain > 0):
        raise ValueError(f"a gain of {gain} electron/adu is not finite and positive")
    values = np.atleast_1d(np.asarray(coefficients, np.float64))
    if kind in ("proportional", "none"):
        return values
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"{kind} linearity without a list of coefficients")
    bad = [f"[{i}] = {values[i]}" for i in np.flatnonzero(~np.isfinite(values))]
    if bad:
        raise ValueError(f"coefficients of {kind} linearity that are not finite: {', '.join(bad)}")
    return values


def _splines(kind: str, values: Array) -> tuple[DeviationSpline, ...]:
    if kind == "spline":
        sizes, rest = [values.size // 2], values
        fits = values.size % 2 == 0
    else:
        sizes, rest = [int(n) for n in values[:2]], values[2:]
        # Zeros at the end make the columns of a table one length.
        whole = len(sizes) == 2 and sizes == values[:2].tolist() and min(sizes) > 0
        fits = whole and 2 * sum(sizes) <= rest.size and not rest[2 * sum(sizes) :].any()
    if not fits:
        raise ValueError(f"{values.size} coefficients are no nodes and values of a {kind}")
    splines = []
    for n in sizes:
        splines.append(deviation_spline(rest[:n], rest[n : 2 * n], _MARGIN[kind]))
        rest = rest[2 * n :]
    return tuple(splines)


def _table_row(values: Array, table: npt.ArrayLike | None) -> tuple[float, Array]:
    if table is None or values.size < 2:
        raise ValueError("a lookup table needs a table, and coefficients for its row and offset")
    rows = np.asarray(table)
    row, offset = float(values[0]), float(values[1])
    if rows.ndim != 2 or rows.shape[1] == 0 or row not in range(rows.shape[0]):
        raise ValueError(f"no row {row:g} in a lookup table of {rows.shape}")
    entries = np.ascontiguousarray(rows[int(row)], np.float64)
    if not np.isfinite(entries).all():
        raise ValueError(f"row {row:g} of the lookup table has entries that are not finite")
    return offset, entries


def _powers(kind: str, values: Array) -> Array:
    return values[:1] if kind == "squared" else values


def linearize(
    image: npt.NDArray[np.float32],
    kind: LinearityType,
    coefficients: Coefficients,
    table: npt.ArrayLike | None = None,
    gain: float = 1.0,
) -> int:
    """Correct the pixels of an amplifier in place.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
        Changed. Any part of an amplifier; each pixel is corrected by itself.
    kind : str
        ``"lookup_table"`` [row, offset]: ``u + table[row, k]``, k the integer part of offset + u,
        towards zero, first or last entry if there is none.
        ``"polynomial"`` [c_0, c_1...]: ``u + sum c_k u**(k + 2)``; ``"squared"`` has c_0 only.
        ``"spline"`` [nodes..., values...]: ``u - A(u)``.
        ``"double_spline"`` [n1, n2, nodes1..., values1..., nodes2..., values2..., 0...]: A2 is
        subtracted from what A1 has left.
        ``"proportional"`` and ``"none"`` leave all as it is.
    coefficients : sequence of float
        For adu, whatever the unit of the image.
    table : array of float, shape (table rows, entries), optional
        Of the lookup table, in adu.
    gain : float
        Electron/adu if the image is in electrons, 1 if it is in adu.

    Returns
    -------
    int
        Pixels beyond the range of the correction: outside the table, or above the last node.

    Raises
    ------
    ValueError
        If the image is not float32 (rows, columns), the gain not finite and positive, coefficients
        not finite (named) or not such as the type has, or the table lacks the row. The image is
        then unchanged.

    Notes
    -----
    Spec 2.8, reference 2.1. With u = image/gain, ``gain * (correction(u) - u)`` is added, so the
    gain counts for all types (the reference forgets it in all but splines, Q9). A is an Akima
    spline with its first value subtracted from all, a node (0, 0) in front if the first one is
    elsewhere, and u clipped to [0, last node - 0.1] (double: 0.01). Arithmetic is float64, rounded
    once. NaN stays NaN.
    """
    if image.ndim != 2 or image.dtype != np.float32:
        raise ValueError(f"want float32 (rows, columns), not {image.dtype} of {image.shape}")
    values = _checked(kind, coefficients, gain)
    gain = float(gain)
    match kind:
        case "spline" | "double_spline":
            return subtract_splines(image, gain, _splines(kind, values))
        case "lookup_table":
            return int(_add_table(image, gain, *_table_row(values, table)))
        case "polynomial" | "squared":
            _add_polynomial(image, gain, _powers(kind, values))
    return 0


def linearity_slope(
    signal: npt.ArrayLike,
    kind: LinearityType,
    coefficients: Coefficients,
    table: npt.ArrayLike | None = None,
    gain: float = 1.0,
) -> Array:
    """Return by how much the corrected signal changes with the observed one.

    Parameters
    ----------
    signal : array of float, any shape
        Before the correction; adu, or electrons with `gain`.
    kind, coefficients, table, gain
        As in `linearize`.

    Returns
    -------
    array of float64, shape of `signal`
        What a standard deviation before the correction has to be multiplied by. 1 where the
        correction is constant, as beyond the last node; NaN where the signal is NaN.

    Raises
    ------
    ValueError
        As `linearize` does.
    """
    values = _checked(kind, coefficients, gain)
    u = np.asarray(signal, np.float64) / gain
    slope = np.where(np.isnan(u), np.nan, 1.0)
    match kind:
        case "polynomial" | "squared":
            powers = _powers(kind, values)
            derivative = np.concatenate([[0.0], powers * (np.arange(powers.size) + 2)])
            slope = slope + np.polynomial.polynomial.polyval(u, derivative)
        case "lookup_table":
            offset, entries = _table_row(values, table)
            place = np.trunc(offset + u)
            inside = (place >= 0) & (place < entries.size)
            if entries.size > 1:
                # Entries are steps; what counts is how they rise from one to the next.
                rise = np.gradient(entries)
                slope[inside] += rise[place[inside].astype(np.int64)]
        case "spline" | "double_spline":
            for spline in _splines(kind, values):
                inside = (u > 0) & (u < spline.top)
                step = np.where(inside, 1.0 - spline.evaluate(u, derivative=1), 1.0)
                u, slope = u - spline.evaluate(u), slope * step
    return slope
