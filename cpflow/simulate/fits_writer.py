"""Raw FITS files as a camera writes them."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from astropy.io import fits

from cpflow.simulate.digitise import Counts

Card = tuple[str, str | int | float | bool | None, str]
"""Keyword, value, comment."""


def write_raw(
    path: Path,
    images: Mapping[int, Counts],
    headers: Mapping[int, list[Card]],
    *,
    compress: Literal["none", "rice"] = "none",
    when: str = "",
) -> None:
    """Write a raw file, under its name only once it is complete.

    Parameters
    ----------
    path : Path
        Where; an existing file is replaced.
    images : mapping of int to ndarray (row, column)
        Pixels of each HDU that has some; HDU 0 may be one of them.
    headers : mapping of int to list of Card
        Cards of each HDU; HDU 0 always has some.
    compress : {'none', 'rice'}
        Losslessly RICE_1-compressed tiles of one row, or plain. An image of HDU 0 moves to HDU 1
        when compressed, as FITS allows no compressed primary image.
    when : str, optional
        Comment of the checksum cards. (astropy's own comment is the time of writing, and would
        make two files of the same content differ.)
    """
    lone = compress == "rice" and 0 in images
    hdus = [fits.PrimaryHDU(None if lone else images.get(0), _header(headers.get(0, [])))]
    if lone:
        hdus.append(_image(images[0], headers.get(0, []), compress))
    for number in range(1, max([*images, *headers]) + 1):
        hdus.append(_image(images.get(number), headers.get(number, []), compress))
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with _as_stored(fits.HDUList(hdus), compress) as stored:
            for hdu in stored:
                hdu.add_checksum(when=when)
            stored.writeto(partial, output_verify="exception")
        os.replace(partial, path)  # noqa: PTH105 - says that it overwrites, on every system
    finally:
        partial.unlink(missing_ok=True)


def _as_stored(hdus: fits.HDUList, compress: Literal["none", "rice"]) -> fits.HDUList:
    """Turn compressed images into the tables that a file holds: those are what is summed."""
    if compress == "none":
        return hdus
    written = io.BytesIO()
    hdus.writeto(written)
    written.seek(0)
    return fits.open(written, disable_image_compression=True, lazy_load_hdus=False)


def _header(cards: list[Card]) -> fits.Header:
    header = fits.Header()
    for keyword, value, comment in cards:
        header[keyword] = (value, comment)
    return header


def _image(
    pixels: Counts | None,
    cards: list[Card],
    compress: Literal["none", "rice"],
) -> object:
    if compress == "none" or pixels is None:
        return fits.ImageHDU(pixels, _header(cards))
    tile = (1, pixels.shape[1])
    return fits.CompImageHDU(pixels, _header(cards), compression_type="RICE_1", tile_shape=tile)
