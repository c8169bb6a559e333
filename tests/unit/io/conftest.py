"""Synthetic raw files, written with astropy from arrays that the tests know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from cpflow.io.instrument import Instrument, load_instrument, scaled

# Cards of a LATISS bias of 2021, as the reference describes them.
LATISS_2021: dict[str, Any] = {
    "TIMESYS": "TAI",
    "DATE-BEG": "2021-01-21T03:04:05.250",
    "DATE-END": "2021-01-21T03:04:05.300",
    "MJD-BEG": 59235.12783854167,
    "OBSID": "AT_O_20210120_000019",
    "DAYOBS": "20210120",
    "SEQNUM": 19,
    "CONTRLLR": "O",
    "OBSTYPE": "BIAS",
    "IMGTYPE": "BIAS",
    "TESTTYPE": "BIAS",
    "REASON": "daily",
    "PROGRAM": "CALIB",
    "GROUPID": "2021-01-21T03:04:00.000",
    "OBJECT": "Park position",
    "INSTRUME": "LATISS",
    "EXPTIME": 0.0,
    "DARKTIME": 0.05,
    "FILTER": "RG610",
    "GRATING": "empty_1",
    "SEQNAME": "latiss.seq",
    "ODP": 3.4,
}


@dataclass(frozen=True)
class LatissFile:
    path: Path
    instrument: Instrument
    pixels: np.ndarray
    """(amplifier, row, column) as stored, which for LATISS is as read out."""


@pytest.fixture(scope="session")
def latiss() -> Instrument:
    """LATISS, sixteen times smaller along both axes."""
    return scaled(load_instrument("latiss"), 16)


@pytest.fixture(scope="session")
def write_latiss(latiss) -> Callable[..., LatissFile]:
    """Write a small LATISS file; cards of None are left out."""

    def write(
        path: Path,
        *,
        compress: str | None = None,
        cards: Mapping[str, Any] | None = None,
        shape: tuple[int, int] | None = None,
        seed: int = 1,
        amplifiers: int = 16,
        checksum: bool = False,
        image_cards: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> LatissFile:
        detector = latiss.camera.detectors[0]
        shape = shape or detector.raw_shape
        rng = np.random.default_rng(seed)
        pixels = 25_000 + rng.normal(0, 30, (amplifiers, *shape)).astype(np.int32)
        primary = fits.PrimaryHDU()
        for key, value in {**LATISS_2021, **(cards or {})}.items():
            if value is not None:
                primary.header[key] = value
        hdus = [primary]
        for index in range(amplifiers):
            if compress is None:
                hdu = fits.ImageHDU(pixels[index])
            else:
                hdu = fits.CompImageHDU(pixels[index], compression_type=compress, **options)
            hdu.header["EXTNAME"] = f"Segment{detector.amplifiers[index].name[1:]}"
            for key, value in (image_cards or {}).items():
                hdu.header[key] = value
            hdus.append(hdu)
        fits.HDUList(hdus).writeto(path, checksum=checksum)
        return LatissFile(path, latiss, pixels)

    return write


@pytest.fixture
def warnings_of(caplog):
    """The texts of cpflow's warnings so far."""

    def texts() -> list[str]:
        return [
            r.getMessage()
            for r in caplog.records
            if r.levelname == "WARNING" and r.name.startswith("cpflow")
        ]

    return texts


@pytest.fixture(scope="session")
def put_cards() -> Callable[..., None]:
    """Change cards of one HDU in the bytes of a file, as no library would."""

    def change(path: Path, hdu: int, cards: Mapping[str, str | None]) -> None:
        with fits.open(path, disable_image_compression=True) as hdus:
            begin = hdus.fileinfo(hdu)["hdrLoc"]
            data = hdus.fileinfo(hdu)["datLoc"]
        content = path.read_bytes()
        old = [content[at : at + 80] for at in range(begin, data, 80)]
        kept = [
            card
            for card in old
            if card[:8].decode().rstrip() not in cards and not card.startswith(b"END     ")
        ]
        while kept and not kept[-1].strip():
            kept.pop()
        new = [f"{k:<8}= {v:<70}".encode() for k, v in cards.items() if v is not None]
        header = b"".join([*kept, *new, f"{'END':<80}".encode()])
        header += b" " * (-len(header) % 2880)
        path.write_bytes(content[:begin] + header + content[data:])

    return change
