"""Response to light: pixels, detectors, dust, illumination and vignetting.

Expected electrons of a flat: ``lamp * lamp_factor * exposure_time * illumination * response``. The
response belongs to the detector, the illumination to the telescope and its screen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpflow.camera import Detector
from cpflow.options import Options


class FlatField(Options):
    """Sizes of what makes a flat uneven."""

    pixel_scatter: float = 0.008
    """Standard deviation of the response from pixel to pixel."""
    detector_scatter: float = 0.03
    """Standard deviation of the response from detector to detector."""
    donuts: float = 3.0
    """Shadows of dust grains per megapixel."""
    donut_depth: float = 0.03
    """Relative depth of a shadow."""
    donut_radius: tuple[float, float] = (15.0, 40.0)
    """Range of the outer radii in pixels; a shadow's hole has half its radius."""
    gradient: tuple[float, float] = (0.02, -0.01)
    """Relative change of the illumination along x and y from the middle to the edge of the focal
    plane."""
    lamp_scatter: float = 0.01
    """Relative standard deviation of the lamp from exposure to exposure."""
    vignette_radius: float | None = None
    """Radius of the vignetting polygon in millimetres on the focal plane; None: no vignetting."""
    vignette_sides: int = 100
    """Number of its sides."""


def draw_response(
    model: FlatField, detector: Detector, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw the response of each pixel, ``q * (1 + N(0, pixel_scatter)) * dust(y, x)``.

    q, the response of the detector, is ``1 + N(0, detector_scatter)``; dust is ``1 - donut_depth``
    in the ring of each shadow and 1 elsewhere.

    Returns
    -------
    ndarray of float32 (y, x)
    """
    response = rng.standard_normal(detector.shape, np.float32) * np.float32(model.pixel_scatter)
    response += 1
    response *= np.float32(1 + model.detector_scatter * rng.standard_normal())
    rows, columns = detector.shape
    for _ in range(round(model.donuts * rows * columns / 1e6)):
        cy, cx = rng.uniform(0, rows), rng.uniform(0, columns)
        radius = rng.uniform(*model.donut_radius)
        y0, x0 = max(0, int(cy - radius)), max(0, int(cx - radius))
        part = response[y0 : int(cy + radius) + 2, x0 : int(cx + radius) + 2]
        y, x = np.ogrid[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]]
        distance = np.hypot(y - cy, x - cx)
        part[(distance <= radius) & (distance >= radius / 2)] *= np.float32(1 - model.donut_depth)
    return response


def focal_plane(
    detector: Detector,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the focal-plane coordinates of the detector's columns and rows in millimetres.

    ``(pixel - reference_pixel) * pixel_size_mm + centre_mm``; a camera file without a pixel size is
    taken to have 0.01 mm.
    """
    size = detector.pixel_size_mm or 0.01
    rows, columns = detector.shape
    x = (
        np.arange(columns, dtype=np.float64) - detector.reference_pixel[0]
    ) * size + detector.centre_mm[0]
    y = (
        np.arange(rows, dtype=np.float64) - detector.reference_pixel[1]
    ) * size + detector.centre_mm[1]
    return x, y


def illumination(model: FlatField, detector: Detector, radius_mm: float) -> NDArray[np.float32]:
    """Return the relative illumination of each pixel.

    ``1 + gx x / R + gy y / R`` with R the radius of the focal plane; 0 outside the vignetting
    polygon.

    Parameters
    ----------
    model : FlatField
        Gradient and vignetting.
    detector : Detector
        Where on the focal plane.
    radius_mm : float
        R: largest distance of any detector's pixel from the middle of the focal plane.

    Returns
    -------
    ndarray of float32 (y, x)
    """
    x, y = focal_plane(detector)
    gx, gy = model.gradient
    light = 1 + gx * x[None, :] / radius_mm + gy * y[:, None] / radius_mm
    return np.where(inside_polygon(model, x, y), light, 0).astype(np.float32)


def inside_polygon(
    model: FlatField, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether pixels lie inside the vignetting polygon, a regular one with a corner on the x axis.

    A point at distance r and angle t is inside a polygon of n sides and circumradius R if
    ``r cos(t mod (2 pi / n) - pi / n) <= R cos(pi / n)``.
    """
    if model.vignette_radius is None:
        return np.ones((y.size, x.size), bool)
    half = np.pi / model.vignette_sides
    angle = np.arctan2(y[:, None], x[None, :]) % (2 * half) - half
    distance = np.hypot(y[:, None], x[None, :]) * np.cos(angle)
    return np.asarray(distance <= model.vignette_radius * np.cos(half), bool)


def radius_of(detectors: tuple[Detector, ...]) -> float:
    """Return the distance in millimetres of the outermost pixel from the focal plane's middle."""
    corners = [
        np.hypot(x[i], y[j])
        for x, y in map(focal_plane, detectors)
        for i in (0, -1)
        for j in (0, -1)
    ]
    return float(max(corners))


def draw_lamp_factor(model: FlatField, rng: np.random.Generator) -> float:
    """Draw the lamp's brightness in one exposure, relative to its mean."""
    return float(1 + model.lamp_scatter * rng.standard_normal())
