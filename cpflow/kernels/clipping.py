"""Clipping passes over the sorted columns of a block (spec 3.3).

Every pass keeps one interval of values, and in a sorted column that is a run of ranks. The core of
middle ranks, which no pass drops in good data, is summed once, and each pass only adds what it
keeps of the tails. Sums are float64, around the lower median, and always run in the same order of
ranks: the core, then from the ends inward. A column's result therefore depends on its own values
only.
"""

from __future__ import annotations

import numba
import numpy as np

from cpflow.kernels.sorting import LANES, STRIDE

#: A normal distribution's standard deviation over the distance of its quartiles.
IQR_TO_SIGMA = 0.741301109252802

# Beyond every finite float32 and below inf: an interval this wide keeps what is finite.
EVERYTHING = 1e39

_LANES = np.uint64(LANES)
_STRIDE = np.uint64(STRIDE)
# Ranks at each end that are added together, and ranks of the core: fewer loads and stores of sums.
_GROUP = np.uint64(3)
_BATCH = np.uint64(6)

# Rows of the work space, which holds float64 numbers per lane: one array, so that the compiler sees
# that they do not overlap; and padded, so that no two share the low 12 bits of their addresses.
_PITCH = LANES + 8
(
    REFERENCE,
    CENTRE,
    WIDTH,
    MEAN,
    SPREAD,
    _LOST,
    COUNT,
    _SUM1,
    _SUM2,
    _CORE1,
    _CORE2,
) = (np.uint64(row * _PITCH) for row in range(11))

