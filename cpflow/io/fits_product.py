"""Image products as FITS files in the layout that the field uses.

HDU 0 holds the header; ``IMAGE``, ``MASK`` and ``VARIANCE`` follow, and then further images, such
as binned ones. The bit of each mask plane is in a keyword ``MP_<PLANE>`` of the mask.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import ProductError
from cpflow.kernels.planes import PLANES

logger = logging.getLogger(__name__)

_SHORT = 8
_UNIT = "BUNIT"


def write_image_fits(
    path: str | Path,
    image: npt.NDArray[Any],
    variance: npt.NDArray[Any] | None,
    mask: npt.NDArray[Any] | None,
    header: Mapping[str, object],
    *,
    further: Mapping[str, npt.NDArray[Any]] | None = None,
    image_header: Mapping[str, object] | None = None,
) -> None:
    """Write an image product as a FITS file, under its name only once it is complete.

    The same content gives the same bytes, whenever it is written.

    Parameters
    ----------
    path : str or path
        An existing file is replaced.
    image : ndarray (y, x)
        Written as float32.
    variance : ndarray (y, x) or None
        Written as float32.
    mask : ndarray (y, x) or None
        Bits of `cpflow.kernels.planes.PLANES`; written as int32.
    header : mapping of str to value
        For HDU 0, in this order; ``BUNIT`` is for the image, and squared for the variance. A
        keyword longer than eight characters becomes a HIERARCH card. A value may be text, number,
        logical or None; what FITS cannot hold (NaN, letters outside ASCII) is written as text.
    further : mapping of str to ndarray (rows, columns), optional
        Images of any shape by the name of their HDU, in the unit of the image; written as float32.
    image_header : mapping of str to value, optional
        More cards for the HDU ``IMAGE``: its coordinates.

    Raises
    ------
    ProductError
        If the planes differ in shape, an HDU's name is taken or its data no image, or a keyword
        cannot be written.
    """
    from astropy.io import fits

    planes: dict[str, npt.NDArray[Any]] = {"IMAGE": np.asarray(image, np.float32)}
    if mask is not None:
        planes["MASK"] = np.asarray(mask).astype(np.int32)
    if variance is not None:
        planes["VARIANCE"] = np.asarray(variance, np.float32)
    shapes = {name: plane.shape for name, plane in planes.items()}
    if len(set(shapes.values())) > 1 or planes["IMAGE"].ndim != 2:
        raise ProductError(f"{path}: the planes must be images of one shape, not {shapes}")
    for name, plane in (further or {}).items():
        if name in ("IMAGE", "MASK", "VARIANCE") or np.ndim(plane) != 2:
            raise ProductError(f"{path}: {name} cannot be one more image, of {np.shape(plane)}")
        planes[name] = np.asarray(plane, np.float32)
    cards = dict(header)
    unit = cards.pop(_UNIT, None)
    hdus = [fits.PrimaryHDU(header=_header(cards, str(path)))]
    for name, plane in planes.items():
        hdu = fits.ImageHDU(plane, name=name)
        if name == "MASK":
            hdu.header.update(_header({f"MP_{p}": bit for bit, p in enumerate(PLANES)}, str(path)))
        elif unit:
            hdu.header[_UNIT] = _ascii(_squared(str(unit)) if name == "VARIANCE" else str(unit))
        if name == "IMAGE" and image_header:
            hdu.header.update(_header(image_header, str(path)))
        hdus.append(hdu)
    written = fits.HDUList(hdus)
    written.update_extend()
    for hdu in written:
        # astropy's comment on these cards is the time of day; leave it out.
        hdu.add_checksum(when="")
    target = Path(path)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        written.writeto(partial, output_verify="exception")
        os.replace(partial, target)  # noqa: PTH105 - says that it overwrites, on every system
    finally:
        partial.unlink(missing_ok=True)


def _squared(unit: str) -> str:
    return unit if unit == "1" else f"{unit}2" if "/" not in unit else f"({unit})2"


def _header(cards: Mapping[str, object], path: str) -> Any:
    from astropy.io import fits

    header = fits.Header()
    for key, value in cards.items():
        name = key.upper()
        try:
            if len(name) > _SHORT or " " in name:
                name = f"HIERARCH {name}"
            header.append(fits.Card(name, _value(value)), end=True)
        except ValueError as error:
            raise ProductError(f"{path}: keyword {key!r} cannot be written: {error}") from error
    return header


def _value(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    return _ascii(str(value))


def _ascii(text: str) -> str:
    plain = "".join(c if " " <= c <= "~" else "?" for c in text.replace("\n", " "))
    if plain != text:
        logger.debug("FITS headers hold ASCII only: %r is written as %r", text, plain)
    return plain
