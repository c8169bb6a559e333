"""Interpolation along rows against the specification's weights and a slow implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpflow.kernels.interpolate import interpolate_rows, interpolation_weights


def kriging(places: list[int], target: int) -> np.ndarray:
    """Weights by Lagrange's multiplier, solved in two steps, rounded to 4 decimals."""
    covariance = np.exp(-(np.subtract.outer(places, places) ** 2) / 4)
    to_target = np.exp(-((np.array(places) - target) ** 2) / 4)
    inverse = np.linalg.inv(covariance)
    shift = (1 - inverse.dot(to_target).sum()) / inverse.sum()
    return np.round(inverse @ (to_target + shift), 4)


def slow_row(row: np.ndarray, bad: np.ndarray, fallback: float) -> np.ndarray:
    """Spec 2.13, one pixel after the other."""
    n, out = len(row), row.astype(np.float64)
    x = 0
    while x < n:
        if not bad[x]:
            x += 1
            continue
        first = x
        while x < n and bad[x]:
            x += 1
        last = x - 1
        if first == 0 and last == n - 1:
            return np.full(n, fallback)
        begin, end = first, last
        if first == 0 and last + 1 > 6:
            begin = last - 5
        if last == n - 1 and n - first > 6:
            end = first + 5
        out[first:begin] = fallback
        out[end + 1 : last + 1] = fallback
        filled = set(range(first, begin)) | set(range(end + 1, last + 1))
        donors = []
        for inner, outer in ((begin - 1, begin - 2), (end + 1, end + 2)):
            usable = [0 <= p < n and (p in filled or not bad[p]) for p in (inner, outer)]
            if usable[0]:
                donors += [inner, outer] if usable[1] else [inner]
        donors.sort()
        for target in range(begin, end + 1):
            out[target] = kriging(donors, target) @ out[donors]
    return out


def test_one_bad_pixel() -> None:
    """The example of the specification."""
    near, _ = interpolation_weights()
    np.testing.assert_array_equal(near[2, 2, 1, 0], [-0.2737, 0.7737, 0.7737, -0.2737])


def test_far_inside_a_wide_run() -> None:
    _, far = interpolation_weights()
    np.testing.assert_array_equal(far[2, 2], [0.25] * 4)
    np.testing.assert_array_equal(far[1, 1], [0, 0.5, 0.5, 0])
    np.testing.assert_array_equal(far[1, 2], [0, 0.4707, 0.2646, 0.2646])
    np.testing.assert_array_equal(far[2, 1], [0.2646, 0.2646, 0.4707, 0])


def test_weights_of_every_run() -> None:
    near, _ = interpolation_weights()
    for left in range(3):
        for right in range(3):
            for length in range(1, 13):
                places = [*range(-left, 0), *range(length, length + right)]
                for pixel in range(length if places else 0):
                    weights = near[left, right, length, pixel]
                    used = slice(2 - left, 2 + right)
                    # Two ways to solve a system of condition < 30: 1e-14, but rounding to 4
                    # decimals may fall on either side of a tie.
                    np.testing.assert_allclose(weights[used], kriging(places, pixel), atol=1.01e-4)
                    assert abs(weights.sum() - 1) <= 2.1e-4
    mirrored = near[1, 2, 5, :5][::-1, ::-1]
    np.testing.assert_allclose(near[2, 1, 5, :5], mirrored, atol=1e-12)


@pytest.mark.parametrize("width", [1, 2, 3, 6, 7, 11, 12, 13, 14, 20, 33])
@pytest.mark.parametrize("place", ["inside", "left", "right", "near left", "near right"])
def test_runs_of_any_width_and_place(width: int, place: str) -> None:
    rng = np.random.default_rng(width)
    row = rng.normal(100, 10, 60).astype(np.float32)
    start = {"inside": 12, "left": 0, "right": 60 - width, "near left": 1, "near right": 59 - width}
    bad = np.zeros(60, bool)
    bad[start[place] : start[place] + width] = True
    image = row[None].copy()
    interpolate_rows(image, None, bad[None], 55.0)
    wanted = slow_row(row, bad, 55.0)
    # Beyond runs of 12 the weights are put together from two halves: what the far side adds at a
    # distance of 7 or more is exp(-49/4) = 5e-6, so a weight may round otherwise, by 1e-4 of the
    # donors' differences (at most 60 here, times 4 donors).
    np.testing.assert_allclose(image[0], wanted, rtol=1.2e-7, atol=0 if width <= 12 else 0.024)
    np.testing.assert_array_equal(image[0][~bad], row[~bad])


