"""The peers of `bias_build.py`, each run as a process of its own."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy import units
from astropy.io import fits

from cpflow.io.instrument import load_instrument


def files_of(directory: str) -> list[Path]:
    return sorted(p for p in Path(directory).iterdir() if p.name.endswith((".fits", ".fits.fz")))


def amplifiers_of(directory: str):
    (detector,) = load_instrument(Path(directory) / "instrument.yaml").camera.detectors
    return detector.amplifiers


def read(directory: str) -> None:
    for path in files_of(directory):
        with fits.open(path) as hdus:
            for amplifier in amplifiers_of(directory):
                hdus[amplifier.source.hdu].data.astype(np.float32)


def read_cpflow(repo: str) -> None:
    from cpflow.io.raw import read_rows
    from cpflow.repo import Repository

    with Repository(repo) as repository:
        for exposure, raw in repository.select(""):
            detector = repository.detector(exposure.instrument, raw.detector)
            frame = read_rows(
                str(repository.root / raw.path), raw.layout, detector,
                slice(0, detector.raw_shape[0]),
            )  # fmt: skip
            frame.astype(np.float32)


def corrected(hdus: fits.HDUList, amplifier) -> np.ndarray:
    data = hdus[amplifier.source.hdu].data.astype(np.float32)
    overscan = data[:, amplifier.serial_overscan.columns]
    data -= np.median(overscan, axis=1, keepdims=True)
    return data[amplifier.imaging.rows, amplifier.imaging.columns]


def astropy(directory: str) -> None:
    from astropy.stats import sigma_clip

    for amplifier in amplifiers_of(directory):
        frames = []
        for path in files_of(directory):
            with fits.open(path) as hdus:
                frames.append(corrected(hdus, amplifier))
        np.ma.mean(sigma_clip(np.stack(frames), sigma=3, maxiters=3, axis=0), axis=0)


def ccdproc(directory: str) -> None:
    from ccdproc import CCDData, combine, subtract_overscan, trim_image

    with tempfile.TemporaryDirectory() as scratch:
        for amplifier in amplifiers_of(directory):
            names = []
            for path in files_of(directory):
                with fits.open(path) as hdus:
                    data = hdus[amplifier.source.hdu].data.astype(np.float32)
                ccd = CCDData(data, unit=units.adu)
                ccd = subtract_overscan(
                    ccd,
                    overscan=ccd[:, amplifier.serial_overscan.columns],
                    overscan_axis=1,
                    median=True,
                )
                ccd = trim_image(ccd[amplifier.imaging.rows, amplifier.imaging.columns])
                name = str(Path(scratch) / f"{path.stem}.fits")
                ccd.data = ccd.data.astype(np.float32)
                ccd.write(name, overwrite=True)
                names.append(name)
            combine(
                names,
                method="average",
                sigma_clip=True,
                sigma_clip_low_thresh=3,
                sigma_clip_high_thresh=3,
                mem_limit=2e9,
                dtype=np.float32,
            )


if __name__ == "__main__":
    {"read": read, "read_cpflow": read_cpflow, "astropy": astropy, "ccdproc": ccdproc}[sys.argv[1]](
        sys.argv[2]
    )
