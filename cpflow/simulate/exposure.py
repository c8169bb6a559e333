"""One exposure of one detector: the chain of effects from light to integers.

In the detector frame, electrons: light and dark current collect (Poisson, brighter-fatter), cosmic
rays and blinking pixels add, full wells bleed. In readout order: charge is deferred by the serial
register, the gain makes adu of it, the output is nonlinear, amplifiers leak into one another, the
bias and the read noise come on top, the converter counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cpflow.camera import Detector
from cpflow.simulate.bias import draw_drifts, draw_noise
from cpflow.simulate.brighter_fatter import collect, draw_poisson
from cpflow.simulate.cosmic_rays import Hits, draw_cosmic_rays
from cpflow.simulate.crosstalk import add_crosstalk
from cpflow.simulate.cti import defer
from cpflow.simulate.defects import draw_blinking
from cpflow.simulate.digitise import Counts, counts_beyond_16_bits, digitise
from cpflow.simulate.geometry import imaging_pixels, to_readout
from cpflow.simulate.nonlinearity import distort_spline, distort_squared
from cpflow.simulate.saturation import bleed
from cpflow.simulate.scene import Scene, draw_scene
from cpflow.simulate.seeds import stream
from cpflow.simulate.sequence import Observation
from cpflow.simulate.truth import Truth

_NO_HITS = Hits(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True)
class Charge:
    """Electrons collected by each pixel (y, x), and what came beside light and dark current."""

    electrons: NDArray[np.float32] | None
    """None if there are none anywhere."""
    scene: Scene
    cosmic_rays: Hits = _NO_HITS
    saturated: tuple[NDArray[np.intp], NDArray[np.intp]] = (np.zeros(0, int), np.zeros(0, int))
    """Rows and columns of the pixels that are full."""


@dataclass(frozen=True, slots=True)
class Exposed:
    """A simulated exposure of one detector, with what was peculiar to it.

    `raw` is ``(amp, raw row, raw column)`` in readout order, `drift` is ``(amp, raw row)`` in adu.
    """

    raw: Counts
    drift: NDArray[np.float32]
    charge: Charge


def expose(
    observation: Observation,
    detector: Detector,
    truth: Truth,
    arrays: xr.Dataset,
    *,
    seed: int,
    instrument: str,
) -> Exposed:
    """Simulate one exposure of one detector.

    Parameters
    ----------
    observation : Observation
        What is observed.
    detector : Detector
        Geometry of the detector.
    truth : Truth
        The effects of the camera.
    arrays : xarray.Dataset
        What was drawn for this detector (`cpflow.simulate.truth.draw_detector`).
    seed : int
        Seed of the simulation.
    instrument : str
        Part of the key of each random stream.

    Returns
    -------
    Exposed
    """
    key = seed, instrument, observation.id, detector.id
    charge = collect_charge(observation, detector, truth, arrays, seed, instrument)
    signal = None
    if charge.electrons is not None:
        signal = amplify(to_readout(charge.electrons, detector), truth, arrays)
    drift = draw_drifts(truth.bias, detector, key)
    wide = counts_beyond_16_bits(truth.digitise, detector)
    raw = np.empty((len(detector.amplifiers), *detector.raw_shape), np.int32 if wide else np.uint16)
    pattern = arrays["bias_pattern"].values
    gains, noises = arrays["gain"].values, arrays["read_noise"].values
    levels = arrays["bias_level"].values
    # One amplifier at a time, so that a full-size bias never needs all pixels as floats.
    for i, amplifier in enumerate(detector):
        sigma = float(noises[i] / gains[i])
        counts = draw_noise(amplifier.raw, sigma, stream(*key, amplifier.name, "read_noise"))
        counts += (levels[i] + drift[i].astype(np.float64))[:, None]
        box = amplifier.imaging
        counts[box.rows, box.columns] += imaging_pixels(pattern, amplifier)
        if signal is not None:
            counts += signal[i]
        raw[i] = digitise(counts, wide, truth.digitise.maximum)
    return Exposed(raw, drift, charge)


def collect_charge(
    observation: Observation,
    detector: Detector,
    truth: Truth,
    arrays: xr.Dataset,
    seed: int,
    instrument: str,
) -> Charge:
    """Return the electrons in the pixels when the readout begins."""
    key = seed, instrument, observation.id, detector.id
    scene = draw_scene(observation, detector, truth, arrays, seed=seed, instrument=instrument)
    expected = scene.expected
    if "dark_rate" in arrays and observation.dark_seconds > 0:
        dark = arrays["dark_rate"].values * np.float32(observation.dark_seconds)
        expected = dark if expected is None else expected + dark
    electrons = None
    if expected is not None:
        rng = stream(*key, "photons")
        if truth.brighter_fatter is not None and scene.expected is not None:
            kernel = arrays["bf_kernel"].values
            electrons = collect(expected, kernel, truth.brighter_fatter.b, rng)
        else:
            electrons = draw_poisson(expected, rng)
    hits = _NO_HITS
    if truth.cosmic_rays is not None:
        rng = stream(*key, "cosmic_rays")
        hits = draw_cosmic_rays(truth.cosmic_rays, detector, observation.dark_seconds, rng)
        if hits.y.size:
            electrons = np.zeros(detector.shape, np.float32) if electrons is None else electrons
            electrons[hits.y, hits.x] += hits.electrons
    if truth.defects is not None:
        on = draw_blinking(truth.defects, arrays["defect"].values, stream(*key, "blinking"))
        if on[0].size:
            electrons = np.zeros(detector.shape, np.float32) if electrons is None else electrons
            electrons[on] += np.float32(truth.defects.blink_electrons)
    if truth.saturation is None or electrons is None:
        return Charge(electrons, scene, hits)
    wells = arrays["full_well"].values
    bleed(electrons, detector, wells)
    full = np.zeros(detector.shape, bool)
    for amplifier, well in zip(detector, wells, strict=True):
        place = amplifier.detector_box
        part = electrons[place.rows, place.columns]
        full[place.rows, place.columns] = part >= np.float32(well * (1 - 1e-6))
    rows, columns = np.nonzero(full)
    return Charge(electrons, scene, hits, (rows, columns))


def amplify(
    electrons: NDArray[np.float32], truth: Truth, arrays: xr.Dataset
) -> NDArray[np.float32]:
    """Turn electrons of raw areas in readout order into adu above the bias level.

    Parameters
    ----------
    electrons : ndarray of float32 (amp, raw row, raw column)
        What the pixels hold.
    truth : Truth
        Which effects the electronics has.
    arrays : xarray.Dataset
        Their sizes.

    Returns
    -------
    ndarray of float32 (amp, raw row, raw column)
        Adu.
    """
    gains = arrays["gain"].values
    signal = np.empty_like(electrons)
    for i, area in enumerate(electrons):
        deferred = area if truth.cti is None else defer(area, truth.cti)
        linear = deferred / np.float32(gains[i])
        if "nonlinearity_squared" in arrays:
            signal[i] = distort_squared(linear, float(arrays["nonlinearity_squared"].values[i]))
        elif "nonlinearity_nodes" in arrays:
            nodes = arrays["nonlinearity_nodes"].values
            signal[i] = distort_spline(linear, nodes, arrays["nonlinearity_values"].values[i])
        else:
            signal[i] = linear
    if truth.crosstalk is None:
        return signal
    square = arrays["crosstalk_quadratic"].values if "crosstalk_quadratic" in arrays else None
    return add_crosstalk(signal, arrays["crosstalk"].values, square)
