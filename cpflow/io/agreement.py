"""Whether a file's headers agree with the camera. The camera decides; a warning tells."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from cpflow.camera import Amplifier, Box, Detector
from cpflow.io.cards import Hdu
from cpflow.io.fits_file import FitsFile
from cpflow.io.placement import Placement
from cpflow.io.sections import parse_section

logger = logging.getLogger(__name__)


def check_headers(
    file: FitsFile, detector: Detector, placement: Placement, names: Mapping[str, str]
) -> None:
    """Warn, once for the file, of headers that disagree with the camera; the camera decides."""
    lone = len({place.hdu for place in placement.places}) == len(placement.places)
    x0, y0 = _origin(file, detector, placement) if lone else (0, 0)
    wrong: dict[str, list[str]] = {}
    for amplifier, place in zip(detector, placement.places, strict=True):
        hdu = file.hdus[place.hdu]
        if lone:
            for key, expected in (
                ("DATASEC", _stored(amplifier)),
                ("DETSEC", _moved(amplifier.detector_box, x0, y0)),
            ):
                if not _agrees(hdu, key, expected):
                    wrong.setdefault(key, []).append(amplifier.name)
        expected_name = names.get(amplifier.name)
        if expected_name and hdu.name.lower() not in ("", expected_name.lower()):
            wrong.setdefault("EXTNAME", []).append(amplifier.name)
    if wrong:
        example = _example(file, detector, placement, wrong)
        listed = "; ".join(f"{key} of {_listed(amps)}" for key, amps in wrong.items())
        logger.warning(
            "%s: the header disagrees with the camera description, which is used: %s (%s)",
            file.path,
            listed,
            example,
        )


def _origin(file: FitsFile, detector: Detector, placement: Placement) -> tuple[int, int]:
    """Return the first column and row of a detector in the frame of DETSEC, that of a mosaic."""
    origins = set()
    for amplifier, place in zip(detector, placement.places, strict=True):
        try:
            box = parse_section(str(file.hdus[place.hdu].header.get("DETSEC")))
        except ValueError:
            return 0, 0
        origins.add((box.x0 - amplifier.detector_box.x0, box.y0 - amplifier.detector_box.y0))
    return origins.pop() if len(origins) == 1 else (0, 0)


def _moved(box: Box, x0: int, y0: int) -> Box:
    return Box(box.x0 + x0, box.y0 + y0, box.width, box.height)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} amplifiers"


def _example(
    file: FitsFile, detector: Detector, placement: Placement, wrong: Mapping[str, Sequence[str]]
) -> str:
    key, amplifiers = next(iter(wrong.items()))
    index = detector.amplifier_names.index(amplifiers[0])
    value = file.hdus[placement.places[index].hdu].header.get(key)
    return f"{key} of {amplifiers[0]} is {value!r}"


def _stored(amplifier: Amplifier) -> Box:
    """Return where the imaging box is in the pixels of its HDU."""
    rows, columns = amplifier.raw
    box, source = amplifier.imaging, amplifier.source
    x0 = columns - box.x1 if source.flip_x else box.x0
    y0 = rows - box.y1 if source.flip_y else box.y0
    return Box(source.box.x0 + x0, source.box.y0 + y0, box.width, box.height)


def _agrees(hdu: Hdu, key: str, expected: Box) -> bool:
    value = hdu.header.get(key)
    if not isinstance(value, str) or not value:
        return True
    try:
        return parse_section(value) == expected
    except ValueError:
        return False
