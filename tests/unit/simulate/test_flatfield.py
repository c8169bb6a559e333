import itertools
import math

import numpy as np
import pytest

from cpflow.simulate.flatfield import (
    FlatField,
    draw_lamp_factor,
    draw_response,
    focal_plane,
    illumination,
    radius_of,
)
from cpflow.simulate.seeds import stream


def test_pixels_scatter_around_the_response_of_their_detector(latiss):
    detector = latiss.camera.detectors[0]
    model = FlatField(pixel_scatter=0.01, detector_scatter=0.0, donuts=0.0)
    response = draw_response(model, detector, stream("r")).astype(float)
    n = response.size
    assert response.mean() == pytest.approx(1, abs=5 * 0.01 / math.sqrt(n))
    assert response.std() == pytest.approx(0.01, rel=5 / math.sqrt(2 * n))
    model = FlatField(pixel_scatter=0.0, detector_scatter=0.05, donuts=0.0)
    means = [draw_response(model, detector, stream("r", i))[0, 0] for i in range(400)]
    assert np.std(means) == pytest.approx(0.05, rel=5 / math.sqrt(800))


def test_donuts_are_rings_of_the_wanted_depth(latiss):
    detector = latiss.camera.detectors[0]
    rows, columns = detector.shape
    model = FlatField(
        pixel_scatter=0.0, detector_scatter=0.0, donuts=1e6 / (rows * columns),
        donut_depth=0.1, donut_radius=(20.0, 20.0),
    )  # fmt: skip
    response = draw_response(model, detector, stream("donut", 3))
    assert set(np.unique(response).tolist()) == {np.float32(1), np.float32(0.9)}
    y, x = np.nonzero(response < 1)
    inside = 20 < y.mean() < rows - 20 and 20 < x.mean() < columns - 20
    assert inside, "the seed puts it away from the edges"
    # A ring from 10 to 20 pixels has an area of 300 pi; its edge is 60 pi pixels long.
    assert y.size == pytest.approx(300 * math.pi, abs=3 * math.sqrt(60 * math.pi))


def test_illumination_is_a_plane_over_the_focal_plane(quad):
    model = FlatField(gradient=(0.1, -0.05))
    radius = radius_of(quad.camera.detectors)
    assert radius == pytest.approx(math.hypot(1.4 + 79.5 * 0.015, 1.2 + 63.5 * 0.015), rel=0.02)
    for detector in quad.camera:
        x, y = focal_plane(detector)
        light = illumination(model, detector, radius)
        expected = 1 + 0.1 * x[None, :] / radius - 0.05 * y[:, None] / radius
        assert light == pytest.approx(expected, rel=1e-6)
    left, right = (focal_plane(quad.camera.detectors[i])[0] for i in (0, 1))
    assert left[-1] < right[0]


def test_vignetting_leaves_a_polygon_of_the_wanted_area(quad):
    detectors = quad.camera.detectors
    for sides, factor in ((100, math.pi), (6, 1.5 * math.sqrt(3))):
        model = FlatField(gradient=(0.0, 0.0), vignette_radius=1.9, vignette_sides=sides)
        lit = sum((illumination(model, d, 1.0) > 0).sum() * 0.015**2 for d in detectors)
        # The gap between detectors takes some of it: 0.4 mm along x and 0.48 along y.
        polygon = polygon_without_gaps(1.9, sides)
        assert lit == pytest.approx(polygon, rel=0.01)
        assert polygon < factor * 1.9**2


def polygon_without_gaps(radius, sides):
    """Area of a polygon on the detectors, by counting points of a fine grid inside its edges."""
    x = np.arange(-3, 3, 0.004) + 0.002
    px, py = np.meshgrid(x, x)
    inside = np.ones(px.shape, bool)
    corners = [
        (radius * math.cos(2 * math.pi * k / sides), radius * math.sin(2 * math.pi * k / sides))
        for k in range(sides + 1)
    ]
    for (ax, ay), (bx, by) in itertools.pairwise(corners):
        inside &= (bx - ax) * (py - ay) - (by - ay) * (px - ax) >= 0
    on_chip = np.zeros(px.shape, bool)
    for cx in (-1.4, 1.4):
        for cy in (-1.2, 1.2):
            on_chip |= (np.abs(px - cx) < 1.2) & (np.abs(py - cy) < 0.96)
    return (inside & on_chip).sum() * 0.004**2


def test_the_lamp_varies_from_exposure_to_exposure():
    factors = [draw_lamp_factor(FlatField(lamp_scatter=0.02), stream(i)) for i in range(1000)]
    assert np.mean(factors) == pytest.approx(1, abs=5 * 0.02 / math.sqrt(1000))
    assert np.std(factors) == pytest.approx(0.02, rel=5 / math.sqrt(2000))
