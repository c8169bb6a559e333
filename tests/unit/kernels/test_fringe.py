"""Fringe amplitudes against plain numpy and against simulated fringes of known strength."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.fringe import (
    local_contrast,
    measure_fringes,
    sample_positions,
    solve_fringes,
    subtract_fringes,
)
from cpflow.simulate.fringe import Fringe, draw_fringes
from cpflow.simulate.seeds import stream
from cpflow.simulate.sky import sky_shape


def test_points_are_reproducible_and_inside():
    points = sample_positions((100, 200), 7, count=5000)
    np.testing.assert_array_equal(points, sample_positions((100, 200), 7, count=5000))
    assert not np.array_equal(points, sample_positions((100, 200), 8, count=5000))
    assert points.min(axis=0).tolist() == [30, 30]
    assert points.max(axis=0).tolist() == [69, 169]


def test_contrast_is_a_difference_of_medians():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(60, 70)).astype(np.float32)
    image[rng.random(image.shape) < 0.1] = np.nan
    usable = rng.random(image.shape) < 0.8
    usable[10:16, 10:16] = False
    positions = sample_positions(image.shape, 2, count=200, margin=5)
    positions[0] = 13, 13
    found = local_contrast(image, positions, usable, small=2, large=5)
    for (y, x), value in zip(positions, found, strict=True):
        boxes = (
            image[y - n : y + n, x - n : x + n][usable[y - n : y + n, x - n : x + n]]
            for n in (2, 5)
        )
        small, large = (box[np.isfinite(box)].astype(float) for box in boxes)
        if small.size == 0:
            assert np.isnan(value)
        else:
            assert value == np.median(small) - np.median(large)
    assert np.isnan(found[0])


def test_the_fit_is_clipped_least_squares():
    rng = np.random.default_rng(3)
    patterns = rng.normal(size=(2, 3000))
    y = np.array([5.0, -2.0]) @ patterns + rng.normal(0, 0.1, 3000)
    y[:200] += rng.uniform(3, 8, 200)
    y[300], patterns[1, 301] = np.nan, np.nan
    found = solve_fringes(y, patterns)

    def spread(v):
        return 0.74 * np.subtract(*np.percentile(v, [75, 25]))

    good = np.isfinite(y) & np.isfinite(patterns).all(axis=0)
    a, b = y[good], patterns[:, good]
    keep = abs(a - np.median(a)) <= 3 * spread(a)
    a, b = a[keep], b[:, keep]
    while True:
        solution = np.linalg.solve(b @ b.T, b @ a)
        keep = abs(a - solution @ b) <= 3 * spread(a - solution @ b)
        if keep.all():
            break
        a, b = a[keep], b[:, keep]
    assert found.points == len(a)
    np.testing.assert_allclose(found.amplitudes, solution, rtol=1e-12)
    # 0.1 / sqrt(2700), five times.
    np.testing.assert_allclose(found.amplitudes, [5, -2], atol=0.01)
    assert found.iterations < 20


def test_no_points_no_amplitude():
    found = solve_fringes(np.full(5, np.nan), np.ones((1, 5)))
    assert np.isnan(found.amplitudes).all()
    assert found.points == 0


def test_simulated_fringes_are_measured_and_subtracted():
    """Amplitude within 2 % (issue 5) under a sky with noise, a gradient and stars."""
    shape = (400, 420)
    rng = np.random.default_rng(4)
    fringe = draw_fringes(Fringe(), shape, stream("fringe"))
    sky, amplitude = 3000.0, 0.02
    clean = sky * (sky_shape(shape, (0.03, 0.02)) + amplitude * fringe)
    image = rng.poisson(clean).astype(np.float32)
    for y, x in rng.integers(5, 390, (40, 2)):
        image[y - 3 : y + 4, x - 3 : x + 4] += 2000
    usable = np.ones(shape, bool)
    usable[50:80, 60:70] = False
    image[50:80, 60:70] = 65535
    found = measure_fringes(image, [fringe], seed=11, usable=usable, count=10_000)
    # A median of 36 pixels of variance 3000 scatters by 11, and there are 4700 boxes of 36 pixels
    # in the image; the pattern has an rms of 0.7: 11 / (0.7 * sqrt(4700)) = 0.23, 0.4 % of 60.
    assert found.amplitudes[0] == pytest.approx(sky * amplitude, rel=0.02)
    # As the reference does it, the noise of the exposure makes it too small.
    first = measure_fringes(image, [fringe], seed=11, usable=usable, count=10_000, refinements=0)
    assert first.amplitudes[0] < 0.96 * sky * amplitude
    again = measure_fringes(image, [fringe], seed=11, usable=usable, count=10_000)
    np.testing.assert_array_equal(found.amplitudes, again.amplitudes)
    rest = subtract_fringes(clean.astype(np.float32), [fringe], found.amplitudes)
    left = rest - sky * sky_shape(shape, (0.03, 0.02))
    assert left.std() < 0.02 * (sky * amplitude * fringe).std()


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: sample_positions((60, 200), 1),
        lambda: local_contrast(np.zeros((9, 9)), np.zeros((1, 2), int), small=3, large=3),
        lambda: local_contrast(np.zeros((9, 9)), np.zeros((1, 2), int), np.ones(9, bool)),
        lambda: solve_fringes(np.zeros(4), np.zeros((1, 5))),
        lambda: solve_fringes(np.zeros(4), np.zeros((1, 4)), clip=0.0),
        lambda: measure_fringes(np.zeros((90, 90), np.float32), [], 1),
        lambda: subtract_fringes(np.zeros((9, 9), np.float32), [], [1.0]),
    ],
)
def test_what_makes_no_sense_is_refused(attempt):
    with pytest.raises(ValueError):
        attempt()
