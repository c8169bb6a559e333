"""Decode tiles of integers that were Rice-compressed as the FITS standard describes (RICE_1).

A tile begins with its first pixel as it is. Then, in blocks of 16 or 32 pixels, follow differences
to the pixel before, mapped to 0, 1, 2, 3, 4 ... for 0, -1, 1, -2, 2 ...; a code in front of each
block says how many low bits of a difference are written out, with the rest before them as so many
zero bits and a one. Two codes are special: all differences are zero; all are written in full.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba.cpython.unsafe.numbers import leading_zeros

_U0 = np.uint64(0)
_U1 = np.uint64(1)
_U3 = np.uint64(3)
_U8 = np.uint64(8)
_U56 = np.uint64(56)
_U63 = np.uint64(63)
_U64 = np.uint64(64)

# Bytes of the scratch copy behind the end of a tile. A block that runs off the end is noticed after
# it, or where a run of zeros fills the buffer; until then it reads at most 32 pixels of 8 bytes.
_MARGIN = 320

# Per bytes of a pixel: bits of a block's code, and the code of differences written in full.
_CODES = {1: (3, 6), 2: (4, 14), 4: (5, 25)}

_OVERRUN = 1
_BAD_CODE = 2
_LEFT_OVER = 3
_PROBLEMS = {
    _OVERRUN: "its data end early",
    _BAD_CODE: "it has a block code or a difference that does not exist",
    _LEFT_OVER: "data are left over",
}


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _refill(data, at, bits, valid):  # type: ignore[no-untyped-def]
    """Top up the bit buffer, which holds `valid` bits from its upper end, to 56 or more."""
    word = (
        (np.uint64(data[at]) << np.uint64(56))
        | (np.uint64(data[at + np.uint64(1)]) << np.uint64(48))
        | (np.uint64(data[at + np.uint64(2)]) << np.uint64(40))
        | (np.uint64(data[at + np.uint64(3)]) << np.uint64(32))
        | (np.uint64(data[at + np.uint64(4)]) << np.uint64(24))
        | (np.uint64(data[at + np.uint64(5)]) << np.uint64(16))
        | (np.uint64(data[at + np.uint64(6)]) << np.uint64(8))
        | np.uint64(data[at + np.uint64(7)])
    )
    # Bits of a byte that does not fit as a whole go in too: they come again, the same.
    return at + ((_U63 - valid) >> _U3), bits | (word >> valid), valid | _U56


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _take(bits, count):  # type: ignore[no-untyped-def]
    """Return the upper `count` bits, 0 to 63 of them."""
    return (bits >> _U1) >> (_U63 - count)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _decode(data, size, bytepix, code_bits, full, blocksize, out):  # type: ignore[no-untyped-def]
    """Decode one tile from the first `size` bytes of `data`; returns 0 or what is wrong."""
    code_size, escape = np.uint64(code_bits), np.uint64(full + 1)
    width = np.uint64(8 * bytepix)
    # Sign extension of what has fewer bits than a word; bytes are unsigned.
    unsigned = bytepix == 1
    half = np.int64(1) << np.int64(8 * bytepix - 1)
    modulus = (np.uint64(1) << width) - _U1
    last = _U0
    for i in range(bytepix):
        last = (last << _U8) | np.uint64(data[i])
    at, bits, valid = np.uint64(bytepix), _U0, _U0
    end = np.uint64(8 * size)
    pixels = out.shape[0]
    for first in range(0, pixels, blocksize):
        stop = min(first + blocksize, pixels)
        at, bits, valid = _refill(data, at, bits, valid)
        code = _take(bits, code_size)
        bits <<= code_size
        valid -= code_size
        if code > escape:
            return _BAD_CODE
        if code == _U0:
            value = np.int64(last)
            if not unsigned and value >= half:
                value -= np.int64(modulus) + 1
            for i in range(first, stop):
                out[i] = value
        elif code == escape:
            for i in range(first, stop):
                at, bits, valid = _refill(data, at, bits, valid)
                mapped = _take(bits, width)
                bits <<= width
                valid -= width
                last = (last + ((mapped >> _U1) ^ (_U0 - (mapped & _U1)))) & modulus
                value = np.int64(last)
                if not unsigned and value >= half:
                    value -= np.int64(modulus) + 1
                out[i] = value
        else:
            low = code - _U1
            most = modulus >> low
            for i in range(first, stop):
                at, bits, valid = _refill(data, at, bits, valid)
                zeros = np.uint64(leading_zeros(bits))
                if zeros + low < _U56:
                    bits <<= zeros
                    bits <<= _U1
                    valid -= zeros + _U1 + low
                else:
                    zeros = _U0
                    while bits < (_U1 << (_U64 - valid)):
                        zeros += valid
                        bits, valid = _U0, _U0
                        if zeros > most or _U8 * at > end:
                            return _OVERRUN if _U8 * at > end else _BAD_CODE
                        at, bits, valid = _refill(data, at, bits, valid)
                    rest = np.uint64(leading_zeros(bits))
                    zeros += rest
                    bits <<= rest
                    valid -= rest
                    at, bits, valid = _refill(data, at, bits, valid)
                    bits <<= _U1
                    valid -= _U1 + low
                if zeros > most:
                    return _BAD_CODE
                mapped = (zeros << low) | _take(bits, low)
                bits <<= low
                last = (last + ((mapped >> _U1) ^ (_U0 - (mapped & _U1)))) & modulus
                value = np.int64(last)
                if not unsigned and value >= half:
                    value -= np.int64(modulus) + 1
                out[i] = value
        if _U8 * at - valid > end:
            return _OVERRUN
    # Writers fill the last byte, and perhaps a word.
    return _LEFT_OVER if end - (_U8 * at - valid) >= _U64 else 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _decode_tiles(heap, offsets, lengths, bytepix, code_bits, full, blocksize, out):  # type: ignore[no-untyped-def]
    scratch = np.zeros(lengths.max() + _MARGIN, np.uint8)
    for tile in range(out.shape[0]):
        size = lengths[tile]
        scratch[:size] = heap[offsets[tile] : offsets[tile] + size]
        scratch[size : size + _MARGIN] = 0
        problem = _decode(scratch, size, bytepix, code_bits, full, blocksize, out[tile])
        if problem != 0:
            return tile, problem
    return -1, 0


def decode_tiles(
    heap: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    out: npt.NDArray[Any],
    *,
    bytepix: int | None = None,
    blocksize: int = 32,
) -> None:
    """Decode RICE_1 tiles of one size.

    Parameters
    ----------
    heap : array of uint8, shape (bytes,)
        The heap of the binary table, or any piece of the file that holds the tiles.
    offsets, lengths : array of int64, shape (tiles,)
        Where in `heap` each tile is, in bytes: the descriptors of the table's column.
    out : array of int32, int16 or uint8, shape (tiles, pixels)
        Receives the integers as stored: BZERO and BSCALE are not applied.
    bytepix : int, optional
        BYTEPIX of the compression: 1, 2 or 4. The size of `out`'s type if not given, and never
        more. Pixels of one byte are unsigned, others signed.
    blocksize : int
        BLOCKSIZE of the compression: 16 or 32.

    Raises
    ------
    ValueError
        If a tile lies outside the heap or does not decode to its number of pixels, naming the tile;
        or an argument is not as described. Data that are wrong in a way that still decodes are not
        noticed: that takes the file's checksum.

    Notes
    -----
    FITS standard 4.0, section 10.4.1. The GIL is released.
    """
    if out.dtype not in (np.int32, np.int16, np.uint8) or out.ndim != 2:
        raise ValueError(f"tiles decode to rows of int32, int16 or uint8, not {out.dtype}")
    size = out.dtype.itemsize if bytepix is None else bytepix
    if size not in _CODES or size > out.dtype.itemsize:
        raise ValueError(f"pixels of {size} bytes cannot be decoded to {out.dtype}")
    if blocksize not in (16, 32):
        raise ValueError(f"blocks have 16 or 32 pixels, not {blocksize}")
    starts = np.ascontiguousarray(offsets, np.int64)
    counts = np.ascontiguousarray(lengths, np.int64)
    if starts.shape != out.shape[:1] or counts.shape != out.shape[:1]:
        raise ValueError(
            f"{out.shape[0]} tiles have {starts.size} offsets and {counts.size} lengths"
        )
    data = np.ascontiguousarray(heap)
    if data.dtype != np.uint8 or data.ndim != 1:
        raise ValueError(f"a heap is a row of bytes, not {data.ndim}-dimensional {data.dtype}")
    if out.size == 0:
        return
    outside = (starts < 0) | (counts < size) | (starts > data.size - counts)
    if outside.any():
        tile = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"tile {tile} of {counts[tile]} bytes at {starts[tile]} is not inside the "
            f"{data.size} bytes of the heap"
        )
    tile, problem = _decode_tiles(data, starts, counts, size, *_CODES[size], blocksize, out)
    if problem:
        raise ValueError(f"tile {tile} cannot be decoded: {_PROBLEMS[problem]}")
