"""Pixels of an amplifier that stand out from their surroundings (verification 2.4)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cpflow.kernels.statistics import clipped_statistics


def outliers(
    pixels: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_], sigma: float, block: int
) -> tuple[npt.NDArray[np.int64], float]:
    """Find the pixels that differ from the median of their block by many standard deviations.

    Parameters
    ----------
    pixels : array of float32, shape (rows, columns)
        One amplifier.
    usable : array of bool, same shape
        Pixels that are looked at; the others neither stand out nor count.
    sigma : float
        Threshold in standard deviations: those of all usable pixels about their blocks' medians,
        clipped.
    block : int
        Side of the blocks, pixels. Those at the upper edges are as large as what is left.

    Returns
    -------
    array of int64
        Flat places of the pixels, ascending.
    float
        The standard deviation; NaN with fewer than two usable pixels.
    """
    good = usable & np.isfinite(pixels)
    if np.count_nonzero(good) < 2:
        return np.empty(0, np.int64), float("nan")
    flat = pixels - _levels(pixels, good, block)
    spread = clipped_statistics(flat[good], clip=5.0, iterations=3).stdev
    return np.flatnonzero(good & (np.abs(flat) > sigma * spread)), spread


def _levels(
    pixels: npt.NDArray[np.float32], good: npt.NDArray[np.bool_], block: int
) -> npt.NDArray[np.float32]:
    levels = np.zeros_like(pixels)
    for y in range(0, pixels.shape[0], block):
        for x in range(0, pixels.shape[1], block):
            part = slice(y, y + block), slice(x, x + block)
            chosen = pixels[part][good[part]]
            levels[part] = np.median(chosen) if chosen.size else 0
    return levels


def times_found(places: list[npt.NDArray[np.int64]], size: int) -> npt.NDArray[np.int32]:
    """Count for each of `size` places in how many of the lists it is."""
    counts = np.zeros(size, np.int32)
    for found in places:
        counts[found] += 1
    return counts
