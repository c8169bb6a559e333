"""The light of one exposure: lamp, sky, fringes and stars, before it meets any noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cpflow.camera import Detector
from cpflow.simulate.flatfield import draw_lamp_factor
from cpflow.simulate.seeds import stream
from cpflow.simulate.sequence import Observation
from cpflow.simulate.sky import draw_gradient, sky_shape
from cpflow.simulate.stars import Catalogue, dithered, draw_field, render
from cpflow.simulate.truth import Truth


@dataclass(frozen=True, slots=True)
class Scene:
    """Expected electrons of each pixel (y, x) from light, and what the light was."""

    expected: NDArray[np.float32] | None
    """None if there is no light."""
    lamp_factor: float = 1.0
    sky_gradient: tuple[float, float] = (0.0, 0.0)
    stars: Catalogue = field(default_factory=lambda: Catalogue(*(np.zeros(0),) * 3))


def draw_scene(
    observation: Observation,
    detector: Detector,
    truth: Truth,
    arrays: xr.Dataset,
    *,
    seed: int,
    instrument: str,
) -> Scene:
    """Draw the light of an exposure.

    ``t * response * [illumination * (lamp * lamp_factor + sky * gradient * (1 + f * fringe)) +
    stars]``, with t the exposure time. Lamp and sky have one factor and one gradient for all
    detectors of an exposure, a target one field of stars for all its exposures.

    Returns
    -------
    Scene
    """
    time = observation.exposure_time
    if not observation.lit:
        return Scene(None)
    key = seed, instrument, observation.id
    light = np.zeros(detector.shape, np.float32)
    factor, gradient = 1.0, (0.0, 0.0)
    if observation.lamp:
        if truth.flat is not None:
            factor = draw_lamp_factor(truth.flat, stream(*key, "lamp"))
        light += observation.lamp * factor
    if observation.sky:
        gradient = draw_gradient(observation.sky_gradient, stream(*key, "sky"))
        sky = observation.sky * sky_shape(detector.shape, gradient)
        if "fringe" in arrays and observation.fringe:
            sky *= 1 + observation.fringe * arrays["fringe"].values
        light += sky
    if "illumination" in arrays:
        light *= arrays["illumination"].values
    stars = Scene(None).stars
    if observation.stars is not None:
        model = observation.stars
        place = seed, instrument, detector.id, observation.target
        whole = draw_field(model, detector, stream(*place, "stars"))
        stars = dithered(whole, model, detector.shape, stream(*key, "dither"))
        light += render(stars, model.sigma, detector.shape)
    if "response" in arrays:
        light *= arrays["response"].values
    return Scene(light * np.float32(time), factor, gradient, stars)
