"""Blocks of a stack: a few pixels of all exposures in a small buffer, ready to be sorted."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from cpflow.kernels.sorting import LANES, STRIDE

# Blocks that are read together: long runs of one exposure use memory well, as long as a tile stays
# in first-level cache until it is sorted.
_MOST_BLOCKS = 4
_CACHE = 36 * 1024

LARGEST = np.float32(3.4028234663852886e38)
_INFINITE = np.float32(np.inf)
_LANES = np.uint64(LANES)
_STRIDE = np.uint64(STRIDE)


def aligned(shape: tuple[int, ...], dtype: type) -> npt.NDArray[Any]:
    """Return an empty array that starts on a cache line, so that no vector straddles two."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + 64, np.uint8)
    offset = -memory.ctypes.data % 64
    return memory[offset : offset + size].view(dtype).reshape(shape)


def new_tile(exposures: int) -> npt.NDArray[np.float32]:
    """Allocate the blocks of a tile, shape (blocks, floats).

    Each ends with the row of +inf that `sort_columns` asks for.
    """
    floats = (exposures + 1) * STRIDE
    tile = aligned((min(_MOST_BLOCKS, max(1, _CACHE // (4 * floats))), floats), np.float32)
    tile[:] = np.inf
    return tile


@numba.njit(cache=True, nogil=True, error_model="numpy")
def load_clean(stack, first, inverse, tile):  # type: ignore[no-untyped-def]
    """Copy a whole tile; returns whether all of its values are finite."""
    infinite = False
    start = np.uint64(first)
    for exposure in range(stack.shape[0]):
        row = stack[exposure]
        factor = inverse[exposure]
        base = np.uint64(exposure) * _STRIDE
        for part in range(np.uint64(tile.shape[0])):
            block = tile[part]
            origin = start + part * _LANES
            for lane in range(_LANES):
                value = row[origin + lane] * factor
                infinite |= not (abs(value) <= LARGEST)
                block[base + lane] = value
    return not infinite


@numba.njit(cache=True, nogil=True, error_model="numpy")
def load(stack, mask, first, width, excluded, inverse, block, good, union):  # type: ignore[no-untyped-def]
    """Copy `width` pixels to a block, +inf for what is not good.

    Counts the good values and ORs their masks, by lane; returns the least of the counts.
    """
    masked = mask.shape[0] > 0
    good[:] = 0
    union[:] = 0
    if width < LANES:
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
                keep = (abs(value) <= LARGEST) & ((bits & excluded) == 0)
                block[base + lane] = value if keep else _INFINITE
                good[lane] += np.int32(1) if keep else np.int32(0)
                union[lane] |= bits if keep else np.uint16(0)
        else:
            for lane in range(np.uint64(width)):
                value = row[start + lane] * factor
                keep = abs(value) <= LARGEST
                block[base + lane] = value if keep else _INFINITE
                good[lane] += np.int32(1) if keep else np.int32(0)
    return good.min()


@numba.njit(cache=True, nogil=True, error_model="numpy")
def any_bit(mask, first, width):  # type: ignore[no-untyped-def]
    """Whether a mask has any bit set in some pixels of any exposure."""
    bits = np.uint16(0)
    for exposure in range(mask.shape[0]):
        planes = mask[exposure]
        for pixel in range(np.uint64(first), np.uint64(first + width)):
            bits |= planes[pixel]
    return bits != 0