#: Length of the work space.
WORK = 11 * _PITCH


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
def _start_lane(block, lane, n, clip, work):  # type: ignore[no-untyped-def]
    work[REFERENCE + lane] = block[np.uint64((n - 1) // 2) * _STRIDE + lane]
    work[CENTRE + lane] = _quantile(block, lane, n, 0.5)
    iqr = _quantile(block, lane, n, 0.75) - _quantile(block, lane, n, 0.25)
    work[WIDTH + lane] = clip * IQR_TO_SIGMA * iqr


@numba.njit(cache=True, nogil=True, error_model="numpy")
def start(block, rows, good, fewest, clip, work):  # type: ignore[no-untyped-def]
    """Centre and half-width of the first pass, from the quartiles of sorted columns.

    `good` counts the values of each, and `fewest` is the least of these counts.
    """
    # All lanes at the same ranks first, in vector code; then those with fewer good values.
    for lane in range(_LANES):
        _start_lane(block, lane, rows, clip, work)
    if fewest == rows:
        return
    for lane in range(_LANES):
        n = good[lane]
        if n == 0:
            work[REFERENCE + lane] = work[CENTRE + lane] = work[WIDTH + lane] = np.nan
        elif n < rows:
            _start_lane(block, lane, n, clip, work)


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
                reference = work[REFERENCE + lane]
                sum1, sum2 = work[_CORE1 + lane], work[_CORE2 + lane]
                for i in range(_BATCH):
                    d = np.float64(block[base + i * _STRIDE + lane]) - reference
                    sum1 += d
                    sum2 += d * d
                work[_CORE1 + lane], work[_CORE2 + lane] = sum1, sum2
            rank += _BATCH
        else:
            for lane in range(_LANES):
                d = np.float64(block[base + lane]) - work[REFERENCE + lane]
                work[_CORE1 + lane] += d
                work[_CORE2 + lane] += d * d
            rank += np.uint64(1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_kept(block, first, last, work):  # type: ignore[no-untyped-def]
    """Sum what the intervals keep of some ranks, from nothing."""
    for lane in range(_LANES):
        work[COUNT + lane] = 0.0
        work[_SUM1 + lane] = 0.0
        work[_SUM2 + lane] = 0.0
    rank = np.uint64(first)
    while rank < last:
        base = rank * _STRIDE
        size = _BATCH if rank + _BATCH <= last else np.uint64(1)
        if size == _BATCH:
            for lane in range(_LANES):
                centre, width = work[CENTRE + lane], work[WIDTH + lane]
                reference = work[REFERENCE + lane]
                count, sum1, sum2 = work[COUNT + lane], work[_SUM1 + lane], work[_SUM2 + lane]
                for i in range(_BATCH):
                    value = np.float64(block[base + i * _STRIDE + lane])
                    keep = abs(value - centre) <= width
                    d = value - reference
                    count = count + 1.0 if keep else count
                    sum1 = sum1 + d if keep else sum1
                    sum2 = sum2 + d * d if keep else sum2
                work[COUNT + lane], work[_SUM1 + lane], work[_SUM2 + lane] = count, sum1, sum2
        else:
            for lane in range(_LANES):
                value = np.float64(block[base + lane])
                keep = abs(value - work[CENTRE + lane]) <= work[WIDTH + lane]
                d = value - work[REFERENCE + lane]
                work[COUNT + lane] += 1.0 if keep else 0.0
                work[_SUM1 + lane] += d if keep else 0.0
                work[_SUM2 + lane] += d * d if keep else 0.0
        rank += size


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_tails(block, low, high, work):  # type: ignore[no-untyped-def]
    """Add what the intervals keep of the three ranks from `low` and the three from `high`."""
    below, above = np.uint64(low) * _STRIDE, np.uint64(high) * _STRIDE
    for lane in range(_LANES):
        centre, width = work[CENTRE + lane], work[WIDTH + lane]
        reference = work[REFERENCE + lane]
        count, sum1, sum2 = work[COUNT + lane], work[_SUM1 + lane], work[_SUM2 + lane]
        for base in (below, above):
            for i in range(_GROUP):
                value = np.float64(block[base + i * _STRIDE + lane])
                keep = abs(value - centre) <= width
                d = value - reference
                count = count + 1.0 if keep else count
                sum1 = sum1 + d if keep else sum1
                sum2 = sum2 + d * d if keep else sum2
        work[COUNT + lane] = count
        work[_SUM1 + lane] = sum1
        work[_SUM2 + lane] = sum2


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _keeps_all(block, first, last, work):  # type: ignore[no-untyped-def]
    """Whether the intervals contain the ranks `first` to `last` - 1 of every column."""
    dropped = False
    low = np.uint64(first) * _STRIDE
    high = np.uint64(last - 1) * _STRIDE
    for lane in range(_LANES):
        centre, width = work[CENTRE + lane], work[WIDTH + lane]
        dropped |= not (abs(np.float64(block[low + lane]) - centre) <= width)
        dropped |= not (abs(np.float64(block[high + lane]) - centre) <= width)
    return not dropped


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _note_lost(work):  # type: ignore[no-untyped-def]
    """Mark the columns that do not keep the value that their sums are around."""
    for lane in range(_LANES):
        distance = abs(work[REFERENCE + lane] - work[CENTRE + lane])
        work[_LOST + lane] = work[_LOST + lane] if distance <= work[WIDTH + lane] else 1.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mean_and_spread(work, lane):  # type: ignore[no-untyped-def]
    """Mean and sample variance of what a pass kept."""
    m, sum1 = work[COUNT + lane], work[_SUM1 + lane]
    offset = sum1 / m
    spread = work[_SUM2 + lane] - sum1 * offset
    return work[REFERENCE + lane] + offset, (spread if spread > 0.0 else 0.0) / (m - 1.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _next_interval(clip, work):  # type: ignore[no-untyped-def]
    for lane in range(_LANES):
        mean, spread = _mean_and_spread(work, lane)
        work[CENTRE + lane] = mean
        # A single value has no spread: it is kept, by itself.
        work[WIDTH + lane] = clip * np.sqrt(spread) if work[COUNT + lane] != 1.0 else 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def clip_block(block, rows, good, fewest, clip, iterations, work):  # type: ignore[no-untyped-def]
    """Run the passes on the sorted columns of a block.

    Leaves in `work` centre and half-width of the last pass, and count, mean and sample variance of
    its survivors. `_LOST` marks columns whose reference was clipped: the sums around it may have
    lost digits, and `clip_column` has to do them. Returns whether there may be any.
    """
    start(block, rows, good, fewest, clip, work)
    # Tails have to be longer than what good data lose, or the core is summed again in each pass.
    groups = (1 if rows < 20 else 2 + rows // 300) if rows > 6 else 0
    tail = 3 * groups
    top = rows - tail
    complete = groups > 0 and fewest >= top
    if complete:
        _add_core(block, tail, top, work)
    for lane in range(_LANES):
        work[_LOST + lane] = 0.0
        if iterations == 0:
            work[CENTRE + lane] = 0.0
            work[WIDTH + lane] = EVERYTHING
    lost = False
    for iteration in range(max(iterations, 1)):
        if iteration > 0:
            _next_interval(clip, work)
        if complete and _keeps_all(block, tail, top, work):
            # With all values good, the reference is one of the core.
            lost |= fewest < rows
            for lane in range(_LANES):
                work[COUNT + lane] = top - tail
                work[_SUM1 + lane] = work[_CORE1 + lane]
                work[_SUM2 + lane] = work[_CORE2 + lane]
        else:
            lost = True
            _add_kept(block, tail, top, work)
        if lost:
            _note_lost(work)
        for group in range(groups):
            _add_tails(block, 3 * group, rows - 3 * (group + 1), work)
    for lane in range(_LANES):
        work[MEAN + lane], work[SPREAD + lane] = _mean_and_spread(work, lane)
    return lost


@numba.njit(cache=True, nogil=True, error_model="numpy")
def clip_column(block, lane, n, clip, iterations):  # type: ignore[no-untyped-def]
    """One sorted column by two-pass sums: slower, and exact wherever the survivors lie."""
    centre = _quantile(block, lane, n, 0.5)
    width = (
        clip * IQR_TO_SIGMA * (_quantile(block, lane, n, 0.75) - _quantile(block, lane, n, 0.25))
    )
    if iterations == 0:
        centre, width = 0.0, EVERYTHING
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
def clip_lost(block, good, clip, iterations, work):  # type: ignore[no-untyped-def]
    """Clip the columns again that `clip_block` marked as lost."""
    for lane in range(_LANES):
        if work[_LOST + lane] != 0.0 and good[lane] > 0:
            centre, width, m, mean, spread = clip_column(block, lane, good[lane], clip, iterations)
            work[CENTRE + lane], work[WIDTH + lane] = centre, width
            work[COUNT + lane], work[MEAN + lane], work[SPREAD + lane] = m, mean, spread
