"""What an amplifier shows without light: its level, the level's drift, a fixed pattern, noise.

Raw counts of a dark-free exposure, in adu, at row r and column c of a raw area::

    level + drift(r) + pattern(r, c) [imaging pixels only] + N(0, (read noise / gain)^2)

The drift is the same for imaging pixels and overscan of one row, so that an overscan correction
row by row takes it out, whereas one number per exposure leaves its shape.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cpflow.camera import Detector
from cpflow.options import Options
from cpflow.simulate.geometry import flip
from cpflow.simulate.seeds import stream


class Bias(Options):
    """Sizes of the bias effects; everything in adu unless said otherwise."""

    level: tuple[float, float] | None = None
    """Range of the amplifiers' levels; by default 8,000 to 25,000 for a camera that counts beyond
    16 bits, as LATISS does, and 900 to 1,100 for others."""
    exposure_scatter: float = 3.0
    """Standard deviation of an amplifier's level from exposure to exposure."""
    drift: float = 6.0
    """Level at the first row above that at the last, before the settling."""
    drift_scatter: float = 0.2
    """Relative standard deviation of `drift` from exposure to exposure."""
    settling: float = 0.15
    """Fraction of the rows in which the drift decays by a factor e."""
    row_noise: float = 0.5
    """Standard deviation of what each row has in common."""
    column_pattern: float = 0.8
    """Standard deviation of the fixed offset of each column of an amplifier."""
    pixel_pattern: float = 0.6
    """Standard deviation of the fixed offset of each pixel."""
    structure: float = 2.0
    """Amplitude of the smooth two-dimensional structure."""
    corner: float = 8.0
    """Extra level of the first pixel that is read out; decays along rows and columns."""
    default_read_noise: float = 8.0
    """Electrons, for an amplifier whose camera file gives no read noise."""


def draw_levels(
    model: Bias, detector: Detector, wide: bool, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the bias level of each amplifier.

    Parameters
    ----------
    model : Bias
        Sizes.
    detector : Detector
        Its amplifiers are drawn in order.
    wide : bool
        Whether the camera counts beyond 16 bits.
    rng : numpy.random.Generator
        Source of the draw.

    Returns
    -------
    ndarray of float64 (amp)
        Adu.
    """
    low, high = model.level or ((8000.0, 25000.0) if wide else (900.0, 1100.0))
    return rng.uniform(low, high, len(detector.amplifiers))


def read_noise(model: Bias, detector: Detector) -> NDArray[np.float64]:
    """Return the read noise of each amplifier in electrons: the camera's, or the default."""
    return np.array(
        [
            a.read_noise if math.isfinite(a.read_noise) else model.default_read_noise
            for a in detector
        ]
    )


def draw_pattern(model: Bias, detector: Detector, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw the fixed bias pattern.

    Per amplifier, with u and v the fractions of its columns and rows in readout order, it is
    ``structure * sin(2 pi (m u + p)) cos(2 pi (n v + q)) + corner * exp(-20 u - 20 v)`` plus a
    normal offset per column and one per pixel.

    Returns
    -------
    ndarray of float32 (y, x)
        Adu, in the detector frame.
    """
    pattern = np.empty(detector.shape, np.float32)
    rows, columns = detector.imaging_shape
    v = (np.arange(rows, dtype=np.float64) / rows)[:, None]
    u = (np.arange(columns, dtype=np.float64) / columns)[None, :]
    for amplifier in detector:
        m, n = rng.integers(1, 4, 2)
        p, q = rng.uniform(0, 1, 2)
        area = model.structure * np.sin(2 * np.pi * (m * u + p)) * np.cos(2 * np.pi * (n * v + q))
        area += model.corner * np.exp(-20 * (u + v))
        area += rng.normal(0, model.column_pattern, columns)[None, :]
        area += model.pixel_pattern * rng.standard_normal((rows, columns), np.float32)
        place = amplifier.detector_box
        pattern[place.rows, place.columns] = flip(area, amplifier.flip_x, amplifier.flip_y)
    return pattern


def draw_drift(model: Bias, rows: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw one exposure's drift of an amplifier's level, row by row.

    ``e + d exp(-r / (settling * rows)) + n(r)`` with e, d and n normal: what the exposure, its
    settling and each row add to the level.

    Returns
    -------
    ndarray of float32 (raw row)
        Adu above the amplifier's level.
    """
    offset = rng.normal(0, model.exposure_scatter)
    first = model.drift * (1 + model.drift_scatter * rng.standard_normal())
    settled = np.exp(-np.arange(rows) / max(model.settling * rows, 1e-9))
    drift = offset + first * settled + model.row_noise * rng.standard_normal(rows)
    return drift.astype(np.float32)


def draw_drifts(model: Bias, detector: Detector, key: tuple[str | int, ...]) -> NDArray[np.float32]:
    """Draw the drift of every amplifier of one exposure, each from a stream of its own.

    Returns
    -------
    ndarray of float32 (amp, raw row)
    """
    rows = detector.raw_shape[0]
    return np.stack([draw_drift(model, rows, stream(*key, a.name, "drift")) for a in detector])


def draw_noise(
    shape: tuple[int, int], sigma: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw Gaussian read noise of standard deviation `sigma`, in the unit of `sigma`."""
    noise = rng.standard_normal(shape, np.float32)
    noise *= np.float32(sigma)
    return noise
