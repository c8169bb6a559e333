"""Rows of raw areas in the readout frame, read where the layout of a scanned file says they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import RawError
from cpflow.io.fits_file import raw_file
from cpflow.io.layout import FileLayout, HduLayout
from cpflow.io.placement import adjust_detector
from cpflow.io.rows import read_stored

_REINGEST = "ingest the file again"


def adjusted_detector(detector: Detector, layout: Mapping[str, Any]) -> Detector:
    """Return a detector with the overscans that one file has; mostly the detector itself.

    Raises
    ------
    RawError
        If the raw areas of the file do not fit the detector.
    """
    rows, columns = layout["raw"]
    return adjust_detector(detector, (rows, columns))


def read_frame(path: str | Path, layout: Mapping[str, Any], detector: Detector) -> npt.NDArray[Any]:
    """Read the whole raw areas of all amplifiers; see `read_rows`."""
    return read_rows(path, layout, detector, slice(None))


def read_rows(
    path: str | Path,
    layout: Mapping[str, Any],
    detector: Detector,
    rows: slice,
    out: npt.NDArray[Any] | None = None,
) -> npt.NDArray[Any]:
    """Read the same rows of all amplifiers in the readout frame. Safe to call from many threads.

    Parameters
    ----------
    path : str or path
        Of the file.
    layout : mapping
        `RawFile.layout`.
    detector : Detector
        Says how stored pixels turn into the readout frame.
    rows : slice
        Contiguous rows of the raw area, parallel overscan included, counted in readout order.
    out : ndarray, optional
        Where to put them.

    Returns
    -------
    ndarray, shape (amplifier, row, raw column)
        Native byte order and the type of the file: unsigned where BZERO says so. Where an integer
        file declares a BLANK, float32 with NaN for blank pixels.

    Raises
    ------
    RawError
        If the file is gone, has changed since it was scanned, or cannot be decoded.
    OSError
        If the file system fails in another way; trying again may help.
    """
    name = str(path)
    file = FileLayout.from_dict(layout)
    raw_rows, columns = layout["raw"]
    start, stop, step = rows.indices(raw_rows)
    if step != 1:
        raise ValueError("rows must be contiguous")
    places = layout["amplifiers"]
    if len(places) != len(detector.amplifiers):
        raise RawError(
            f"the layout has {len(places)} amplifiers, the camera {len(detector.amplifiers)}",
            file=name,
            detector=detector.id,
            hint=_REINGEST,
        )
    count = max(stop - start, 0)
    shape = len(places), count, columns
    if out is None:
        dtypes = {hdu.dtype for hdu in file.hdus.values()}
        out = np.empty(shape, np.result_type(*dtypes))
    elif out.shape != shape:
        raise ValueError(f"`out` has shape {out.shape}, {shape} is needed")
    if count == 0:
        return out
    areas = []
    for index, (hdu, x0, y0) in enumerate(places):
        source = detector.amplifiers[index].source
        areas.append((hdu, y0 + (raw_rows - stop if source.flip_y else start), x0, index))
    with raw_file(path) as descriptor:
        size = os.fstat(descriptor).st_size
        if size != file.size:
            raise RawError(
                f"the file {'is truncated' if size < file.size else 'has changed'}: it has {size} "
                f"bytes, it had {file.size} when it was ingested",
                file=name,
                hint="restore it, or ingest it again",
            )
        # Amplifiers side by side in one image share a block, which the next block may overwrite.
        for (hdu, first), group in groupby(sorted(areas), key=lambda area: area[:2]):
            block = read_stored(descriptor, name, file.hdus[hdu], first, first + count)
            for _, _, x0, index in group:
                source = detector.amplifiers[index].source
                part = block[:, x0 : x0 + columns]
                turned = part[:: -1 if source.flip_y else 1, :: -1 if source.flip_x else 1]
                if turned.shape != shape[1:]:
                    raise RawError(f"HDU {hdu} is smaller than it was", file=name, hint=_REINGEST)
                _store(turned, file.hdus[hdu], out[index])
    return out


def _store(stored: npt.NDArray[Any], hdu: HduLayout, out: npt.NDArray[Any]) -> None:
    """Turn stored numbers into pixels."""
    same = out.dtype == np.dtype(hdu.integer)
    pixels = out if same else np.empty(out.shape, hdu.integer)
    if hdu.flipped_sign:
        pixels.view(hdu.stored)[...] = stored
        # BZERO is half the range of the type, so adding it is turning over the highest bit.
        size = pixels.dtype.itemsize
        unsigned = pixels.view(f"u{size}")
        unsigned ^= unsigned.dtype.type(1 << (8 * size - 1))
    else:
        pixels[...] = stored
    if pixels is not out:
        out[...] = pixels
    if hdu.blank is not None:
        out[stored == hdu.blank] = np.nan
