"""Statistics of an image in bins: what a background is made of (spec 4.9, 4.10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
import numpy.typing as npt

from cpflow.kernels.masks import Mask
from cpflow.kernels.statistics import IQR_TO_SIGMA

BinStatistic = Literal["MEANCLIP", "MEDIAN"]


@dataclass(frozen=True, slots=True)
class BinnedImage:
    """Statistics of an image in bins.

    Attributes
    ----------
    values : array of float64, shape (bins in y, bins in x)
        Clipped mean or median, in the unit of the image; NaN without usable pixels.
    errors : array of float64, shape (bins in y, bins in x)
        Standard error of `values` (not its square): the standard deviation of the pixels kept over
        the root of their number, for a median times the root of pi/2. NaN for fewer than two.
    counts : array of int64, shape (bins in y, bins in x)
        Usable pixels, before clipping.
    y_edges, x_edges : array of int64, shape (bins + 1,)
        First pixel of each bin, and the end.
    """

    values: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    y_edges: npt.NDArray[np.int64]
    x_edges: npt.NDArray[np.int64]

    @property
    def y_centres(self) -> npt.NDArray[np.float64]:
        """Middle of each bin along y, in pixels; pixel centres are whole numbers."""
        return _centres(self.y_edges)

    @property
    def x_centres(self) -> npt.NDArray[np.float64]:
        """Middle of each bin along x, in pixels."""
        return _centres(self.x_edges)


def bin_edges(size: int, bins: int) -> npt.NDArray[np.int64]:
    """Divide an axis into bins that differ by one pixel at most.

    Parameters
    ----------
    size : int
        Pixels.
    bins : int
        At least 1, at most one per pixel.

    Returns
    -------
    array of int64, shape (bins + 1,)
        Bin i is from edge i up to, but not including, edge i + 1.

    Raises
    ------
    ValueError
        If there are more bins than pixels, or none.

    Notes
    -----
    Spec 4.10: bin i ends at ``floor(((i + 1) * size + floor(bins / 2)) / bins)``.
    """
    if not 1 <= bins <= size:
        raise ValueError(f"{size} pixels cannot be divided into {bins} bins")
    ends = (np.arange(1, bins + 1) * size + bins // 2) // bins
    return np.concatenate([[0], ends]).astype(np.int64)


def bin_count(size: int, bin_size: int, rounding: Literal["up", "nearest"] = "up") -> int:
    """Return how many bins of about a size an axis has.

    Parameters
    ----------
    size : int
        Pixels of the axis.
    bin_size : int
        Pixels of a bin.
    rounding : str
        ``"up"`` for a background (spec 4.9), ``"nearest"`` for the sky's bins (spec 4.10).

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    ValueError
        If a size is not positive.
    """
    if size < 1 or bin_size < 1:
        raise ValueError(f"{size} pixels have no bins of {bin_size}")
    return -(-size // bin_size) if rounding == "up" else max(int(size / bin_size + 0.5), 1)


def _centres(edges: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return (edges[:-1] + edges[1:]) / 2 - 0.5


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _select(values, first, last, rank):  # type: ignore[no-untyped-def]
    """Put the value of a rank in its place, the smaller ones before it (Hoare's selection)."""
    while first < last:
        pivot = values[(first + last) // 2]
        low, high = first, last
        while low <= high:
            while values[low] < pivot:
                low += 1
            while values[high] > pivot:
                high -= 1
            if low <= high:
                values[low], values[high] = values[high], values[low]
                low += 1
                high -= 1
        if rank <= high:
            last = high
        elif rank >= low:
            first = low
        else:
            return


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _quartiles(values):  # type: ignore[no-untyped-def]
    """Interpolate the quartiles between neighbouring ranks, as numpy does. Reorders the values."""
    n = values.shape[0]
    quartiles = np.empty(3)
    start = np.int64(0)
    for i in range(3):
        position = 0.25 * (i + 1) * (n - 1)
        rank = np.int64(position)
        _select(values, start, n - 1, rank)
        above = min(rank + 1, n - 1)
        _select(values, min(rank + 1, n - 1), n - 1, above)
        start = rank
        t = position - rank
        low, high = np.float64(values[rank]), np.float64(values[above])
        quartiles[i] = low + (high - low) * t if t < 0.5 else high - (high - low) * (1.0 - t)
    return quartiles


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _clip(values, quartiles, clip, iterations):  # type: ignore[no-untyped-def]
    """Clipped mean (spec 3.3), standard deviation and number of what is kept."""
    centre = quartiles[1]
    width = clip * IQR_TO_SIGMA * (quartiles[2] - quartiles[0])
    mean, deviation, kept = np.nan, np.nan, 0
    for turn in range(max(iterations, 1)):
        if turn > 0:
            centre, width = mean, clip * deviation if kept > 1 else 0.0
        if iterations == 0:
            width = np.inf
        kept, total, squares = 0, 0.0, 0.0
        for i in range(values.shape[0]):
            d = np.float64(values[i]) - centre
            keep = abs(d) <= width
            kept += 1 if keep else 0
            total += d if keep else 0.0
            squares += d * d if keep else 0.0
        if kept == 0:
            return np.nan, np.nan, 0
        mean = centre + total / kept
        spread = max(squares - total * (total / kept), 0.0)
        deviation = np.sqrt(spread / (kept - 1)) if kept > 1 else np.nan
    return mean, deviation, kept


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _bin(image, usable, y_edges, x_edges, median, clip, iterations, values, errors, counts):  # type: ignore[no-untyped-def]
    everything = usable.shape[0] == 0
    largest = np.max(np.diff(y_edges)) * np.max(np.diff(x_edges))
    pixels = np.empty(largest, image.dtype)
    for j in range(values.shape[0]):
        for i in range(values.shape[1]):
            n = 0
            for y in range(y_edges[j], y_edges[j + 1]):
                for x in range(x_edges[i], x_edges[i + 1]):
                    value = image[y, x]
                    if np.isfinite(value) and (everything or usable[y, x]):
                        pixels[n] = value
                        n += 1
            counts[j, i] = n
            values[j, i] = errors[j, i] = np.nan
            if n == 0:
                continue
            quartiles = _quartiles(pixels[:n])
            mean, deviation, kept = _clip(pixels[:n], quartiles, clip, iterations)
            values[j, i] = quartiles[1] if median else mean
            if kept > 0:
                errors[j, i] = deviation / np.sqrt(kept)
            if median:
                errors[j, i] *= np.sqrt(np.pi / 2)


def bin_statistics(
    image: npt.NDArray[np.floating],
    bins: tuple[int, int],
    usable: Mask | None = None,
    *,
    statistic: BinStatistic = "MEANCLIP",
    clip: float = 3.0,
    iterations: int = 3,
) -> BinnedImage:
    """Compute a clipped mean or a median in each bin of an image.

    Parameters
    ----------
    image : array of float, shape (rows, columns)
        Pixels that are not finite are left out.
    bins : (int, int)
        Number of bins along y and x; `bin_edges` divides the axes.
    usable : array of bool, shape (rows, columns), optional
        Pixels that count.
    statistic : str
        ``"MEANCLIP"`` or ``"MEDIAN"``.
    clip, iterations
        Of the clipped mean (`cpflow.kernels.statistics.clipped_statistics`), and of the standard
        deviation behind the errors.

    Returns
    -------
    BinnedImage

    Raises
    ------
    ValueError
        If shapes do not fit, the statistic is unknown, or `clip` or `iterations` is negative.

    Notes
    -----
    Spec 4.9 step "background" and 4.10 step 3; the clipped mean is that of spec 3.3.
    """
    if image.ndim != 2 or (usable is not None and usable.shape != image.shape):
        raise ValueError("an image has rows and columns, and its flags the same shape")
    if statistic not in ("MEANCLIP", "MEDIAN"):
        raise ValueError(f"a bin has a MEANCLIP or a MEDIAN, not {statistic!r}")
    if not (clip >= 0 and iterations >= 0):
        raise ValueError(f"clip ({clip}) and iterations ({iterations}) cannot be negative")
    y_edges, x_edges = (bin_edges(n, count) for n, count in zip(image.shape, bins, strict=True))
    binned = BinnedImage(np.empty(bins), np.empty(bins), np.empty(bins, np.int64), y_edges, x_edges)
    _bin(
        np.ascontiguousarray(image),
        np.empty((0, 0), np.bool_) if usable is None else np.ascontiguousarray(usable, np.bool_),
        y_edges,
        x_edges,
        statistic == "MEDIAN",
        float(clip),
        int(iterations),
        binned.values,
        binned.errors,
        binned.counts,
    )
    return binned
