"""Superpixels against a loop over pixels, and against skies whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import reference

from cpflow.kernels.focal_plane_sky import (
    Placement,
    add_to_superpixels,
    sky_on_detector,
    superpixel_grid,
    superpixel_levels,
)

PIXEL = 0.1
QUARTER_TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


def detectors():
    """Four detectors of 60 x 80 pixels of 0.1 mm, with gaps; one turned, one mirrored."""
    straight = PIXEL * np.eye(2)
    return [
        Placement((60, 80), straight, np.array([-10.0, -10.0])),
        Placement((60, 80), PIXEL * QUARTER_TURN, np.array([6.3, -10.0])),
        Placement((60, 80), straight @ np.diag([-1.0, 1.0]), np.array([-2.0, 0.5])),
        Placement((60, 80), straight, np.array([0.4, 0.7])),
    ]


def focal_plane(placement):
    rows, columns = placement.shape
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    return placement.to_focal_plane(np.stack([x, y], axis=-1))


def test_the_latiss_grid_has_two_by_two_measured_superpixels():
    latiss = Placement((4000, 4072), 0.01 * np.eye(2), np.array([-20.355, -19.995]))
    np.testing.assert_allclose(latiss.corners.min(axis=0), [-20.36, -20.0])
    np.testing.assert_allclose(np.ptp(latiss.corners, axis=0), [40.72, 40.0])
    grid = superpixel_grid([latiss], 40.96, 40.96)
    assert grid.shape == (3, 3)
    scaled = Placement((400, 407), 0.1 * np.eye(2), np.array([-20.3, -19.95]))
    grid = superpixel_grid([scaled], 40.96, 40.96)
    image = np.ones(scaled.shape, np.float32)
    sums, counts = add_to_superpixels(image, scaled, grid)
    assert np.argwhere(counts).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert counts.sum() == image.size
    np.testing.assert_array_equal(sums, counts)
    levels = superpixel_levels(sums, counts, (40.96 / 0.1) ** 2)
    np.testing.assert_allclose(levels, 1)


def test_superpixels_against_a_loop_over_pixels():
    """Each pixel belongs to the superpixel of its centre, also on turned detectors."""
    rng = np.random.default_rng(1)
    # Of such sizes that no pixel has its centre on an edge.
    grid = superpixel_grid(detectors(), 4.137, 3.319)
    for placement in detectors():
        image = rng.normal(100, 5, placement.shape).astype(np.float32)
        usable = rng.random(placement.shape) < 0.9
        sums, counts = add_to_superpixels(image, placement, grid, usable)
        where = np.floor(grid.to_grid(focal_plane(placement)) + 0.5).astype(int)
        expected = np.zeros(grid.shape)
        number = np.zeros(grid.shape, int)
        for j in range(grid.shape[0]):
            for i in range(grid.shape[1]):
                mine = usable & (where[..., 0] == i) & (where[..., 1] == j)
                number[j, i] = mine.sum()
                if mine.any():
                    mean, _, _ = reference.clipped_mean(image[mine].astype(float)[:, None])
                    expected[j, i] = mean[0] * mine.sum()
        np.testing.assert_array_equal(counts, number)
        np.testing.assert_allclose(sums, expected, rtol=1e-10)
        assert counts.sum() == usable.sum()


def test_a_tilted_sky_goes_to_the_grid_and_back():
    """Known truth: a plane over the focal plane, without and with noise."""
    rng = np.random.default_rng(2)
    grid = superpixel_grid(detectors(), 2.0, 2.0)

    def sky(placement):
        mm = focal_plane(placement)
        return 500 + 3 * mm[..., 0] - 2 * mm[..., 1]

    for noise in (0.0, 2.0):
        sums, counts = np.zeros(grid.shape), np.zeros(grid.shape, int)
        for placement in detectors():
            image = sky(placement) + rng.normal(0, noise, placement.shape)
            found = add_to_superpixels(image.astype(np.float32), placement, grid)
            sums, counts = sums + found[0], counts + found[1]
        levels = superpixel_levels(sums, counts, 400, min_fraction=0.95)
        for placement in detectors():
            model = sky_on_detector(levels, grid, placement, binning=8)
            # A superpixel that is partly covered has its level at another place than its centre:
            # by at most 2.5 % of 2 mm * 5 per mm = 0.25, and extrapolation at the corners of the
            # focal plane takes that several times. Of the noise, 2/sqrt(400) = 0.1 in a superpixel,
            # it makes 30 times as much at the worst corner.
            difference = model - sky(placement)
            assert np.abs(difference).max() < 1.5 + 30 * noise / 20
            assert abs(difference.mean()) < 0.5 + 3 * noise / 20
            part = sky_on_detector(levels, grid, placement, binning=8, rows=slice(7, 20))
            np.testing.assert_array_equal(part, model[7:20])


def test_a_plane_on_the_grid_is_a_plane_on_the_detector():
    grid = superpixel_grid(detectors(), 3.0, 5.0)
    i, j = np.meshgrid(np.arange(grid.shape[1]), np.arange(grid.shape[0]))
    mm = grid.from_grid(np.stack([i, j], axis=-1))
    levels = 1000 + 7 * mm[..., 0] - 11 * mm[..., 1]
    for placement in detectors():
        here = focal_plane(placement)
        expected = 1000 + 7 * here[..., 0] - 11 * here[..., 1]
        np.testing.assert_allclose(
            sky_on_detector(levels, grid, placement, binning=16), expected, rtol=2e-7
        )


def test_levels_are_means_and_thin_superpixels_are_filled():
    counts = np.array([[0, 100, 100], [100, 9, 100], [100, 100, 100]])
    values = np.add.outer(np.arange(3.0) * 10, np.arange(3.0))
    sums = values * counts
    sums[1, 1] = 9e9
    levels = superpixel_levels(sums, counts, 100)
    np.testing.assert_allclose(levels, values)
    assert np.median(levels) == 11


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: superpixel_grid([], 1.0, 1.0),
        lambda: superpixel_grid(detectors(), 0.0, 1.0),
        lambda: superpixel_levels(np.zeros((2, 2)), np.zeros((2, 2)), 10),
        lambda: sky_on_detector(
            np.zeros((2, 2)), superpixel_grid(detectors(), 1.0, 1.0), detectors()[0]
        ),
        lambda: add_to_superpixels(
            np.zeros((2, 2), np.float32), detectors()[0], superpixel_grid(detectors(), 1.0, 1.0)
        ),
    ],
)
def test_what_makes_no_sense_is_refused(attempt):
    with pytest.raises(ValueError):
        attempt()
