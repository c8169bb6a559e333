"""Simulated raw frames for tests, and their truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import reference

from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.simulate import bias_sequence, simulate

SCALE = 16
COUNT = 12


@dataclass(frozen=True)
class Simulated:
    """Raw frames, their truth, and the instrument that they were made with."""

    raws: Path
    truth: object
    instrument: Path
    paths: tuple[Path, ...]


def simulate_biases(directory: Path, count: int, scale: int, compress: str = "none") -> Simulated:
    camera = load_instrument("latiss")
    if scale != 1:
        camera = scaled(camera, scale)
    made = simulate(directory, camera, bias_sequence(count), compress=compress)
    dump_instrument(camera, directory / "instrument.yaml")
    return Simulated(directory, made.open_truth(), directory / "instrument.yaml", made.paths)


def truth_image(truth, detector=0):
    """The fixed bias pattern in the detector frame, adu."""
    return truth[f"detectors/{detector}"]["bias_pattern"].values


def variance_of_clipped_mean(noise, columns, count, rng, rows=4000, pixels=150):
    """Variance of a pixel of a clipped mean of `count` frames about the truth, adu^2, simulated.

    The level of each row is the tie-aware median of its own overscan, as in the product, and
    counts are whole numbers. Only the independent reference functions are used. The variance that
    a product claims is no measure for this: it is that of the survivors, and clipping makes it too
    small.
    """
    level = rng.uniform(0, 1, (count, rows, 1))
    counts = np.floor(rng.normal(level, noise, (count, rows, columns + pixels)) + 0.5)
    base = np.stack([reference.median_per_row(frame[:, :columns]) for frame in counts])
    mean, _, _ = reference.clipped_mean(counts[:, :, columns:] - base[:, :, None])
    return np.mean(mean**2)
