"""The clipped mean of a stack of exposures, pixel by pixel (spec 3.3).

A block of `LANES` neighbouring pixels of all exposures is copied to a small buffer, excluded
values as +inf, and its columns are sorted. Every clipping pass keeps one interval of values, and
that is a run of ranks; so the middle ranks, which no pass drops in good data, are summed once, and
each pass only adds the tails that it keeps. Sums are float64, around the lower median, and always
run in the same order of ranks: the middle, the low tail, the high tail. A pixel's result therefore
depends on its own values only, not on its neighbours, its place in the block or the order of the
exposures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from cpflow.kernels.planes import BAD
from cpflow.kernels.sorting import LANES, STRIDE, network, sort_columns

#: Half of a normal distribution's quartile distance to its standard deviation: 1 / (2 * 0.67448975)
IQR_TO_SIGMA = 0.741301109252802

#: Below this many exposures the output variance comes from the input variances (spec 3.1, strict).
FEW_EXPOSURES = 5

# Blocks that are read together: long runs of one exposure use memory well.
_TILE = 4
# Beyond every finite float32 and below inf: an interval this wide keeps what is finite.
_EVERYTHING = 1e39
_LARGEST = np.float32(3.4028234663852886e38)
_INFINITE = np.float32(np.inf)
_LANES = np.uint64(LANES)
_GROUP = np.uint64(3)
_BATCH = np.uint64(6)
_STRIDE = np.uint64(STRIDE)

# Rows of the work space, which holds float64 numbers per lane: one array, so that the compiler sees
# that they do not overlap; and padded, so that no two share the low 12 bits of their addresses.
_PITCH = LANES + 8
(
    _REFERENCE,
    _CENTRE,
    _WIDTH,
    _MEAN,
    _SPREAD,
    _LOST,
    _COUNT,
    _SUM1,
    _SUM2,
    _CORE0,
    _CORE1,
    _CORE2,
) = (np.uint64(row * _PITCH) for row in range(12))


@dataclass(frozen=True, slots=True)
class Combined:
    """A combined stack; every array has the shape of one exposure.

    Attributes
    ----------
    image : array of float32
        Clipped mean, in the unit of the stack divided by that of the scale; NaN where no input was
        good.
    variance : array of float32
        Variance of `image`; NaN where there is none to give.
    mask : array of uint16
        OR of the masks of the good inputs, clipped ones included.
    good : array of uint16
        Inputs that were finite and not excluded, n.
    used : array of uint16
        Inputs that the last pass kept, m.
    """

    image: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint16]
    good: npt.NDArray[np.uint16]
    used: npt.NDArray[np.uint16]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _load_clean(stack, first, inverse, tile):  # type: ignore[no-untyped-def]
    """Copy a whole tile; returns whether all of its values are finite."""
    infinite = False
    start = np.uint64(first)
    for exposure in range(stack.shape[0]):
        row = stack[exposure]
        factor = inverse[exposure]
        base = np.uint64(exposure) * _STRIDE
        for part in range(np.uint64(_TILE)):
            block = tile[part]
            origin = start + part * _LANES
            for lane in range(_LANES):
                value = row[origin + lane] * factor
                infinite |= not (abs(value) <= _LARGEST)
                block[base + lane] = value
    return not infinite


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _load(stack, mask, first, width, excluded, inverse, block, good, union):  # type: ignore[no-untyped-def]
    """Copy `width` pixels to a block: +inf for what is not good; count the good, OR their masks."""
    masked = mask.shape[0] > 0
    good[:] = 0
    union[:] = 0
    block[:] = _INFINITE
    start = np.uint64(first)
    for exposure in range(stack.shape[0]):
        row = stack[exposure]
        factor = inverse[exposure]
        base = np.uint64(exposure) * _STRIDE
        if masked:
            planes = mask[exposure]
            for lane in range(np.uint64(width)):
                value = row[start + lane] * factor
                bits = planes[start + lane]
                keep = (abs(value) <= _LARGEST) & ((bits & excluded) == 0)
                block[base + lane] = value if keep else _INFINITE
                good[lane] += np.int32(1) if keep else np.int32(0)
                union[lane] |= bits if keep else np.uint16(0)
        else:
            for lane in range(np.uint64(width)):
                value = row[start + lane] * factor
                keep = abs(value) <= _LARGEST
                block[base + lane] = value if keep else _INFINITE
                good[lane] += np.int32(1) if keep else np.int32(0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _any_bit(mask, first, width):  # type: ignore[no-untyped-def]
    bits = np.uint16(0)
    for exposure in range(mask.shape[0]):
        planes = mask[exposure]
        for pixel in range(np.uint64(first), np.uint64(first + width)):
            bits |= planes[pixel]
    return bits != 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _quantile(block, lane, n, fraction):  # type: ignore[no-untyped-def]
    position = fraction * (n - 1)
    rank = np.int64(position)
    t = position - rank
    low = np.float64(block[np.uint64(rank) * _STRIDE + lane])
    high = np.float64(block[np.uint64(min(rank + 1, n - 1)) * _STRIDE + lane])
    # The two forms are exact at either end; numpy interpolates the same way.
    return low + (high - low) * t if t < 0.5 else high - (high - low) * (1.0 - t)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _start(block, good, clip, work):  # type: ignore[no-untyped-def]
    """Centre and half-width of the first pass, from the quartiles of sorted columns."""
    for lane in range(_LANES):
        n = good[lane]
        if n == 0:
            work[_REFERENCE + lane] = work[_CENTRE + lane] = work[_WIDTH + lane] = np.nan
            continue
        work[_REFERENCE + lane] = block[np.uint64((n - 1) // 2) * _STRIDE + lane]
        work[_CENTRE + lane] = _quantile(block, lane, n, 0.5)
        iqr = _quantile(block, lane, n, 0.75) - _quantile(block, lane, n, 0.25)
        work[_WIDTH + lane] = clip * IQR_TO_SIGMA * iqr


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _start_uniform(block, n, clip, work):  # type: ignore[no-untyped-def]
    """`_start` where every column has `n` good values: the same numbers, in vector code."""
    middle = np.uint64((n - 1) // 2) * _STRIDE
    for lane in range(_LANES):
        work[_REFERENCE + lane] = block[middle + lane]
        work[_CENTRE + lane] = _quantile(block, lane, n, 0.5)
        iqr = _quantile(block, lane, n, 0.75) - _quantile(block, lane, n, 0.25)
        work[_WIDTH + lane] = clip * IQR_TO_SIGMA * iqr


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_core(block, first, last, work):  # type: ignore[no-untyped-def]
    """Sum ranks that are all kept. Several at a time, for fewer loads and stores of the sums."""
    for lane in range(_LANES):
        work[_CORE1 + lane] = 0.0
        work[_CORE2 + lane] = 0.0
    rank = np.uint64(first)
    while rank < last:
        base = rank * _STRIDE
        if rank + _BATCH <= last:
            for lane in range(_LANES):
                reference = work[_REFERENCE + lane]
                sum1, sum2 = work[_CORE1 + lane], work[_CORE2 + lane]
                for i in range(_BATCH):
                    d = np.float64(block[base + i * _STRIDE + lane]) - reference
                    sum1 += d
                    sum2 += d * d
                work[_CORE1 + lane], work[_CORE2 + lane] = sum1, sum2
            rank += _BATCH
        else:
            for lane in range(_LANES):
                d = np.float64(block[base + lane]) - work[_REFERENCE + lane]
                work[_CORE1 + lane] += d
                work[_CORE2 + lane] += d * d
            rank += np.uint64(1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_kept(block, first, last, work):  # type: ignore[no-untyped-def]
    """Sum what the intervals keep of some ranks, from nothing."""
    for lane in range(_LANES):
        work[_COUNT + lane] = 0.0
        work[_SUM1 + lane] = 0.0
        work[_SUM2 + lane] = 0.0
    rank = np.uint64(first)
    while rank < last:
        base = rank * _STRIDE
        size = _BATCH if rank + _BATCH <= last else np.uint64(1)
        if size == _BATCH:
            for lane in range(_LANES):
                centre, width = work[_CENTRE + lane], work[_WIDTH + lane]
                reference = work[_REFERENCE + lane]
                count, sum1, sum2 = work[_COUNT + lane], work[_SUM1 + lane], work[_SUM2 + lane]
                for i in range(_BATCH):
                    value = np.float64(block[base + i * _STRIDE + lane])
                    keep = abs(value - centre) <= width
                    d = value - reference
                    count += 1.0 if keep else 0.0
                    sum1 += d if keep else 0.0
                    sum2 += d * d if keep else 0.0
                work[_COUNT + lane], work[_SUM1 + lane], work[_SUM2 + lane] = count, sum1, sum2
        else:
            for lane in range(_LANES):
                value = np.float64(block[base + lane])
                keep = abs(value - work[_CENTRE + lane]) <= work[_WIDTH + lane]
                d = value - work[_REFERENCE + lane]
                work[_COUNT + lane] += 1.0 if keep else 0.0
                work[_SUM1 + lane] += d if keep else 0.0
                work[_SUM2 + lane] += d * d if keep else 0.0
        rank += size


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_tails(block, low, high, work):  # type: ignore[no-untyped-def]
    """Add what the intervals keep of the three ranks from `low` and the three from `high`."""
    below, above = np.uint64(low) * _STRIDE, np.uint64(high) * _STRIDE
    for lane in range(_LANES):
        centre, width = work[_CENTRE + lane], work[_WIDTH + lane]
        reference = work[_REFERENCE + lane]
        count, sum1, sum2 = work[_COUNT + lane], work[_SUM1 + lane], work[_SUM2 + lane]
        for base in (below, above):
            for i in range(_GROUP):
                value = np.float64(block[base + i * _STRIDE + lane])
                keep = abs(value - centre) <= width
                d = value - reference
                count += 1.0 if keep else 0.0
                sum1 += d if keep else 0.0
                sum2 += d * d if keep else 0.0
        work[_COUNT + lane] = count
        work[_SUM1 + lane] = sum1
        work[_SUM2 + lane] = sum2


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _keeps_all(block, first, last, work):  # type: ignore[no-untyped-def]
    """Whether the intervals contain the ranks `first` to `last` - 1 of every column."""
    dropped = False
    low = np.uint64(first) * _STRIDE
    high = np.uint64(last - 1) * _STRIDE
    for lane in range(_LANES):
        centre, width = work[_CENTRE + lane], work[_WIDTH + lane]
        dropped |= not (abs(np.float64(block[low + lane]) - centre) <= width)
        dropped |= not (abs(np.float64(block[high + lane]) - centre) <= width)
    return not dropped


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _note_lost(work):  # type: ignore[no-untyped-def]
    """Mark the columns that do not keep the value that their sums are around."""
    for lane in range(_LANES):
        distance = abs(work[_REFERENCE + lane] - work[_CENTRE + lane])
        work[_LOST + lane] = work[_LOST + lane] if distance <= work[_WIDTH + lane] else 1.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mean_and_spread(work, lane):  # type: ignore[no-untyped-def]
    """Mean and sample variance of what a pass kept."""
    m, sum1 = work[_COUNT + lane], work[_SUM1 + lane]
    offset = sum1 / m
    spread = work[_SUM2 + lane] - sum1 * offset
    return work[_REFERENCE + lane] + offset, (spread if spread > 0.0 else 0.0) / (m - 1.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _next_interval(clip, work):  # type: ignore[no-untyped-def]
    for lane in range(_LANES):
        mean, spread = _mean_and_spread(work, lane)
        work[_CENTRE + lane] = mean
        # A single value has no spread: it is kept, by itself.
        work[_WIDTH + lane] = clip * np.sqrt(spread) if work[_COUNT + lane] != 1.0 else 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _clip_block(block, rows, good, uniform, clip, iterations, work):  # type: ignore[no-untyped-def]
    """Run the passes on the sorted columns of a block.

    Leaves in `work` centre and half-width of the last pass, and count, mean and sample variance of
    its survivors. `_LOST` marks columns whose reference was clipped: the sums around it may have
    lost digits, and `_clip_column` has to do them. Returns whether there may be any.
    """
    if uniform:
        _start_uniform(block, rows, clip, work)
    else:
        _start(block, good, clip, work)
    # Tails have to be longer than what good data lose, or the core is summed again in each pass.
    groups = (1 if rows < 20 else 2 + rows // 300) if rows > 6 else 0
    tail = 3 * groups
    top = rows - tail
    complete = groups > 0 and (uniform or good.min() >= top)
    if complete:
        _add_core(block, tail, top, work)
    for lane in range(_LANES):
        work[_LOST + lane] = 0.0
        if iterations == 0:
            work[_CENTRE + lane] = 0.0
            work[_WIDTH + lane] = _EVERYTHING
    lost = False
    for iteration in range(max(iterations, 1)):
        if iteration > 0:
            _next_interval(clip, work)
        if complete and _keeps_all(block, tail, top, work):
            for lane in range(_LANES):
                work[_COUNT + lane] = top - tail
                work[_SUM1 + lane] = work[_CORE1 + lane]
                work[_SUM2 + lane] = work[_CORE2 + lane]
        else:
            lost = True
            _note_lost(work)
            _add_kept(block, tail, top, work)
        for group in range(groups):
            _add_tails(block, 3 * group, rows - 3 * (group + 1), work)
    for lane in range(_LANES):
        work[_MEAN + lane], work[_SPREAD + lane] = _mean_and_spread(work, lane)
    return lost


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _clip_column(block, lane, n, clip, iterations):  # type: ignore[no-untyped-def]
    """One sorted column by two-pass sums: slower, and exact wherever the survivors lie."""
    centre = _quantile(block, lane, n, 0.5)
    width = (
        clip * IQR_TO_SIGMA * (_quantile(block, lane, n, 0.75) - _quantile(block, lane, n, 0.25))
    )
    if iterations == 0:
        centre, width = 0.0, _EVERYTHING
    m, mean, variance = 0.0, np.nan, np.nan
    for iteration in range(max(iterations, 1)):
        if iteration > 0:
            centre = mean
            width = clip * np.sqrt(variance) if m != 1.0 else 0.0
        m, origin, total, squares = 0.0, 0.0, 0.0, 0.0
        for rank in range(n):
            value = np.float64(block[np.uint64(rank) * _STRIDE + lane])
            if abs(value - centre) <= width:
                origin = value if m == 0.0 else origin
                total += value - origin
                m += 1.0
        mean = origin + total / m
        for rank in range(n):
            value = np.float64(block[np.uint64(rank) * _STRIDE + lane])
            if abs(value - centre) <= width:
                squares += (value - mean) ** 2
        variance = squares / (m - 1.0)
    return centre, width, m, mean, variance


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _clip_lost(block, good, clip, iterations, work):  # type: ignore[no-untyped-def]
    for lane in range(_LANES):
        if work[_LOST + lane] != 0.0 and good[lane] > 0:
            centre, width, m, mean, spread = _clip_column(block, lane, good[lane], clip, iterations)
            work[_CENTRE + lane], work[_WIDTH + lane] = centre, width
            work[_COUNT + lane], work[_MEAN + lane], work[_SPREAD + lane] = m, mean, spread


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _store(work, good, union, no_good, image, variance, mask, good_out, used):  # type: ignore[no-untyped-def]
    for lane in range(np.uint64(image.shape[0])):
        image[lane] = work[_MEAN + lane]
        m = work[_COUNT + lane]
        used[lane] = np.int32(m)
        variance[lane] = work[_SPREAD + lane] / m if m > 1.0 else np.nan
    for lane in range(np.uint64(image.shape[0])):
        good_out[lane] = good[lane]
        mask[lane] = union[lane] if good[lane] > 0 else no_good


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _take_input_variance(  # type: ignore[no-untyped-def]
    stack, mask, variance, few, excluded, inverse, weight, start, work, good, variance_out
):
    """Replace output variances by those of the inputs, summed over the survivors."""
    for lane in range(np.uint64(variance_out.shape[0])):
        if good[lane] == 0 or not (few or good[lane] == 1):
            continue
        pixel = np.uint64(start) + lane
        centre, width, m = work[_CENTRE + lane], work[_WIDTH + lane], work[_COUNT + lane]
        total = 0.0
        for exposure in range(stack.shape[0]):
            value = stack[exposure, pixel] * inverse[exposure]
            keep = abs(value) <= _LARGEST and abs(np.float64(value) - centre) <= width
            if keep and (mask.shape[0] == 0 or (mask[exposure, pixel] & excluded) == 0):
                total += np.float64(variance[exposure, pixel]) * weight[exposure]
        variance_out[lane] = total / (m * m)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _combine(  # type: ignore[no-untyped-def]
    stack,
    mask,
    variance,
    few,
    excluded,
    inverse,
    weight,
    clip,
    iterations,
    no_good,
    plan,
    tile,
    work,
    image_out,
    variance_out,
    mask_out,
    good_out,
    used_out,
):
    rows, pixels = stack.shape
    good = np.empty(LANES, np.int32)
    union = np.empty(LANES, np.uint16)
    size = _TILE * LANES
    for first in range(0, pixels, size):
        clean = first + size <= pixels and not _any_bit(mask, first, size)
        clean = clean and _load_clean(stack, first, inverse, tile)
        for part in range(_TILE):
            start = first + part * LANES
            lanes = min(LANES, pixels - start)
            if lanes <= 0:
                break
            block = tile[part]
            if clean:
                good[:] = rows
                union[:] = 0
            else:
                _load(stack, mask, start, lanes, excluded, inverse, block, good, union)
            sort_columns(block, plan)
            if _clip_block(block, rows, good, clean, clip, iterations, work):
                _clip_lost(block, good, clip, iterations, work)
            out = slice(start, start + lanes)
            _store(
                work,
                good,
                union,
                no_good,
                image_out[out],
                variance_out[out],
                mask_out[out],
                good_out[out],
                used_out[out],
            )
            if variance.shape[0] > 0:
                _take_input_variance(
                    stack,
                    mask,
                    variance,
                    few,
                    excluded,
                    inverse,
                    weight,
                    start,
                    work,
                    good,
                    variance_out[out],
                )


def _aligned(shape: tuple[int, ...], dtype: type) -> npt.NDArray[Any]:
    """Return an empty array that starts on a cache line, so that no vector straddles two."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + 64, np.uint8)
    offset = -memory.ctypes.data % 64
    return memory[offset : offset + size].view(dtype).reshape(shape)


