"""What a simulated camera is made of, and the arrays that are drawn from it.

A `Truth` holds the sizes of the effects; an effect that is left out is off. From it and a seed each
detector's arrays are drawn: one `xarray.Dataset` per detector, the same that is stored beside the
raw files.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import xarray as xr

from cpflow.camera import Detector
from cpflow.options import Options
from cpflow.simulate import brighter_fatter as bf
from cpflow.simulate.bias import Bias, draw_levels, draw_pattern, read_noise
from cpflow.simulate.brighter_fatter import BrighterFatter
from cpflow.simulate.cosmic_rays import CosmicRays
from cpflow.simulate.crosstalk import Crosstalk, draw_coefficients
from cpflow.simulate.cti import SerialCti
from cpflow.simulate.dark import Dark, dark_rate
from cpflow.simulate.defects import KINDS, Defects, draw_defects
from cpflow.simulate.digitise import Digitise, counts_beyond_16_bits
from cpflow.simulate.flatfield import FlatField, draw_response, illumination
from cpflow.simulate.fringe import Fringe, draw_fringes
from cpflow.simulate.nonlinearity import Nonlinearity, draw_sizes
from cpflow.simulate.saturation import Saturation, draw_full_wells
from cpflow.simulate.seeds import stream


class Truth(Options):
    """The effects of a simulated camera and their sizes; None: the camera has no such effect."""

    bias: Bias = Bias()
    digitise: Digitise = Digitise()
    dark: Dark | None = None
    defects: Defects | None = None
    flat: FlatField | None = None
    fringe: Fringe | None = None
    cosmic_rays: CosmicRays | None = None
    brighter_fatter: BrighterFatter | None = None
    saturation: Saturation | None = None
    cti: SerialCti | None = None
    nonlinearity: Nonlinearity | None = None
    crosstalk: Crosstalk | None = None

    @classmethod
    def complete(cls) -> Truth:
        """Return a camera with every effect, each at its default size."""
        return cls(
            dark=Dark(),
            defects=Defects(),
            flat=FlatField(),
            fringe=Fringe(),
            cosmic_rays=CosmicRays(),
            brighter_fatter=BrighterFatter(),
            saturation=Saturation(),
            cti=SerialCti(),
            nonlinearity=Nonlinearity(),
            crosstalk=Crosstalk(),
        )


Variables = dict[str, tuple[str | tuple[str, ...], np.ndarray, Mapping[str, object]]]


def draw_detector(
    truth: Truth, seed: int, instrument: str, detector: Detector, radius_mm: float
) -> xr.Dataset:
    """Draw everything about a detector that does not change from exposure to exposure.

    Parameters
    ----------
    truth : Truth
        Sizes of the effects.
    seed : int
        Seed of the simulation.
    instrument : str
        Part of the key of each random stream.
    detector : Detector
        What to draw for.
    radius_mm : float
        Radius of the focal plane (`cpflow.simulate.flatfield.radius_of`).

    Returns
    -------
    xarray.Dataset
        Variables with dimensions ``amp`` (in the camera's order), ``y`` and ``x`` (detector
        frame); each has its unit in ``attrs["units"]``.
    """
    key = seed, instrument, "detector", detector.id
    wide = counts_beyond_16_bits(truth.digitise, detector)
    levels = draw_levels(truth.bias, detector, wide, stream(*key, "level"))
    pattern = draw_pattern(truth.bias, detector, stream(*key, "pattern"))
    gains = np.array([amplifier.gain for amplifier in detector])
    drawn: Variables = {
        "bias_level": ("amp", levels, {"units": "adu"}),
        "bias_pattern": (("y", "x"), pattern, {"units": "adu"}),
        "gain": ("amp", gains, {"units": "electron/adu"}),
        "read_noise": ("amp", read_noise(truth.bias, detector), {"units": "electron"}),
    }
    drawn |= _pixels(truth, detector, radius_mm, key)
    drawn |= _amplifiers(truth, detector, key)
    return xr.Dataset(
        drawn,
        coords={"amp": np.array(detector.amplifier_names, object)},
        attrs={"detector": detector.id, "detector_name": detector.name, "seed": seed},
    )


def _pixels(
    truth: Truth, detector: Detector, radius_mm: float, key: tuple[str | int, ...]
) -> Variables:
    """Draw the maps ``(y, x)`` of a detector."""
    drawn: Variables = {}
    frame = ("y", "x")
    dark = np.zeros(detector.shape, np.float32)
    response = np.ones(detector.shape, np.float32)
    if truth.dark is not None:
        dark += dark_rate(truth.dark, detector)
    if truth.flat is not None:
        response *= draw_response(truth.flat, detector, stream(*key, "response"))
        light = illumination(truth.flat, detector, radius_mm)
        drawn["illumination"] = (frame, light, {"units": "1"})
    if truth.defects is not None:
        maps = draw_defects(truth.defects, detector, stream(*key, "defects"))
        dark += maps.rate
        response *= maps.response
        flags = {
            "flag_masks": list(KINDS.values()),
            "flag_meanings": " ".join(KINDS),
            "units": "1",
        }
        drawn["defect"] = (frame, maps.kind, flags)
    if truth.dark is not None or truth.defects is not None:
        drawn["dark_rate"] = (frame, dark, {"units": "electron/s"})
    if truth.flat is not None or truth.defects is not None:
        drawn["response"] = (frame, response, {"units": "1"})
    if truth.fringe is not None:
        pattern = draw_fringes(truth.fringe, detector.shape, stream(*key, "fringe"))
        drawn["fringe"] = (frame, pattern, {"units": "1"})
    return drawn


def _amplifiers(truth: Truth, detector: Detector, key: tuple[str | int, ...]) -> Variables:
    """Draw what belongs to amplifiers, and the brighter-fatter kernel."""
    drawn: Variables = {}
    if truth.saturation is not None:
        wells = draw_full_wells(truth.saturation, detector, stream(*key, "full_well"))
        drawn["full_well"] = ("amp", wells, {"units": "electron"})
    if truth.nonlinearity is not None:
        model = truth.nonlinearity
        sizes = draw_sizes(model, detector, stream(*key, "nonlinearity"))
        if model.type == "squared":
            drawn["nonlinearity_squared"] = ("amp", sizes * model.squared, {"units": "1/adu"})
        else:
            values = sizes[:, None] * np.array(model.values)
            nodes = np.array(model.nodes)
            drawn["nonlinearity_nodes"] = ("node", nodes, {"units": "adu"})
            drawn["nonlinearity_values"] = (("amp", "node"), values, {"units": "adu"})
    if truth.crosstalk is not None:
        linear = draw_coefficients(truth.crosstalk, detector, stream(*key, "crosstalk"))
        pairs = ("source_amp", "target_amp")
        drawn["crosstalk"] = (pairs, linear, {"units": "1"})
        if truth.crosstalk.quadratic:
            factor = truth.crosstalk.quadratic / truth.crosstalk.neighbour
            drawn["crosstalk_quadratic"] = (pairs, linear * factor, {"units": "1/adu"})
    if truth.brighter_fatter is not None:
        kernel = bf.solve_kernel(bf.area_quadrant(truth.brighter_fatter))
        area = bf.area_coefficients(kernel)
        drawn["bf_kernel"] = (("bf_y", "bf_x"), kernel, {"units": "1/electron"})
        drawn["bf_a"] = (("lag_x", "lag_y"), area, {"units": "1/electron"})
        b = np.array(truth.brighter_fatter.b)
        drawn["bf_b"] = ((), b, {"units": "1/electron"})
    return drawn


class DetectorCache:
    """The last few detectors drawn in this process.

    Exposures of one detector run one after the other, and a full-size detector takes a second or
    more to draw. Threads that ask for the same one wait for the first to have drawn it.
    """

    def __init__(self, size: int = 2) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._drawn: dict[tuple[object, ...], xr.Dataset] = {}

    def get(
        self, truth: Truth, seed: int, instrument: str, detector: Detector, radius_mm: float
    ) -> xr.Dataset:
        """Return the arrays of a detector (`draw_detector`), drawing them if need be."""
        key = (truth, seed, instrument, repr(detector), radius_mm)
        with self._lock:
            if key not in self._drawn:
                while len(self._drawn) >= self._size:
                    del self._drawn[next(iter(self._drawn))]
                self._drawn[key] = draw_detector(truth, seed, instrument, detector, radius_mm)
            return self._drawn[key]
