"""Look at a raw file once, when it is ingested: its exposure, and where its pixels are."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpflow.camera import Detector
from cpflow.errors import RawError
from cpflow.exposure import Exposure, RawFile
from cpflow.io.agreement import check_headers
from cpflow.io.checksum import check_file
from cpflow.io.fits_file import FitsFile, open_fits
from cpflow.io.layout import FileLayout, hdu_layout
from cpflow.io.placement import Placement, adjust_detector, hdu_shift, place_amplifiers
from cpflow.io.readout import adjusted_detector, read_frame, read_rows

if TYPE_CHECKING:
    from cpflow.io.instrument import Instrument

logger = logging.getLogger(__name__)

__all__ = ["ScannedRaw", "adjusted_detector", "read_frame", "read_rows", "scan_raw"]


@dataclass(frozen=True, slots=True)
class ScannedRaw:
    """What a look at a raw file gives."""

    exposure: Exposure
    raws: tuple[RawFile, ...]
    """One for each detector in the file."""
    detectors: tuple[Detector, ...] = ()
    """The detectors that the header describes, for a camera that only headers describe."""


def scan_raw(
    path: str | Path,
    instrument: Instrument,
    *,
    checksum: bool = True,
    verify_fits_checksum: bool = True,
) -> ScannedRaw:
    """Look at a raw file: which exposure it is, and where each amplifier's pixels are.

    Parameters
    ----------
    path : str or path
    instrument : Instrument
    checksum : bool
        Compute the SHA-256 of the file; if false, `RawFile.checksum` is empty.
    verify_fits_checksum : bool
        Compare DATASUM and CHECKSUM, where headers have them, with what is in the file.

    Raises
    ------
    RawError
        If the file cannot be used. Names file, HDU or keyword, and remedy.
    """
    from cpflow.io.headers import translate

    file = open_fits(path)
    headers = [hdu.header for hdu in file.hdus]
    exposure = translate(headers, instrument.rules, path, instrument.name)
    try:
        placed = _place(file, instrument)
        digest = check_file(file, sha256=checksum, fits=verify_fits_checksum)
        raws = tuple(
            RawFile(
                instrument=instrument.name,
                exposure=exposure.exposure,
                detector=detector.id,
                path=str(path),
                size=file.size,
                checksum=digest,
                layout=_layout(file, placement),
            )
            for detector, placement in placed
        )
    except RawError as error:
        error.exposure = exposure.exposure
        raise
    described = tuple(detector for detector, _ in placed) if instrument.header_geometry else ()
    return ScannedRaw(exposure, raws, described)


def _place(file: FitsFile, instrument: Instrument) -> list[tuple[Detector, Placement]]:
    """Return the detectors in a file, and where their pixels are."""
    if instrument.header_geometry is not None:
        from cpflow.io.header_geometry import detectors_from_headers

        return detectors_from_headers(file, instrument.header_geometry)
    detectors = _detectors(file, instrument)
    shift = hdu_shift(file, detectors)
    placed = []
    for detector in detectors:
        placement = place_amplifiers(file, detector, shift)
        adjusted = adjust_detector(detector, placement.raw, file.path)
        check_headers(file, adjusted, placement, instrument.extension_names(detector))
        placed.append((detector, placement))
    return placed


def _detectors(file: FitsFile, instrument: Instrument) -> tuple[Detector, ...]:
    from cpflow.io.headers import detector_of

    wanted = detector_of([hdu.header for hdu in file.hdus], instrument.rules, file.path)
    if wanted is None:
        return instrument.camera.detectors
    found = tuple(d for d in instrument.camera if wanted in (d.id, d.name))
    if not found:
        known = ", ".join(f"{d.id} ({d.name})" for d in instrument.camera.detectors[:10])
        raise RawError(
            f"the header says detector {wanted!r}, which {instrument.name} does not have",
            file=file.path,
            hint=f"its detectors are {known}",
        )
    return found


def _layout(file: FitsFile, placement: Placement) -> dict[str, Any]:
    """Return all that `read_rows` needs, JSON-able."""
    hdus = {place.hdu: hdu_layout(file, place.hdu) for place in placement.places}
    if any(hdu.kind == "astropy" for hdu in hdus.values()):
        logger.debug("%s: neither plain nor RICE: astropy reads it, more slowly", file.path)
    return {
        **FileLayout(file.size, hdus).as_dict(),
        "raw": list(placement.raw),
        "amplifiers": [[place.hdu, place.x0, place.y0] for place in placement.places],
    }
