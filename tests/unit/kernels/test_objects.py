"""Stars of known places over a background that has to be found first."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.detection import DetectionCriteria
from cpflow.kernels.objects import find_objects, fit_background
from cpflow.simulate.sky import sky_shape
from cpflow.simulate.stars import Catalogue, render

SHAPE = (500, 510)


def starry_sky(seed, count=150):
    rng = np.random.default_rng(seed)
    sky = 400 * sky_shape(SHAPE, (0.1, -0.05))
    y, x = rng.uniform(5, SHAPE[0] - 5, count), rng.uniform(5, SHAPE[1] - 5, count)
    flux = np.exp(rng.uniform(np.log(3e3), np.log(3e5), count))
    stars = render(Catalogue(y, x, flux), 1.8, SHAPE)
    image = rng.poisson(sky + stars).astype(np.float32)
    variance = (sky + stars + 1).astype(np.float32)
    return image, variance, sky, stars


@pytest.mark.parametrize(
    ("count", "criteria", "options"),
    [
        (150, DetectionCriteria(), {"iterations": 3}),
        (
            30,
            DetectionCriteria(sigma=5.0, threshold=2.5),
            {"iterations": 3, "bin_size": 256, "model": "SPLINE"},
        ),
    ],
    ids=["fringe", "sky"],
)
def test_what_is_left_is_sky(count, criteria, options):
    image, variance, sky, stars = starry_sky(1, count)
    usable = np.ones(SHAPE, bool)
    usable[200:210] = False
    image[200:210] = 1e5
    found = find_objects(image, variance, usable, criteria, **options)
    # Every star's pixels with more light than a standard deviation of the sky, 20.
    inner = ~found.detections.edge & usable
    bright = (stars > 20) & inner
    assert (found.detections.mask & bright).sum() > 0.97 * bright.sum()
    rest = inner & ~found.detections.mask
    # 30 stars grown to a radius of 20 pixels cover 15 %. At 2.5 sigma noise is detected too: 0.6 %
    # of the pixels, in groups that grow by 12 pixels and cover a quarter.
    assert rest.mean() > 0.4
    level = np.median(image[rest] - sky[rest])
    # The sky's own noise, and below half a count of light of stars too faint or wide to be seen.
    assert abs(level) < 5 * np.sqrt(np.pi / 2 * 400 / rest.sum()) + 0.5
    # Issue 5: below 0.5 % of the sky.
    assert abs(np.mean(found.background[rest] - sky[rest])) < 0.005 * 400


def test_each_turn_leaves_out_what_was_found():
    image, variance, sky, _ = starry_sky(2)
    errors = []
    for iterations in (1, 3):
        found = find_objects(image, variance, iterations=iterations)
        rest = ~found.detections.mask
        errors.append(abs(np.mean(found.background[rest] - sky[rest])))
    assert errors[1] < errors[0]


def test_turns_do_not_run_away():
    """Stars hide three quarters of a sky with a gradient; more turns must not hide the rest."""
    criteria = DetectionCriteria(sigma=5.0, threshold=2.5)
    image, variance, sky, _ = starry_sky(3)
    left = []
    for iterations in (2, 6):
        found = find_objects(
            image, variance, None, criteria, bin_size=256, model="SPLINE", iterations=iterations
        )
        rest = ~(found.detections.mask | found.detections.edge)
        left.append(rest.mean())
        assert abs(np.mean(found.background[rest] - sky[rest])) < 0.005 * 400
    assert left[1] > 0.9 * left[0]


def test_models_of_a_background():
    plane = sky_shape(SHAPE, (0.2, 0.1)) * 50
    for model in ("CHEBYSHEV", "SPLINE"):
        fitted = fit_background(plane, bin_size=100, model=model)
        # A clipped mean of a plane is that of its centre but for the rounding of float32.
        np.testing.assert_allclose(fitted, plane, rtol=1e-5)
    with pytest.raises(ValueError, match="SPLINE"):
        fit_background(plane, model="AKIMA")
    with pytest.raises(ValueError, match="turns"):
        find_objects(plane, plane, iterations=0)
