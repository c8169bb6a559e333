"""Rows of a RICE-compressed image: find the tiles that hold them, read these alone, decode."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import RawError
from cpflow.io.layout import HduLayout, RiceTable
from cpflow.io.pread import pread_into

_HINT = "check it with `fitsverify`, copy it again, or leave it out"


def read_tiles(
    descriptor: int, path: str, hdu: HduLayout, start: int, stop: int
) -> npt.NDArray[Any] | None:
    """Read and decode rows of a RICE-compressed image.

    Returns
    -------
    ndarray, shape (stop - start, columns), or None
        Stored numbers in native byte order. None where a tile has been stored in another way than
        RICE, which the standard allows; astropy reads such an image.

    Raises
    ------
    RawError
        If descriptors or tiles make no sense.
    """
    table = hdu.rice
    if table is None:
        raise ValueError("not a RICE-compressed image")
    first, last = start // table.tile_rows, -(-stop // table.tile_rows)
    lengths, offsets = _descriptors(descriptor, path, hdu, table, first, last)
    if not lengths.all():
        return None
    low, high = int(offsets.min()), int((offsets + lengths).max())
    if (lengths < 0).any() or low < 0 or table.heap + high > os.fstat(descriptor).st_size:
        raise RawError(f"HDU {hdu.hdu}: its table of tiles is damaged", file=path, hint=_HINT)
    # Tiles of neighbouring rows lie one after the other in the heap, so one read gets them all.
    heap = np.empty(high - low, np.uint8)
    pread_into(descriptor, path, hdu.hdu, heap, table.heap + low)
    rows = min(last * table.tile_rows, hdu.rows) - first * table.tile_rows
    out = np.empty((rows, hdu.columns), hdu.stored)
    _decode(path, hdu, table, heap, offsets - low, lengths, out)
    return out[start - first * table.tile_rows :][: stop - start]


def _descriptors(
    descriptor: int, path: str, hdu: HduLayout, table: RiceTable, first: int, last: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return length and offset in the heap of tiles `first` to `last`."""
    rows = np.empty((last - first) * table.row_bytes, np.uint8)
    pread_into(descriptor, path, hdu.hdu, rows, hdu.offset + first * table.row_bytes)
    number = np.dtype(">i8" if table.wide else ">i4")
    cells = rows.reshape(last - first, table.row_bytes)[:, table.column :][:, : 2 * number.itemsize]
    pairs = np.ascontiguousarray(cells).view(number).astype(np.int64)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


def _decode(
    path: str,
    hdu: HduLayout,
    table: RiceTable,
    heap: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    out: npt.NDArray[Any],
) -> None:
    # Loading numba takes a while, and scanning files needs none of it.
    from cpflow.kernels.rice import decode_tiles

    # The last tile of an image may have fewer rows than the others.
    rows, tile_rows = out.shape[0], table.tile_rows
    whole = rows // tile_rows
    try:
        decode_tiles(
            heap,
            offsets[:whole],
            lengths[:whole],
            out[: whole * tile_rows].reshape(whole, -1),
            blocksize=table.blocksize,
        )
        if whole < len(offsets):
            rest = out[whole * tile_rows :].reshape(1, -1)
            decode_tiles(heap, offsets[whole:], lengths[whole:], rest, blocksize=table.blocksize)
    except ValueError as error:
        raise RawError(f"HDU {hdu.hdu}: {error}", file=path, hint=_HINT) from error