@pytest.mark.parametrize("width", [13, 14, 19])
def test_wide_runs_are_two_edges_and_a_middle(width: int) -> None:
    """Images of one donor each read the weights out."""
    near, far = interpolation_weights()
    image = np.zeros((4, width + 10), np.float32)
    bad = np.zeros(image.shape, bool)
    bad[:, 5 : 5 + width] = True
    for row, donor in enumerate((3, 4, 5 + width, 6 + width)):
        image[row, donor] = 1
    interpolate_rows(image, None, bad, np.nan)
    weights = image[:, 5 : 5 + width].T
    np.testing.assert_array_equal(weights[:6], near[2, 2, 12, :6].astype(np.float32))
    np.testing.assert_array_equal(weights[-6:], near[2, 2, 12, 6:].astype(np.float32))
    np.testing.assert_array_equal(weights[6:-6], np.tile(far[2, 2], (width - 12, 1)))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 1000))
def test_any_pattern(pattern, seed) -> None:
    bad = np.array(pattern)
    row = np.random.default_rng(seed).normal(0, 5, len(bad)).astype(np.float32)
    image = row[None].copy()
    interpolate_rows(image, None, bad[None], -7.0)
    # As above; no run here is so wide that a tie matters more than 1e-4 of a few tens.
    np.testing.assert_allclose(image[0], slow_row(row, bad, -7.0), rtol=1.2e-7, atol=2e-3)


def test_constants_are_kept() -> None:
    """Weights add up to 1 but for their rounding: 4 of them, half a unit of the 4th decimal."""
    rng = np.random.default_rng(2)
    bad = rng.random((50, 80)) < 0.4
    image = np.full(bad.shape, 1000.0, np.float32)
    interpolate_rows(image, None, bad, 1000.0)
    assert np.abs(image - 1000).max() <= 1000 * 4 * 0.5e-4


def test_rows_are_independent() -> None:
    rng = np.random.default_rng(3)
    bad = rng.random((30, 50)) < 0.3
    image = rng.normal(10, 3, bad.shape).astype(np.float32)
    together, fallback = image.copy(), np.arange(30, dtype=np.float32)
    bad[5] = True
    bad[6] = False
    interpolate_rows(together, None, bad, fallback)
    for row in range(30):
        alone = image[row : row + 1].copy()
        interpolate_rows(alone, None, bad[row : row + 1], float(fallback[row]))
        np.testing.assert_array_equal(alone[0], together[row])
    np.testing.assert_array_equal(together[5], 5.0)
    np.testing.assert_array_equal(together[6], image[6])


def test_the_variance_takes_the_same_weights() -> None:
    """Not squared (spec 2.13): where no fallback is used, image and variance are one operation."""
    rng = np.random.default_rng(4)
    bad = np.zeros((20, 60), bool)
    bad[:, 10:13] = bad[:, 30:45] = bad[:, :4] = True
    image = rng.normal(50, 3, bad.shape).astype(np.float32)
    variance = image.copy()
    interpolate_rows(image, variance, bad, np.nan)
    np.testing.assert_array_equal(image, variance)


def test_the_variance_at_a_border() -> None:
    """The fallback says nothing of a variance: the nearest good pixel does."""
    image = np.full((2, 30), 7.0, np.float32)
    variance = np.tile(np.arange(30, dtype=np.float32), (2, 1))
    bad = np.zeros(image.shape, bool)
    bad[0, :12] = bad[0, 20:] = True
    bad[1] = True
    interpolate_rows(image, variance, bad, 9.0)
    np.testing.assert_array_equal(variance[0, :6], 12.0)
    np.testing.assert_array_equal(variance[0, 26:], 19.0)
    np.testing.assert_array_equal(image[0, :6], 9.0)
    np.testing.assert_array_equal(variance[1], np.arange(30))
    np.testing.assert_array_equal(image[1], 9.0)


def test_bad_values_do_not_matter() -> None:
    rng = np.random.default_rng(5)
    bad = rng.random((10, 40)) < 0.3
    image = rng.normal(0, 1, bad.shape).astype(np.float32)
    other = np.where(bad, np.float32(np.nan), image)
    interpolate_rows(image, None, bad, 0.0)
    interpolate_rows(other, None, bad, 0.0)
    np.testing.assert_array_equal(image, other)


def test_a_view_is_repaired_in_place() -> None:
    rng = np.random.default_rng(6)
    whole = rng.normal(0, 1, (20, 90)).astype(np.float32)
    bad = rng.random((10, 45)) < 0.2
    copy = whole[::2, ::-2].copy()
    interpolate_rows(whole[::2, ::-2], None, bad, 0.0)
    interpolate_rows(copy, None, bad, 0.0)
    np.testing.assert_array_equal(whole[::2, ::-2], copy)


def test_nonsense_is_refused() -> None:
    image, bad = np.zeros((3, 4), np.float32), np.zeros((3, 4), bool)
    with pytest.raises(ValueError, match="flags of shape"):
        interpolate_rows(image, None, bad[:2], 0.0)
    with pytest.raises(ValueError, match="variance of"):
        interpolate_rows(image, image[:2], bad, 0.0)
    with pytest.raises(ValueError, match="float32"):
        interpolate_rows(image.astype(np.float64), None, bad, 0.0)
