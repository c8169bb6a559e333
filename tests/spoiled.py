"""Faults put into simulated raw frames, for tests of what finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

Change = Callable[[Mapping[str, np.ndarray], Any], None]


def spoil(path: Path, detector, change: Change, **header) -> None:
    """Change the raw pixels of a file in place.

    `change` gets the raw arrays by amplifier name, as float64, which are rounded afterwards, and
    the detector. `header` are cards of the primary header.
    """
    with fits.open(path, mode="update") as hdus:
        arrays = {a.name: hdus[a.source.hdu].data.astype(np.float64) for a in detector.amplifiers}
        change(arrays, detector)
        for amplifier in detector.amplifiers:
            hdu = hdus[amplifier.source.hdu]
            hdu.data[...] = np.clip(np.rint(arrays[amplifier.name]), 0, 65535)
        for key, value in header.items():
            hdus[0].header[key] = value


def imaging(arrays, detector, amp):
    """The imaging pixels of an amplifier, as a view in the readout frame of the file."""
    amplifier = next(a for a in detector.amplifiers if a.name == amp)
    return arrays[amp][amplifier.imaging.rows, amplifier.imaging.columns]
