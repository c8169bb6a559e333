"""Crosstalk against plain numpy, and against ghosts that the simulator added."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.crosstalk import (
    convert_coefficients,
    crosstalk_subtrahend,
    mask_bright_sources,
    mask_large_subtrahends,
    subtract_crosstalk,
)
from cpflow.simulate.crosstalk import add_crosstalk

AMPS = 5


@pytest.fixture
def image():
    rng = np.random.default_rng(1)
    # 700 columns: one whole block of columns and a part of one.
    image = rng.normal(1000, 30, (AMPS, 9, 700)).astype(np.float32)
    image[rng.random(image.shape) < 0.02] = 60_000
    return image


@pytest.fixture
def matrices():
    rng = np.random.default_rng(2)
    return rng.normal(0, 1e-3, (AMPS, AMPS)), rng.normal(0, 1e-9, (AMPS, AMPS))


def plain(image, c, q=None, background=0.0):
    """Return the subtrahend in float64."""
    j = np.nan_to_num(image.astype(float) - np.reshape(background, (-1, 1, 1)))
    c = c * (1 - np.eye(len(c)))
    total = np.einsum("st,syx->tyx", c, j)
    if q is not None:
        total += np.einsum("st,syx->tyx", q * (1 - np.eye(len(c))), j**2)
    return total


@pytest.mark.parametrize("with_quadratic", [False, True])
@pytest.mark.parametrize("background", [0.0, np.array([990.0, 1001, 1002, 980, 1010])])
def test_subtrahend_is_a_product_of_matrices(image, matrices, with_quadratic, background):
    c, q = matrices[0], matrices[1] if with_quadratic else None
    expected = plain(image, c, q, background)
    found = crosstalk_subtrahend(image, c, q, None, background)
    # Rounded once to float32, from sums whose terms are 60 or so: 60 * 4 * 2.2e-16 is nothing.
    np.testing.assert_allclose(found, expected, rtol=2**-24, atol=1e-12)
    before = image.copy()
    subtract_crosstalk(image, c, q, None, background)
    np.testing.assert_array_equal(image, before - found)


def test_rows_are_sources():
    image = np.zeros((3, 4, 6), np.float32)
    image[1, 2, 3] = 1000
    c = np.array([[0, 1e-3, 2e-3], [3e-3, 7.0, 4e-3], [5e-3, 6e-3, 0]])
    subtract_crosstalk(image, c)
    expected = np.zeros_like(image)
    expected[:, 2, 3] = -3, 1000, -4
    np.testing.assert_array_equal(image, expected)


def test_any_rows_give_the_same_bits(image, matrices):
    whole = image.copy()
    subtract_crosstalk(whole, *matrices)
    for start, stop in ((0, 1), (1, 4), (4, 9)):
        band = image[:, start:stop]
        copied = band.copy()
        subtract_crosstalk(copied, *matrices)
        np.testing.assert_array_equal(copied, whole[:, start:stop])
        # A view, whose rows are not behind one another.
        subtract_crosstalk(band, *matrices)
    np.testing.assert_array_equal(image, whole)
    # Nor do columns matter.
    part = np.ascontiguousarray(whole[:, :, 3:100])
    again = crosstalk_subtrahend(part, *matrices)
    np.testing.assert_array_equal(again, crosstalk_subtrahend(whole, *matrices)[:, :, 3:100])


def test_what_is_not_used(image, matrices):
    c, q = (matrix.copy() for matrix in matrices)
    valid = np.ones((AMPS, AMPS), bool)
    c[0, 1], c[1, 2], c[2, 3], q[3, 4] = 0.0, np.nan, np.inf, np.nan
    valid[4, 0] = False
    used, squares = c.copy(), q.copy()
    for pair in ((1, 2), (2, 3), (4, 0)):
        used[pair] = 0
    for pair in ((0, 1), (1, 2), (2, 3), (4, 0), (3, 4)):
        squares[pair] = 0
    found = crosstalk_subtrahend(image, c, q, valid)
    np.testing.assert_array_equal(found, crosstalk_subtrahend(image, used, squares))
    np.testing.assert_allclose(found, plain(image, used, squares), rtol=2**-24, atol=1e-12)


def test_nan_stays_where_it_is(image, matrices):
    image[2, 3, 4] = np.nan
    image[1, 3, 5] = np.inf
    found = crosstalk_subtrahend(image, *matrices)
    assert np.isfinite(found).all()
    without = image.copy()
    without[2, 3, 4] = without[1, 3, 5] = 0
    np.testing.assert_array_equal(found, crosstalk_subtrahend(without, *matrices))
    subtract_crosstalk(image, *matrices)
    assert np.argwhere(np.isnan(image)).tolist() == [[2, 3, 4]]
    # An amplifier without a median is no source at all.
    background = np.array([0, np.nan, 0, 0, 0])
    c = matrices[0].copy()
    c[1] = 0
    np.testing.assert_array_equal(
        crosstalk_subtrahend(without, matrices[0], background=background),
        crosstalk_subtrahend(without, c),
    )


@pytest.mark.parametrize("size", [0, 1, 512, 513])
def test_widths(size, matrices):
    image = np.random.default_rng(3).normal(5e4, 1, (AMPS, 1, size)).astype(np.float32)
    found = crosstalk_subtrahend(image, *matrices)
    np.testing.assert_allclose(found, plain(image, *matrices), rtol=2**-24, atol=1e-12)


def test_simulated_ghosts_are_removed():
    rng = np.random.default_rng(4)
    c = np.where(np.eye(AMPS), 0, rng.uniform(1e-4, 4e-4, (AMPS, AMPS)))
    q = np.where(np.eye(AMPS), 0, rng.uniform(0, 1e-9, (AMPS, AMPS)))
    clean = np.zeros((AMPS, 50, 60), np.float32)
    clean[rng.random(clean.shape) < 0.1] = 60_000
    image = add_crosstalk(clean, c, q)
    ghosts = np.abs(image - clean).max()
    assert ghosts > 20
    subtract_crosstalk(image, c, q)
    # Sources have ghosts themselves: a relative k = 4 (4e-4 + 1e-9 * 6e4) of the brightest, and
    # 2 k in the square; then half a unit in the last place of 60,000 for each of three roundings.
    k = 4 * (4e-4 + 1e-9 * 6e4)
    assert np.abs(image - clean).max() < 2 * k**2 * 6e4 + 3 * 2**-9
    assert np.abs(image - clean).max() < 0.01 * ghosts


def test_targets_of_bright_sources(image, matrices):
    c = matrices[0].copy()
    valid = np.ones(c.shape, bool)
    c[0, 1], c[1, 2], valid[2, 3] = 0, np.nan, False
    median = np.array([1000.0, 1e6, 1000, 900, 1000])
    image[0, 0, :3] = 41_000, np.nextafter(np.float32(41_000), np.float32(0)), np.nan
    found = mask_bright_sources(image, c, 40_000, valid, median)
    expected = np.zeros(image.shape, bool)
    for s in range(AMPS):
        for t in range(AMPS):
            if s != t and valid[s, t] and np.isfinite(c[s, t]) and c[s, t] != 0:
                expected[t] |= image[s] >= 40_000 + median[s]
    np.testing.assert_array_equal(found, expected)
    assert 0 < found.mean() < 0.2
    for start, stop in ((0, 4), (4, 9)):
        band = mask_bright_sources(image[:, start:stop], c, 40_000, valid, median)
        np.testing.assert_array_equal(band, found[:, start:stop])
    assert not mask_bright_sources(image, np.zeros_like(c), 0).any()


def test_large_subtrahends(image, matrices):
    subtrahend = crosstalk_subtrahend(image, *matrices)
    median = np.median(subtrahend, axis=(1, 2))
    found = mask_large_subtrahends(subtrahend, 10.0, median)
    expected = np.abs(subtrahend.astype(float) - median[:, None, None].astype(float)) >= 10
    np.testing.assert_array_equal(found, expected)
    assert 0 < found.mean() < 0.2
    at = np.array([[[1.0, -1.0, 0.5, -0.5]]], np.float32)
    assert mask_large_subtrahends(at, 1.0).tolist() == [[[True, True, False, False]]]


def test_units_do_not_matter(image, matrices):
    gains = np.array([1.0, 1.3, 0.7, 1.6, 0.9])
    in_electrons = image * gains[:, None, None].astype(np.float32)
    for_adu = convert_coefficients(*matrices, gains, "adu")
    subtract_crosstalk(in_electrons, *matrices)
    subtract_crosstalk(image, *for_adu)
    # Three roundings to float32 on the way in either unit.
    np.testing.assert_allclose(in_electrons, image * gains[:, None, None], rtol=3 * 2**-23)
    back = convert_coefficients(*for_adu, gains, "electron")
    np.testing.assert_allclose(back, matrices, rtol=1e-14)
    c, none = convert_coefficients(matrices[0], None, gains, "adu")
    assert none is None
    assert c[1, 2] == pytest.approx(matrices[0][1, 2] * 1.3 / 0.7)


def test_missing_gains_are_the_median(matrices):
    gains = np.array([1.0, np.nan, 2.0, 0.0, 4.0])
    filled = np.array([1.0, 2.0, 2.0, 2.0, 4.0])
    np.testing.assert_array_equal(
        convert_coefficients(*matrices, gains, "adu"),
        convert_coefficients(*matrices, filled, "adu"),
    )
    assert np.isnan(gains[1])


@pytest.mark.parametrize(
    "attempt",
    [
        lambda c: subtract_crosstalk(np.zeros((AMPS, 2, 2)), c),
        lambda c: subtract_crosstalk(np.zeros((4, 2, 2), np.float32), c),
        lambda c: subtract_crosstalk(np.zeros((AMPS, 2, 2), np.float32), c, c[:4]),
        lambda c: subtract_crosstalk(np.zeros((AMPS, 2, 2), np.float32), c, None, c[:4] > 0),
        lambda c: subtract_crosstalk(np.zeros((AMPS, 2, 2), np.float32), c, background=[1.0, 2]),
        lambda c: mask_bright_sources(np.zeros((AMPS, 2), np.float32), c, 1.0),
        lambda c: mask_large_subtrahends(np.zeros((AMPS, 2, 2), np.float32), 1.0, [0.0]),
        lambda c: convert_coefficients(c, None, np.full(AMPS, np.nan), "adu"),
        lambda c: convert_coefficients(c, None, np.ones(4), "adu"),
        lambda c: convert_coefficients(c, None, np.ones(AMPS), "photon"),
    ],
)
def test_what_makes_no_sense_is_refused(attempt, matrices):
    with pytest.raises(ValueError):
        attempt(matrices[0])