def _flat(array: npt.ArrayLike, dtype: type, shape: tuple[int, ...], name: str) -> npt.NDArray[Any]:
    flat = np.ascontiguousarray(array, dtype)
    if flat.shape != shape:
        raise ValueError(f"{name} has shape {flat.shape}, the stack has {shape}")
    return flat.reshape(shape[0], -1)


def clipped_mean(
    stack: npt.ArrayLike,
    mask: npt.NDArray[np.uint16] | None = None,
    *,
    excluded: int = 0,
    scale: npt.ArrayLike | None = None,
    variance: npt.ArrayLike | None = None,
    clip: float = 3.0,
    iterations: int = 3,
    no_good_pixels: int = BAD,
    input_variance_below: int = FEW_EXPOSURES,
) -> Combined:
    """Combine a stack of exposures by a clipped mean.

    Parameters
    ----------
    stack : array, shape (exposures, ...)
        Pixels, any unit. C-contiguous float32 is used as it is; anything else is converted, which
        costs a copy.
    mask : array of uint16, shape (exposures, ...), optional
        Mask planes of each pixel (`cpflow.kernels.planes`).
    excluded : int
        Bits that keep a pixel out of the mean. Values that are not finite are always kept out.
    scale : array, shape (exposures,), optional
        What each exposure is divided by: its pixels are multiplied by ``float32(1/scale)`` and its
        variance by ``1/scale**2`` (spec 2.1). With a scale per amplifier, combine each amplifier
        by itself.
    variance : array, shape (exposures, ...), optional
        Variance of each pixel, in the unit of the stack squared. Used where there are few exposures
        or only one good pixel.
    clip : float
        Half-width of the kept interval in standard deviations.
    iterations : int
        Passes; always as many, there is no test for convergence. 0 is the plain mean.
    no_good_pixels : int
        Mask of a pixel without any good input.
    input_variance_below : int
        With fewer exposures than this, and `variance` given, the output variance is the sum of the
        survivors' variances over m**2. Otherwise it is the survivors' sample variance over m.

    Returns
    -------
    Combined

    Raises
    ------
    ValueError
        If there is no exposure, more than 65535, an array of another shape than the stack, a scale
        that is zero or not finite, or a `clip` or `iterations` below zero.

    Notes
    -----
    Spec 3.3. Pass 1 keeps the values within ``clip * 0.7413 * (q75 - q25)`` of the median, later
    ones those within ``clip`` standard deviations of the previous mean; every pass tests all good
    values again, inclusively. Values are float32 and sums float64.

    Where the rule leaves a single value, its interval has no width and it stays by itself; its
    variance is its input variance, or NaN if that is not given. Every pixel is computed in a fixed
    order of its own sorted values, so the same pixels give the same bits in any chunk, thread or
    order of exposures. The GIL is released, and beside the result little more than a few hundred
    pixels of the stack are copied at a time.
    """
    stack = np.ascontiguousarray(stack, np.float32)
    if stack.ndim < 1 or stack.shape[0] == 0:
        raise ValueError("there are no exposures to combine")
    exposures, pixels = stack.shape[0], stack.shape[1:]
    if exposures > np.iinfo(np.uint16).max:
        raise ValueError(f"cannot count {exposures} exposures in 16 bits")
    if not (clip >= 0 and iterations >= 0):
        raise ValueError(f"clip ({clip}) and iterations ({iterations}) cannot be negative")
    scales = np.ones(exposures) if scale is None else np.asarray(scale, np.float64)
    if scales.shape != (exposures,) or not np.all(np.isfinite(scales) & (scales != 0)):
        raise ValueError(f"the scale has to be {exposures} finite numbers that are not zero")
    nothing = (0, 1)
    size = int(np.prod(pixels))
    combined = Combined(
        image=np.empty(pixels, np.float32),
        variance=np.empty(pixels, np.float32),
        mask=np.empty(pixels, np.uint16),
        good=np.empty(pixels, np.uint16),
        used=np.empty(pixels, np.uint16),
    )
    tile = _aligned((_TILE, (exposures + 1) * STRIDE), np.float32)
    tile[:] = np.inf
    _combine(
        stack.reshape(exposures, size),
        np.empty(nothing, np.uint16)
        if mask is None
        else _flat(mask, np.uint16, stack.shape, "the mask"),
        np.empty(nothing, np.float32)
        if variance is None
        else _flat(variance, np.float32, stack.shape, "the variance"),
        exposures < input_variance_below,
        np.uint16(excluded),
        (1.0 / scales).astype(np.float32),
        1.0 / scales**2,
        float(clip),
        int(iterations),
        np.uint16(no_good_pixels),
        network(exposures),
        tile,
        _aligned((11 * _PITCH,), np.float64),
        combined.image.reshape(-1),
        combined.variance.reshape(-1),
        combined.mask.reshape(-1),
        combined.good.reshape(-1),
        combined.used.reshape(-1),
    )
    return combined
