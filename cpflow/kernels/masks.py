"""Masks of one image: saturation, growing, trails, and boxes (spec 2.1, 2.5, 4.8).

Masks here are plain booleans; which plane they go to is the caller's business.
"""

from __future__ import annotations

from typing import Any, Literal

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]


def saturated(values: npt.NDArray[Any], level: float) -> Mask:
    """Flag values at or above a level.

    Parameters
    ----------
    values : array, any shape
    level : float
        In the unit of the values. NaN flags nothing.

    Returns
    -------
    array of bool
        False where a value is NaN.

    Notes
    -----
    Spec 2.1: a threshold always means "at or above".
    """
    return np.asarray(values >= level)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _paint_grown(mask, reach, out):  # type: ignore[no-untyped-def]
    """Paint every run of set pixels, widened by ``reach[dy]`` in the rows at distance dy."""
    rows, columns = mask.shape
    radius = len(reach) - 1
    for y in range(rows):
        x = 0
        while x < columns:
            if not mask[y, x]:
                x += 1
                continue
            first = x
            while x < columns and mask[y, x]:
                x += 1
            for dy in range(-radius, radius + 1):
                if 0 <= y + dy < rows:
                    half = reach[abs(dy)]
                    for column in range(max(first - half, 0), min(x + half, columns)):
                        out[y + dy, column] = True


def grow(mask: Mask, radius: int, shape: Literal["manhattan", "circular"] = "manhattan") -> Mask:
    """Grow the set pixels of a mask by a radius.

    Parameters
    ----------
    mask : array of bool, shape (rows, columns)
    radius : int
        In pixels; 0 changes nothing.
    shape : str
        ``"manhattan"``: the diamond ``|dx| + |dy| <= radius``; ``"circular"``: the disc
        ``|dx| <= floor(sqrt(radius**2 - dy**2))``.

    Returns
    -------
    array of bool, shape (rows, columns)
        A new mask, clipped to the image.

    Raises
    ------
    ValueError
        If the radius is negative, the shape unknown or the mask not two-dimensional.

    Notes
    -----
    Spec 2.1. The work goes with the number of runs of set pixels in rows, times the radius.
    """
    flags = _two_dimensional(mask)
    if radius < 0:
        raise ValueError(f"a mask cannot grow by {radius} pixels")
    distance = np.arange(radius + 1)
    if shape == "manhattan":
        reach = radius - distance
    elif shape == "circular":
        reach = np.floor(np.sqrt(radius**2 - distance**2)).astype(np.int64)
    else:
        raise ValueError(f"a mask grows manhattan or circular, not {shape!r}")
    grown = flags.copy()
    if radius > 0 and flags.any():
        _paint_grown(flags, reach, grown)
    return grown


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _paint_widened(mask, out):  # type: ignore[no-untyped-def]
    rows, columns = mask.shape
    for y in range(rows):
        x = 0
        while x < columns:
            if not mask[y, x]:
                x += 1
                continue
            first = x
            while x < columns and mask[y, x]:
                x += 1
            length = x - first
            if length >= 10:
                more = 4
            elif length >= 8:
                more = 3
            elif length >= 6:
                more = 1
            else:
                more = 0
            for column in range(max(first - more, 0), min(x + more, columns)):
                out[y, column] = True


def widen_trails(mask: Mask) -> Mask:
    """Widen runs of saturated pixels in each row, the more the longer they are.

    Parameters
    ----------
    mask : array of bool, shape (rows, columns)

    Returns
    -------
    array of bool, shape (rows, columns)
        A new mask: runs of 1 to 5 pixels as they are, 6 and 7 wider by 1 on each side, 8 and 9 by
        3, longer ones by 4.

    Raises
    ------
    ValueError
        If the mask is not two-dimensional.

    Notes
    -----
    Spec 2.5, `doWidenSaturationTrails`.
    """
    flags = _two_dimensional(mask)
    widened = flags.copy()
    if flags.any():
        _paint_widened(flags, widened)
    return widened


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cut(labels, label, y0, y1, x0, x1, boxes, count):  # type: ignore[no-untyped-def]
    """Cut one group into boxes, clearing it; returns the table, perhaps a longer one."""
    for y in range(y0, y1):
        x = x0
        while x < x1:
            if labels[y, x] != label:
                x += 1
                continue
            first = x
            while x < x1 and labels[y, x] == label:
                x += 1
            top = y
            whole = True
            while whole:
                labels[top, first:x] = 0
                top += 1
                whole = top < y1
                for column in range(first, x):
                    whole = whole and labels[top, column] == label
            if count == boxes.shape[0]:
                grown = np.empty((2 * count, 4), np.int64)
                grown[:count] = boxes
                boxes = grown
            boxes[count, 0] = first
            boxes[count, 1] = y
            boxes[count, 2] = x - first
            boxes[count, 3] = top - y
            count += 1
    return boxes, count


def boxes_from_mask(mask: Mask) -> npt.NDArray[np.int64]:
    """Cut the set pixels of a mask into boxes.

    Parameters
    ----------
    mask : array of bool, shape (rows, columns)

    Returns
    -------
    array of int64, shape (boxes, 4)
        x0, y0, width, height; no two overlap, and `paint_boxes` gives the mask back. Groups come in
        the order of their first pixel, row by row.

    Raises
    ------
    ValueError
        If the mask is not two-dimensional.

    Notes
    -----
    Spec 4.8. In each group of pixels that touch, diagonally too: the lowest row with pixels left,
    its leftmost run, extended upward while the whole run is set; and again.
    """
    flags = _two_dimensional(mask)
    labels, _ = ndimage.label(flags, structure=np.ones((3, 3), np.int8))
    boxes = np.empty((64, 4), np.int64)
    count = 0
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        boxes, count = _cut(
            labels, label, rows.start, rows.stop, columns.start, columns.stop, boxes, count
        )
    return boxes[:count].copy()


def paint_boxes(shape: tuple[int, int], boxes: npt.ArrayLike) -> Mask:
    """Set the pixels of boxes in an empty mask.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the mask.
    boxes : array of integers, shape (boxes, 4)
        x0, y0, width, height. What lies outside the mask is left out.

    Returns
    -------
    array of bool, shape (rows, columns)

    Raises
    ------
    ValueError
        If a box has not four numbers, or a negative size.
    """
    table = np.asarray(boxes, np.int64)
    if table.size == 0:
        table = table.reshape(0, 4)
    if table.ndim != 2 or table.shape[1] != 4:
        raise ValueError(f"boxes come in rows of x0, y0, width, height, not as {table.shape}")
    if (table[:, 2:] < 0).any():
        raise ValueError("a box cannot have a negative width or height")
    mask = np.zeros(shape, np.bool_)
    for x0, y0, width, height in table:
        mask[max(y0, 0) : max(y0 + height, 0), max(x0, 0) : max(x0 + width, 0)] = True
    return mask


def _two_dimensional(mask: Mask) -> Mask:
    flags = np.ascontiguousarray(mask, np.bool_)
    if flags.ndim != 2:
        raise ValueError(f"a mask has rows and columns, not the shape {flags.shape}")
    return flags
