"""Where in a file each amplifier's raw area is, and what to do if its size is unexpected.

The camera decides. If an image has another size than the camera says, only overscans may be the
reason: the imaging box never moves, and one that does not fit is an error (reference 1.1).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cpflow.camera import Amplifier, Box, Detector
from cpflow.errors import RawError
from cpflow.io.cards import Hdu
from cpflow.io.fits_file import FitsFile

logger = logging.getLogger(__name__)

_HINT = "if the camera has changed, write an instrument file for it; else leave the file out"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an amplifier's raw area is: HDU of the file, and the first stored column and row."""

    hdu: int
    x0: int
    y0: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the amplifiers of one detector are in one file."""

    raw: tuple[int, int]
    """(rows, columns) of each raw area, as the file has them."""
    places: tuple[Place, ...]


def hdu_shift(file: FitsFile, detectors: Sequence[Detector]) -> int:
    """Return what to add to the HDU numbers of a camera to get those of this file.

    Compression moves an image of the primary HDU to HDU 1: a camera that is described with its
    pixels in HDU 0 may so be read from both kinds of file.
    """
    wanted = {amplifier.source.hdu for detector in detectors for amplifier in detector}
    return 1 if 0 in wanted and not file.hdus[0].is_image and len(file.hdus) > 1 else 0


def place_amplifiers(file: FitsFile, detector: Detector, shift: int) -> Placement:
    """Find the amplifiers of a detector in a file.

    Raises
    ------
    RawError
        If an HDU is missing or holds no image, or the imaging boxes do not fit.
    """
    sizes: set[tuple[int, int]] = set()
    places: list[Place] = []
    extents = _extents(detector)
    for amplifier in detector:
        hdu = _image_hdu(file, amplifier, shift)
        size, place = _fit(hdu, amplifier, extents[amplifier.source.hdu], file.path)
        sizes.add(size)
        places.append(place)
    if len(sizes) > 1:
        shown = ", ".join(f"{columns} x {rows}" for rows, columns in sorted(sizes))
        raise RawError(
            f"the amplifiers have different sizes: {shown} columns x rows",
            file=file.path,
            detector=detector.id,
            hint=_HINT,
        )
    placement = Placement(sizes.pop(), tuple(places))
    if placement.raw != detector.raw_shape:
        adjusted = adjust_detector(detector, placement.raw, file.path)
        logger.warning(
            "%s: raw areas are %d x %d, the camera says %d x %d (columns x rows): serial overscan "
            "taken as x %d..%d, parallel overscan as y %d..%d",
            file.path,
            *placement.raw[::-1],
            *detector.raw_shape[::-1],
            *_interval(adjusted.amplifiers[0].serial_overscan, "x"),
            *_interval(adjusted.amplifiers[0].parallel_overscan, "y"),
        )
    return placement


def _interval(box: Box, axis: str) -> tuple[int, int]:
    return (box.x0, box.x1 - 1) if axis == "x" else (box.y0, box.y1 - 1)


def _extents(detector: Detector) -> dict[int, tuple[int, int]]:
    """Return the (rows, columns) that the camera expects of each HDU."""
    extents: dict[int, tuple[int, int]] = {}
    for amplifier in detector:
        box = amplifier.source.box
        rows, columns = extents.get(amplifier.source.hdu, (0, 0))
        extents[amplifier.source.hdu] = max(rows, box.y1), max(columns, box.x1)
    return extents


def _image_hdu(file: FitsFile, amplifier: Amplifier, shift: int) -> Hdu:
    index = amplifier.source.hdu + shift
    if index >= len(file.hdus):
        raise RawError(
            f"amplifier {amplifier.name} should be in HDU {index}, the file ends before",
            file=file.path,
            hint="it may be truncated: copy it again, or leave it out",
        )
    hdu = file.hdus[index]
    if not hdu.is_image:
        raise RawError(
            f"amplifier {amplifier.name} should be in HDU {index}, which holds no image",
            file=file.path,
            hint=_HINT,
        )
    return hdu


def _fit(
    hdu: Hdu, amplifier: Amplifier, extent: tuple[int, int], path: str
) -> tuple[tuple[int, int], Place]:
    """Return the raw size that an amplifier has in this HDU, and its place."""
    shape = hdu.image_shape
    box = amplifier.source.box
    if shape == extent:
        return amplifier.raw, Place(hdu.index, box.x0, box.y0)
    # Raw areas that tile the image share what is more or less.
    counts = extent[0] // box.height, extent[1] // box.width
    if (
        (counts[0] * box.height, counts[1] * box.width) != extent
        or shape[0] % counts[0]
        or shape[1] % counts[1]
        or box.y0 % box.height
        or box.x0 % box.width
    ):
        raise RawError(
            f"HDU {hdu.index} is {shape[1]} x {shape[0]}, the camera says "
            f"{extent[1]} x {extent[0]} (columns x rows)",
            file=path,
            hint=_HINT,
        )
    raw = shape[0] // counts[0], shape[1] // counts[1]
    x0, y0 = box.x0 // box.width * raw[1], box.y0 // box.height * raw[0]
    return raw, Place(hdu.index, x0, y0)


def adjust_detector(detector: Detector, raw: tuple[int, int], path: str | None = None) -> Detector:
    """Return the detector with the overscans that raw areas of another size have.

    Raises
    ------
    RawError
        If the imaging boxes do not fit, or there is no overscan to adjust.
    """
    if raw == detector.raw_shape:
        return detector
    amplifiers = []
    for amplifier in detector:
        serial, parallel = amplifier.serial_overscan, amplifier.parallel_overscan
        boxes: dict[str, Any] = {}
        if raw[1] != amplifier.raw[1]:
            boxes["serial_overscan"] = replace(serial, width=raw[1] - serial.x0)
        if raw[0] != amplifier.raw[0]:
            boxes["parallel_overscan"] = replace(parallel, height=raw[0] - parallel.y0)
        fits = Box(0, 0, raw[1], raw[0]).contains(amplifier.imaging)
        for name, box in boxes.items():
            fits = fits and not getattr(amplifier, name).empty and not box.empty
        if not fits:
            rows, columns = amplifier.raw
            raise RawError(
                f"amplifier {amplifier.name} is {raw[1]} x {raw[0]}, the camera says "
                f"{columns} x {rows} (columns x rows): its imaging area ({amplifier.imaging}) and "
                "overscans do not fit",
                file=path,
                detector=detector.id,
                hint=_HINT,
            )
        stored = amplifier.source.box
        x0, y0 = stored.x0 // stored.width * raw[1], stored.y0 // stored.height * raw[0]
        source = replace(amplifier.source, box=Box(x0, y0, raw[1], raw[0]))
        amplifiers.append(replace(amplifier, raw=raw, source=source, **boxes))
    return replace(detector, amplifiers=tuple(amplifiers))
