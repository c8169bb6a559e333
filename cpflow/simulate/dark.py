"""Dark current: a smooth map, and the glow of the output amplifiers.

Expected electrons of a pixel without light: ``rate(y, x) * dark_time``; their number is Poisson.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpflow.camera import Detector
from cpflow.options import Options
from cpflow.simulate.geometry import flip


class Dark(Options):
    """Sizes of the dark current."""

    rate: float = 0.03
    """Mean of the smooth map in electron/s."""
    gradient: float = 0.2
    """Relative change of the smooth map from the middle to the ends of the detector's diagonal."""
    glow: float = 0.05
    """Extra rate in electron/s of the first pixel that each amplifier reads out."""
    glow_extent: float = 0.08
    """Fraction of the amplifier's rows and columns in which the glow decays by a factor e."""


def dark_rate(model: Dark, detector: Detector) -> NDArray[np.float32]:
    """Return the dark current of each pixel.

    With s from -1 to 1 along the diagonal of the detector, and u, v the fractions of an
    amplifier's columns and rows in readout order, the rate is
    ``rate * (1 + gradient * s) + glow * exp(-(u + v) / glow_extent)``.

    Returns
    -------
    ndarray of float32 (y, x)
        Electron/s.
    """
    rows, columns = detector.shape
    s = np.linspace(-1, 1, rows)[:, None] / 2 + np.linspace(-1, 1, columns)[None, :] / 2
    rate = (model.rate * (1 + model.gradient * s)).astype(np.float32)
    rows, columns = detector.imaging_shape
    v, u = (np.arange(rows) / rows)[:, None], (np.arange(columns) / columns)[None, :]
    glow = model.glow * np.exp(-(u + v) / model.glow_extent)
    for amplifier in detector:
        place = amplifier.detector_box
        rate[place.rows, place.columns] += flip(glow, amplifier.flip_x, amplifier.flip_y)
    return rate
