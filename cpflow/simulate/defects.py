"""Pixels that do not behave: hot and dead ones, columns, clusters, and pixels that blink."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpflow.camera import Detector
from cpflow.options import Options

KINDS = {"HOT_PIXEL": 1, "HOT_COLUMN": 2, "DEAD_COLUMN": 4, "DEAD_CLUSTER": 8, "BLINKING": 16}
"""Bits of the defect map."""


class Defects(Options):
    """How many defects there are, and how bad.

    Numbers are per megapixel or per thousand columns, rounded for each detector.
    """

    hot_pixels: float = 100.0
    """Per megapixel."""
    hot_rate: tuple[float, float] = (2.0, 200.0)
    """Range of a hot pixel's extra dark current in electron/s; uniform in its logarithm."""
    hot_columns: float = 2.0
    """Per thousand columns; each from a random row to the last of its amplifier."""
    hot_column_rate: float = 5.0
    """Electron/s in each pixel of a hot column."""
    dead_columns: float = 2.0
    """Per thousand columns; each from a random row to the last of its amplifier."""
    dead_response: float = 0.05
    """Relative response of dead columns and clusters."""
    clusters: float = 4.0
    """Dead clusters per megapixel."""
    cluster_radius: float = 2.5
    """Pixels."""
    blinking: float = 20.0
    """Blinking pixels per megapixel."""
    blink_electrons: float = 500.0
    """Electrons that a blinking pixel has more while it is on, whatever the exposure time."""
    blink_duty: float = 0.5
    """Probability that a blinking pixel is on in an exposure."""


class DefectMaps(NamedTuple):
    """What defects do to each pixel ``(y, x)``."""

    kind: NDArray[np.uint8]
    """Bits of `KINDS`."""
    rate: NDArray[np.float32]
    """Extra dark current in electron/s."""
    response: NDArray[np.float32]
    """Factor of the response to light."""


def draw_defects(model: Defects, detector: Detector, rng: np.random.Generator) -> DefectMaps:
    """Draw the defects of a detector, at places that are uniform over it."""
    rows, columns = detector.shape
    megapixels = rows * columns / 1e6
    maps = DefectMaps(
        np.zeros(detector.shape, np.uint8),
        np.zeros(detector.shape, np.float32),
        np.ones(detector.shape, np.float32),
    )
    count = round(model.hot_pixels * megapixels)
    places = rng.choice(rows * columns, count, replace=False)
    low, high = np.log(model.hot_rate)
    maps.kind.flat[places] |= np.uint8(KINDS["HOT_PIXEL"])
    maps.rate.flat[places] += np.exp(rng.uniform(low, high, count)).astype(np.float32)
    hot, dead = (round(n * columns / 1000) for n in (model.hot_columns, model.dead_columns))
    for number, kind in ((hot, "HOT_COLUMN"), (dead, "DEAD_COLUMN")):
        for _ in range(number):
            trail = _draw_column(detector, rng)
            maps.kind[trail] |= np.uint8(KINDS[kind])
            if kind == "HOT_COLUMN":
                maps.rate[trail] += model.hot_column_rate
            else:
                maps.response[trail] = model.dead_response
    y, x = np.ogrid[:rows, :columns]
    for _ in range(round(model.clusters * megapixels)):
        centre = rng.integers(rows), rng.integers(columns)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= model.cluster_radius**2
        maps.kind[inside] |= np.uint8(KINDS["DEAD_CLUSTER"])
        maps.response[inside] = model.dead_response
    places = rng.choice(rows * columns, round(model.blinking * megapixels), replace=False)
    maps.kind.flat[places] |= np.uint8(KINDS["BLINKING"])
    return maps


def _draw_column(detector: Detector, rng: np.random.Generator) -> tuple[slice, int]:
    """Draw part of a column: charge is held up on the far side of a fault from the readout."""
    amplifier = detector.amplifiers[rng.integers(len(detector.amplifiers))]
    place = amplifier.detector_box
    column = int(rng.integers(place.x0, place.x1))
    row = int(rng.integers(place.y0, place.y1))
    return (slice(place.y0, row + 1) if amplifier.flip_y else slice(row, place.y1)), column


def draw_blinking(
    model: Defects, kind: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw which blinking pixels are on in an exposure: their (rows, columns)."""
    rows, columns = np.nonzero(kind & KINDS["BLINKING"])
    on = rng.random(rows.size) < model.blink_duty
    return rows[on], columns[on]
