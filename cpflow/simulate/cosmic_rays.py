"""Cosmic rays: straight tracks through the silicon, of which every pixel is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpflow.camera import Detector
from cpflow.options import Options


class CosmicRays(Options):
    """How many, and how much charge."""

    rate: float = 0.02
    """Tracks per square centimetre and second."""
    electrons_per_micron: float = 80.0
    """Mean charge per micrometre of silicon, that of a minimum ionising particle."""
    scatter: float = 0.4
    """Standard deviation of the logarithm of a track's charge per micrometre."""
    thickness: float = 100.0
    """Micrometres of silicon."""


class Hits(NamedTuple):
    """Pixels that tracks have crossed, each pixel once."""

    y: NDArray[np.int32]
    x: NDArray[np.int32]
    electrons: NDArray[np.float32]


def draw_cosmic_rays(
    model: CosmicRays, detector: Detector, seconds: float, rng: np.random.Generator
) -> Hits:
    """Draw the cosmic rays of one exposure.

    The number of tracks is Poisson, ``rate * area * seconds``. A track enters anywhere, in any
    direction, at a zenith angle t with the flux of a horizontal plane under ``cos^2 t``, so that
    ``cos^4 t`` is uniform. It is ``thickness * tan t`` long on the detector and deposits
    ``electrons_per_micron * thickness / cos t`` times a log-normal factor of mean 1.

    Parameters
    ----------
    model : CosmicRays
        Sizes.
    detector : Detector
        Gives the area; a camera file without a pixel size is taken to have 0.01 mm.
    seconds : float
        Dark time: rays leave charge whether or not the shutter is open.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    Hits
    """
    size = detector.pixel_size_mm or 0.01
    rows, columns = detector.shape
    area = rows * columns * (size / 10) ** 2
    image: dict[int, float] = {}
    for _ in range(int(rng.poisson(model.rate * area * seconds))):
        cosine = max(float(rng.random()) ** 0.25, 0.02)
        azimuth = rng.uniform(0, 2 * np.pi)
        length = model.thickness / 1000 / size * np.sqrt(1 - cosine**2) / cosine
        factor = np.exp(model.scatter * rng.standard_normal() - model.scatter**2 / 2)
        charge = model.electrons_per_micron * model.thickness / cosine * factor
        # Four points in each pixel of the track share its charge.
        along = np.linspace(0, length, int(4 * length) + 1)
        x = np.floor(rng.uniform(0, columns) + along * np.cos(azimuth)).astype(int)
        y = np.floor(rng.uniform(0, rows) + along * np.sin(azimuth)).astype(int)
        inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        places, counts = np.unique(y[inside] * columns + x[inside], return_counts=True)
        for place, count in zip(places.tolist(), counts.tolist(), strict=True):
            image[place] = image.get(place, 0.0) + charge * count / along.size
    flat = np.array(sorted(image), np.int64)
    electrons = np.array([image[int(place)] for place in flat], np.float32)
    return Hits((flat // columns).astype(np.int32), (flat % columns).astype(np.int32), electrons)
