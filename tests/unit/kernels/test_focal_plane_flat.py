"""Chips and exposures apart: exact products, least squares, the reference's iteration."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.focal_plane_flat import solve_focal_plane


def drawn(chips, exposures, seed):
    rng = np.random.default_rng(seed)
    response = rng.uniform(0.5, 1.6, chips)
    level = rng.uniform(2000, 40000, exposures)
    pixels = rng.uniform(1e5, 2e7, (chips, exposures))
    return rng, response, level, pixels


def normalised(response, weights):
    return response / np.average(response, weights=weights.sum(axis=1))


@pytest.mark.parametrize("missing", [0.0, 0.5])
@pytest.mark.parametrize(("chips", "exposures"), [(1, 4), (4, 1), (4, 10), (30, 12)])
def test_products_come_apart_exactly(chips, exposures, missing):
    rng, response, level, pixels = drawn(chips, exposures, 1)
    levels = np.outer(response, level)
    gone = rng.random(levels.shape) < missing
    # The first chip and the first exposure hold everything together.
    gone[0], gone[:, 0] = False, False
    levels[gone] = np.nan
    scales = solve_focal_plane(levels, pixels)
    pixels[gone] = 0
    truth = normalised(response, pixels)
    # The condition of the equations, below 1e4 here, times the rounding of doubles.
    np.testing.assert_allclose(scales.chips, truth, rtol=1e-11)
    np.testing.assert_allclose(scales.exposures, level * (response / truth)[0], rtol=1e-11)
    assert scales.residual < 1e-12


def test_noisy_levels_against_least_squares_with_all_unknowns():
    rng, response, level, pixels = drawn(7, 9, 2)
    levels = np.outer(response, level) * np.exp(rng.normal(0, 0.02, (7, 9)))
    gone = rng.random(levels.shape) < 0.3
    levels[gone] = np.nan
    scales = solve_focal_plane(levels, pixels)
    pixels[gone] = 0
    c, e = np.nonzero(~gone)
    design = np.zeros((len(c), 16))
    design[np.arange(len(c)), c] = design[np.arange(len(c)), 7 + e] = 1
    root = np.sqrt(pixels[c, e])
    solution = np.linalg.lstsq(design * root[:, None], np.log(levels[c, e]) * root, rcond=None)[0]
    chips = np.exp(solution[:7])
    mean = np.average(chips, weights=pixels.sum(axis=1))
    np.testing.assert_allclose(scales.chips, chips / mean, rtol=1e-10)
    np.testing.assert_allclose(scales.exposures, np.exp(solution[7:]) * mean, rtol=1e-10)
    rest = np.log(levels[c, e]) - np.log(scales.chips[c] * scales.exposures[e])
    rms = np.sqrt(np.average(rest**2, weights=pixels[c, e]))
    assert scales.residual == pytest.approx(rms, rel=1e-9)


def test_the_iteration_of_the_specification_tends_to_it():
    rng, response, level, pixels = drawn(5, 8, 3)
    log = np.log(np.outer(response, level) * np.exp(rng.normal(0, 0.01, (5, 8))))
    missing = np.zeros(log.shape, bool)
    missing[1, 2] = missing[4, :3] = True
    weights = np.where(missing, 0, pixels)

    def average(values, axis):
        return np.average(values, axis=axis, weights=weights)

    chips = np.zeros(5)
    exposures = average(log - chips[:, None], 0)
    for _ in range(200):
        chips = average(log - exposures, 1)
        exposures = average(log - chips[:, None], 0)
        chips -= np.log(np.average(np.exp(chips), weights=weights.sum(axis=1)))
    exposures = average(log - chips[:, None], 0)
    scales = solve_focal_plane(np.exp(np.where(missing, np.nan, log)), pixels)
    np.testing.assert_allclose(scales.exposures, np.exp(exposures), rtol=1e-11)
    np.testing.assert_allclose(scales.chips, np.exp(chips), rtol=1e-11)


def test_a_drifting_lamp_and_four_chips():
    """Issue 5: response and levels within 0.1 %, with a detector that drops out."""
    rng, response, _, _ = drawn(4, 20, 4)
    lamp = 20000 * (1 + rng.uniform(-0.1, 0.1, 20))
    pixels = np.full((4, 20), 1e5)
    # A clipped mean of 1e5 pixels with shot noise scatters by 0.007/sqrt(1e5) = 2e-5 or so.
    levels = np.outer(response, lamp) * (1 + rng.normal(0, 3e-5, (4, 20)))
    levels[2, 5:9] = np.nan
    scales = solve_focal_plane(levels, pixels)
    ratio = scales.chips / response
    np.testing.assert_allclose(ratio / ratio.mean(), 1, atol=1e-3 / 10)
    ratio = scales.exposures / lamp
    np.testing.assert_allclose(ratio / ratio.mean(), 1, atol=1e-3 / 10)


def test_what_was_not_measured_is_nan():
    levels = np.array([[10.0, 20.0, -1.0, np.inf], [20.0, 40.0, 0.0, 5.0], [np.nan] * 4])
    weights = np.ones((3, 4))
    weights[1, 3] = 0
    scales = solve_focal_plane(levels, weights)
    np.testing.assert_allclose(scales.chips, [2 / 3, 4 / 3, np.nan])
    np.testing.assert_allclose(scales.exposures, [15, 30, np.nan, np.nan])


@pytest.mark.parametrize(
    ("levels", "weights", "words"),
    [
        (np.ones((2, 2)), np.ones((2, 3)), "weights of"),
        (np.ones((2, 2)), -np.ones((2, 2)), "negative"),
        (np.full((2, 2), np.nan), np.ones((2, 2)), "no chip"),
        (np.ones((2, 2)), np.eye(2), "2 groups"),
    ],
)
def test_what_cannot_be_solved_is_refused(levels, weights, words):
    with pytest.raises(ValueError, match=words):
        solve_focal_plane(levels, weights)
