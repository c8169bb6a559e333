"""The search of `cpflow.kernels.cosmic_rays`: which pixels are rays, one after the other."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _expected(below, line, above, v_below, v_line, v_above, x, level, limits):  # type: ignore[no-untyped-def]
    """Return what a pixel would be without a ray, the mean of two neighbours, or NaN if no ray.

    `limits` are min_sigma, noise_factor, and how far a star falls along the axes and diagonals.
    """
    value = np.float64(line[x])
    if not value >= 0.0:
        return np.nan
    left, right = x - np.uint64(1), x + np.uint64(1)
    vertical = 0.5 * (np.float64(below[x]) + np.float64(above[x]))
    horizontal = 0.5 * (np.float64(line[left]) + np.float64(line[right]))
    rising = 0.5 * (np.float64(below[left]) + np.float64(above[right]))
    falling = 0.5 * (np.float64(above[left]) + np.float64(below[right]))
    sigma = np.sqrt(np.float64(v_line[x]))
    margin = limits[0] * sigma
    stands_out = (value >= vertical + margin) | (value >= horizontal + margin)
    stands_out |= (value >= rising + margin) | (value >= falling + margin)
    if not stands_out:
        return np.nan
    factor, axis, diagonal = limits[1], limits[2], limits[3]
    height = (value - level) - factor * sigma
    noise = 0.5 * np.sqrt(np.float64(v_below[x]) + np.float64(v_above[x]))
    if axis * height > (vertical - level) + factor * noise:
        return vertical
    noise = 0.5 * np.sqrt(np.float64(v_line[left]) + np.float64(v_line[right]))
    if axis * height > (horizontal - level) + factor * noise:
        return horizontal
    noise = 0.5 * np.sqrt(np.float64(v_below[left]) + np.float64(v_above[right]))
    if diagonal * height > (rising - level) + factor * noise:
        return rising
    noise = 0.5 * np.sqrt(np.float64(v_above[left]) + np.float64(v_below[right]))
    if diagonal * height > (falling - level) + factor * noise:
        return falling
    return np.nan


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _stand_out(below, line, above, variance, sigmas, flags):  # type: ignore[no-untyped-def]
    """Flag what passes the first half of `_expected`: vector code, and few pixels do."""
    one = np.uint64(1)
    for x in range(one, np.uint64(line.shape[0] - 1)):
        value = np.float64(line[x])
        vertical = 0.5 * (np.float64(below[x]) + np.float64(above[x]))
        horizontal = 0.5 * (np.float64(line[x - one]) + np.float64(line[x + one]))
        rising = 0.5 * (np.float64(below[x - one]) + np.float64(above[x + one]))
        falling = 0.5 * (np.float64(above[x - one]) + np.float64(below[x + one]))
        margin = sigmas * np.sqrt(np.float64(variance[x]))
        stands_out = (value >= vertical + margin) | (value >= horizontal + margin)
        stands_out |= (value >= rising + margin) | (value >= falling + margin)
        flags[x] = stands_out & (value >= 0.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _longer(table):  # type: ignore[no-untyped-def]
    longer = np.empty((2 * table.shape[0], table.shape[1]), table.dtype)
    longer[: table.shape[0]] = table
    return longer


@numba.njit(cache=True, nogil=True, error_model="numpy")
def seeds(image, variance, mask, blocking, blocking_beside, level, limits, most):  # type: ignore[no-untyped-def]
    """List the seeds as (y, x), row by row. The image is as before afterwards."""
    rows, columns = image.shape
    found = np.empty((1024, 2), np.int64)
    values = np.empty((1024, 1), image.dtype)
    flags = np.zeros(columns, np.bool_)
    count = 0
    for y in range(1, rows - 1):
        below, line, above = image[y - 1], image[y], image[y + 1]
        v_below, v_line, v_above = variance[y - 1], variance[y], variance[y + 1]
        _stand_out(below, line, above, v_line, limits[0], flags)
        for x in range(np.uint64(1), np.uint64(columns - 1)):
            if not flags[x]:
                continue
            expected = _expected(below, line, above, v_below, v_line, v_above, x, level, limits)
            if np.isnan(expected) or mask[y, x] & blocking:
                continue
            around = np.uint16(0)
            for row in range(y - 1, y + 2):
                around |= mask[row, x - 1] | mask[row, x] | mask[row, x + 1]
            if around & blocking_beside:
                continue
            if count == found.shape[0]:
                found, values = _longer(found), _longer(values)
            found[count, 0], found[count, 1], values[count, 0] = y, x, line[x]
            count += 1
            # Later pixels shall not be compared with this one; the next may only now stand out.
            line[x] = expected
            flags[x + np.uint64(1)] = True
            if count > most:
                break
        if count > most:
            break
    for i in range(count):
        image[found[i, 0], found[i, 1]] = values[i, 0]
    return found[:count]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _root(parents, i):  # type: ignore[no-untyped-def]
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i


@numba.njit(cache=True, nogil=True, error_model="numpy")
def bright_groups(image, found, level, least):  # type: ignore[no-untyped-def]
    """Join touching seeds; list (group, y, x) of groups that are bright enough.

    A group's number is that of its first seed.
    """
    count = found.shape[0]
    parents = np.arange(count)
    first = 0
    for i in range(count):
        y, x = found[i, 0], found[i, 1]
        if i > 0 and found[i - 1, 0] == y and found[i - 1, 1] == x - 1:
            parents[i] = _root(parents, i - 1)
        while found[first, 0] < y - 1 or (found[first, 0] == y - 1 and found[first, 1] < x - 1):
            first += 1
        j = first
        while found[j, 0] == y - 1 and found[j, 1] <= x + 1:
            a, b = _root(parents, i), _root(parents, j)
            parents[max(a, b)] = min(a, b)
            j += 1
    sums = np.zeros(count)
    for i in range(count):
        sums[_root(parents, i)] += np.float64(image[found[i, 0], found[i, 1]]) - level
    kept = np.empty((count, 3), np.int64)
    used = 0
    for i in range(count):
        group = _root(parents, i)
        if sums[group] >= least:
            kept[used, 0], kept[used, 1], kept[used, 2] = group, found[i, 0], found[i, 1]
            used += 1
    return kept[:used]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def join(image, variance, flags, pixels, level, limits):  # type: ignore[no-untyped-def]
    """One round: list (group, y, x) of pixels beside the runs of each group that join it.

    They are set to the background at once. `pixels` are sorted.
    """
    rows, columns = image.shape
    joined = np.empty((256, 3), np.int64)
    count, i = 0, 0
    while i < pixels.shape[0]:
        group, y, first = pixels[i, 0], pixels[i, 1], pixels[i, 2]
        last = first
        i += 1
        while i < pixels.shape[0] and pixels[i, 0] == group and pixels[i, 1] == y:
            if pixels[i, 2] != last + 1:
                break
            last += 1
            i += 1
        for row in range(max(y - 1, 2), min(y + 2, rows - 2)):
            for x in range(max(first - 1, 2), min(last + 2, columns - 2)):
                if flags[row, x]:
                    continue
                expected = _expected(
                    image[row - 1],
                    image[row],
                    image[row + 1],
                    variance[row - 1],
                    variance[row],
                    variance[row + 1],
                    np.uint64(x),
                    level,
                    limits,
                )
                if np.isnan(expected):
                    continue
                if count == joined.shape[0]:
                    joined = _longer(joined)
                joined[count, 0], joined[count, 1], joined[count, 2] = group, row, x
                count += 1
                flags[row, x] = True
                image[row, x] = level
    return joined[:count]
