"""Full wells, and the charge that bleeds along columns out of them."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cpflow.camera import Detector
from cpflow.options import Options


class Saturation(Options):
    """Depth of the wells."""

    full_well: float = 150_000.0
    """Electrons that a pixel holds."""
    scatter: float = 0.02
    """Relative standard deviation from amplifier to amplifier."""


def draw_full_wells(
    model: Saturation, detector: Detector, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the full well of the pixels of each amplifier (amp) in electrons."""
    return model.full_well * (1 + model.scatter * rng.standard_normal(len(detector.amplifiers)))


def bleed(charge: NDArray[np.float32], detector: Detector, wells: NDArray[np.float64]) -> None:
    """Move what exceeds the full well along the columns, in place.

    The excess of each pixel goes half up and half down its column to the nearest pixels that have
    room. It stays within its amplifier: what reaches the serial register, or the channel stop in
    the middle of the detector, is lost. Charge is thus conserved unless a trail reaches an end.

    Parameters
    ----------
    charge : ndarray of float32 (y, x)
        Electrons.
    detector : Detector
        Its amplifiers bound the trails.
    wells : ndarray of float64 (amp)
        Electrons.
    """
    for amplifier, well in zip(detector, wells, strict=True):
        place = amplifier.detector_box
        part = charge[place.rows, place.columns]
        for column in np.flatnonzero(part.max(axis=0) > well):
            trail = part[:, column].astype(np.float64)
            _bleed_column(trail, float(well))
            part[:, column] = trail


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _bleed_column(trail: NDArray[np.float64], well: float) -> None:
    excess = np.maximum(trail - well, 0.0)
    trail -= excess
    # Each way on its own: carry what is left over from pixel to pixel until there is room.
    for way in range(2):
        carried = 0.0
        for i in range(trail.size):
            y = i if way == 0 else trail.size - 1 - i
            room = min(carried, well - trail[y])
            trail[y] += room
            carried += excess[y] / 2 - room
