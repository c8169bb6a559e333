"""How strong the fringes of an exposure are, and their subtraction (spec 2.10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numba
import numpy as np
import numpy.typing as npt

from cpflow.kernels.masks import Mask

# The reference's rounded factor from a distance of quartiles to a standard deviation.
_IQR_TO_SIGMA = 0.74
_MOST = np.int32(0x7FFFFFFF)


@dataclass(frozen=True, slots=True)
class FringeSolution:
    """Amplitudes of fringe patterns in an exposure.

    Attributes
    ----------
    amplitudes : array of float64, shape (patterns,)
        What each pattern is multiplied by, in the unit of the exposure; NaN without points.
    points : int
        Points that the last fit used.
    rms : float
        0.74 times the quartile distance of their residuals, in the unit of the exposure.
    iterations : int
        Fits until the points stopped changing.
    """

    amplitudes: npt.NDArray[np.float64]
    points: int
    rms: float
    iterations: int


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _up_to(keys, n, limit):  # type: ignore[no-untyped-def]
    count = np.int32(0)
    for i in range(n):
        count += np.int32(1) if keys[i] <= limit else np.int32(0)
    return count


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _median(values, keys, n):  # type: ignore[no-untyped-def]
    """Return the median of the first n values: `keys` are their bits, and are overwritten.

    Halving an interval of bits and counting what is below is vector code, unlike a partition.
    """
    low, high = np.int64(_MOST), -np.int64(_MOST) - 1
    for i in range(n):
        # The bits of a float32 sort like integers if those below the sign are turned around.
        keys[i] = keys[i] ^ ((keys[i] >> np.int32(31)) & _MOST)
        low, high = min(low, np.int64(keys[i])), max(high, np.int64(keys[i]))
    wanted = (n + 1) // 2
    while low < high:
        middle = (low + high) >> 1
        if _up_to(keys, n, np.int32(middle)) >= wanted:
            high = middle
        else:
            low = middle + 1
    median, above = np.int32(low), _MOST
    if n % 2 == 1 or _up_to(keys, n, median) > wanted:
        above = median
    else:
        for i in range(n):
            above = min(above, keys[i]) if keys[i] > median else above
    keys[0] = median ^ ((median >> np.int32(31)) & _MOST)
    keys[1] = above ^ ((above >> np.int32(31)) & _MOST)
    return 0.5 * (np.float64(values[0]) + np.float64(values[1]))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _median_box(image, usable, y, x, half, buffer, keys):  # type: ignore[no-untyped-def]
    n = 0
    everything = usable.shape[0] == 0
    for row in range(max(y - half, 0), min(y + half, image.shape[0])):
        for column in range(max(x - half, 0), min(x + half, image.shape[1])):
            value = image[row, column]
            buffer[n] = value
            good = np.isfinite(value) & (everything or usable[row, column])
            n += 1 if good else 0
    return _median(buffer, keys, n) if n > 0 else np.nan


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _contrast(image, usable, positions, small, large, out):  # type: ignore[no-untyped-def]
    # One more than the box has pixels, because a pixel is stored before it is known to be good.
    buffer = np.empty(4 * large * large + 1, np.float32)
    keys = buffer.view(np.int32)
    for i in range(positions.shape[0]):
        y, x = positions[i, 0], positions[i, 1]
        near = _median_box(image, usable, y, x, small, buffer, keys)
        out[i] = near - _median_box(image, usable, y, x, large, buffer, keys)


def sample_positions(
    shape: tuple[int, int], seed: int, count: int = 30_000, margin: int = 30
) -> npt.NDArray[np.int64]:
    """Draw the points where fringes are measured.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    seed : int
        The same seed draws the same points; the exposure's number, say.
    count : int
        How many.
    margin : int
        Least distance in pixels from the border.

    Returns
    -------
    array of int64, shape (count, 2)
        y and x, uniform.

    Raises
    ------
    ValueError
        If the image has no pixel inside the margin.
    """
    rows, columns = shape
    if min(rows, columns) <= 2 * margin:
        raise ValueError(f"an image of {shape} has nothing inside a margin of {margin}")
    rng = np.random.default_rng(seed)
    x = rng.integers(margin, columns - margin, count)
    return np.stack([rng.integers(margin, rows - margin, count), x], axis=1)


def local_contrast(
    image: npt.NDArray[np.float32],
    positions: npt.NDArray[np.int64],
    usable: Mask | None = None,
    *,
    small: int = 3,
    large: int = 30,
) -> npt.NDArray[np.float64]:
    """Measure by how much an image differs from its surroundings.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
    positions : array of int64, shape (points, 2)
        y and x.
    usable : array of bool, shape (rows, columns), optional
        Pixels that count, those that are not saturated; those that are not finite never do.
    small, large : int
        Half the width of the two boxes, in pixels: from ``x - small`` to ``x + small - 1``.

    Returns
    -------
    array of float64, shape (points,)
        Median of the small box less that of the large one, in the unit of the image; NaN without
        usable pixels.

    Raises
    ------
    ValueError
        If shapes do not fit or the small box is not the smaller one.
    """
    if image.ndim != 2 or (usable is not None and usable.shape != image.shape):
        raise ValueError("an image has rows and columns, and its flags the same shape")
    if not 0 < small < large:
        raise ValueError(f"boxes of {small} and {large} pixels have no contrast")
    points = np.ascontiguousarray(positions, np.int64)
    contrast = np.empty(len(points))
    flags = np.empty((0, 0), np.bool_) if usable is None else np.ascontiguousarray(usable)
    _contrast(np.ascontiguousarray(image, np.float32), flags, points, small, large, contrast)
    return contrast


def _spread(values: npt.NDArray[np.float64]) -> float:
    q25, q75 = np.percentile(values, [25, 75])
    return float(_IQR_TO_SIGMA * (q75 - q25))


def solve_fringes(
    exposure: npt.NDArray[np.float64],
    patterns: npt.NDArray[np.float64],
    *,
    clip: float = 3.0,
    iterations: int = 20,
) -> FringeSolution:
    """Fit fringe patterns to an exposure at the points where both were measured.

    Parameters
    ----------
    exposure : array of float64, shape (points,)
        Local contrast of the exposure.
    patterns : array of float64, shape (patterns, points)
        Local contrast of each pattern.
    clip : float
        In standard deviations, taken from the quartiles.
    iterations : int
        Fits at most.

    Returns
    -------
    FringeSolution

    Raises
    ------
    ValueError
        If shapes do not fit, or `clip` or `iterations` is not positive.

    Notes
    -----
    Spec 2.10: points whose contrast is beyond `clip` from the median are left out from the start;
    then least squares, points with larger residuals left out, until their number stays.
    """
    table = np.atleast_2d(np.asarray(patterns, np.float64))
    if exposure.ndim != 1 or table.shape[1] != len(exposure):
        raise ValueError(f"{exposure.shape} points of an exposure, {table.shape} of patterns")
    if not (clip > 0 and iterations > 0):
        raise ValueError("clip and iterations have to be positive")
    good = np.isfinite(exposure) & np.isfinite(table).all(axis=0)
    y, x = exposure[good], table[:, good]
    unknown = FringeSolution(np.full(len(table), np.nan), 0, np.nan, 0)
    if len(y) == 0:
        return unknown
    # Not at or above: without any scatter all are equal to the median.
    near = np.abs(y - np.median(y)) <= clip * _spread(y)
    y, x = y[near], x[:, near]
    turns = 0
    while len(y) >= len(table):
        amplitudes = np.asarray(np.linalg.lstsq(x.T, y, rcond=None)[0], np.float64)
        residual = y - amplitudes @ x
        turns += 1
        near = np.abs(residual) <= clip * _spread(residual)
        if near.all() or not near.any() or turns == iterations:
            return FringeSolution(amplitudes, len(y), _spread(residual), turns)
        y, x = y[near], x[:, near]
    return unknown


def measure_fringes(
    image: npt.NDArray[np.float32],
    patterns: Sequence[npt.NDArray[np.float32]],
    seed: int,
    usable: Mask | None = None,
    *,
    count: int = 30_000,
    small: int = 3,
    large: int = 30,
    refinements: int = 2,
) -> FringeSolution:
    """Measure how much of each fringe pattern is in an exposure.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
        The exposure, any unit.
    patterns : sequence of array of float32, shape (rows, columns)
        Fringe frames of mean 0 or so.
    seed : int
        Of the points, see `sample_positions`.
    usable : array of bool, shape (rows, columns), optional
        Pixels that count.
    count, small, large : int
        Points, and half the widths of their boxes in pixels.
    refinements : int
        How often the fit is repeated on what the fringes so far leave. 0 is the reference.

    Returns
    -------
    FringeSolution
        Points, rms and iterations are those of the last fit.

    Raises
    ------
    ValueError
        If there is no pattern, or one of another shape than the image.

    Notes
    -----
    Spec 2.10. A median is not linear: that of a box with few fringes is drawn to their crests or
    troughs in a pattern without noise, and to their mean in an exposure with noise of their size.
    The first amplitude is then several per cent too small. The remainder after subtraction has
    noise only, and its fit no such error.
    """
    if not patterns or any(pattern.shape != image.shape for pattern in patterns):
        raise ValueError(f"an image of {image.shape} needs fringe patterns of that shape")
    positions = sample_positions(image.shape, seed, count, large)

    def contrast(frame: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return local_contrast(frame, positions, usable, small=small, large=large)

    known = np.stack([contrast(pattern) for pattern in patterns])
    solution = solve_fringes(contrast(image), known)
    for _ in range(refinements):
        rest = subtract_fringes(image, patterns, solution.amplitudes)
        step = solve_fringes(contrast(rest), known)
        solution = replace(step, amplitudes=solution.amplitudes + step.amplitudes)
    return solution


def subtract_fringes(
    image: npt.NDArray[np.float32],
    patterns: Sequence[npt.NDArray[np.float32]],
    amplitudes: Sequence[float] | npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:
    """Subtract fringe patterns, each times its amplitude.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
        Also a band of rows, if the patterns are the same band.
    patterns : sequence of array of float32, shape (rows, columns)
    amplitudes : sequence of float
        One for each pattern.

    Returns
    -------
    array of float32, shape (rows, columns)

    Raises
    ------
    ValueError
        If the numbers of patterns and amplitudes differ.
    """
    rest = image.copy()
    for pattern, amplitude in zip(patterns, amplitudes, strict=True):
        rest -= np.float32(amplitude) * pattern
    return rest
