"""Rows of one image of a FITS file, as stored numbers, read where a layout says they are."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import RawError
from cpflow.io.layout import HduLayout
from cpflow.io.pread import pread_into
from cpflow.io.tiles import read_tiles

_scratch = threading.local()


def read_stored(descriptor: int, path: str, hdu: HduLayout, start: int, stop: int) -> Any:
    """Read rows of an image as stored numbers (no BZERO, no blanks).

    Parameters
    ----------
    descriptor : int
        The open file.
    path : str
        Its path.
    hdu : HduLayout
    start, stop : int
        Rows of the image, counted as stored.

    Returns
    -------
    ndarray, shape (stop - start, columns)
        In any byte order. Plain rows lie in a buffer of this thread that the next call reuses.

    Raises
    ------
    RawError
        If the file has changed since its layout was recorded.
    """
    if hdu.kind == "plain":
        return _read_plain(descriptor, path, hdu, start, stop)
    if hdu.kind == "rice":
        tiles = read_tiles(descriptor, path, hdu, start, stop)
        if tiles is not None:
            return tiles
    return _read_with_astropy(path, hdu, start, stop)


def _read_plain(
    descriptor: int, path: str, hdu: HduLayout, start: int, stop: int
) -> npt.NDArray[Any]:
    row_bytes = hdu.columns * int(hdu.stored[1:])
    # A reused buffer is several times faster to fill than fresh memory (layout.md, "Reading").
    buffer = _buffer((stop - start) * row_bytes)
    pread_into(descriptor, path, hdu.hdu, buffer, hdu.offset + start * row_bytes)
    rows: npt.NDArray[Any] = buffer.view(f">{hdu.stored}").reshape(stop - start, hdu.columns)
    return rows


def _buffer(size: int) -> npt.NDArray[np.uint8]:
    buffer: npt.NDArray[np.uint8] | None = getattr(_scratch, "buffer", None)
    if buffer is None or len(buffer) < size:
        buffer = _scratch.buffer = np.empty(size, np.uint8)
    return buffer[:size]


def _read_with_astropy(path: str, hdu: HduLayout, start: int, stop: int) -> npt.NDArray[Any]:
    from astropy.io import fits

    # Scaled pixels are astropy's business; whole numbers are wanted as they are stored.
    scaled = hdu.stored[0] == "f"
    try:
        with fits.open(path, memmap=False, do_not_scale_image_data=not scaled) as hdus:
            section = hdus[hdu.hdu].section[start:stop, 0 : hdu.columns]
            return np.asarray(section)
    except (OSError, IndexError, ValueError, TypeError, EOFError) as error:
        raise RawError(
            f"HDU {hdu.hdu} cannot be read: {error}",
            file=path,
            hint="check it with `fitsverify`, copy it again, or leave it out",
        ) from error
