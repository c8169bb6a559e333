"""Plain mean and median of a stack against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.planes import BAD, CR
from cpflow.kernels.stack_statistics import mean_stack, median_stack


@pytest.fixture
def stack() -> np.ndarray:
    rng = np.random.default_rng(4)
    stack = rng.normal(100, 5, (11, 400)).astype(np.float32)
    stack[rng.random(stack.shape) < 0.2] = np.nan
    stack[:, 3] = np.nan
    return stack


def test_mean_of_what_is_finite(stack: np.ndarray) -> None:
    ours = mean_stack(stack)
    n = np.isfinite(stack).sum(axis=0)
    wanted = np.full(400, np.nan)
    np.divide(np.nansum(stack, axis=0, dtype=np.float64), n, out=wanted, where=n > 0)
    # Rounded once from float64 sums: half a float32 step, which is 6e-8.
    np.testing.assert_allclose(ours.image, wanted, rtol=6.1e-8)
    np.testing.assert_array_equal(ours.good, n)
    np.testing.assert_array_equal(ours.used, n)
    assert ours.mask[3] == BAD


def test_mean_keeps_every_outlier() -> None:
    ours = mean_stack(np.array([[0], [0], [0], [0], [0], [6e6]], np.float32))
    assert ours.image[0] == 1e6
    # Sample variance over n: (5*(1e6)**2 + (5e6)**2)/5/6
    assert ours.variance[0] == np.float32(1e12)


def test_two_flats_with_weights() -> None:
    """Spec 3.2: mean of flat1*2w and flat2*2(1-w), variances from the inputs."""
    w = 0.25
    flats = np.array([[4.0, 8.0], [2.0, 6.0]], np.float32)
    variance = np.array([[16.0, 16.0], [4.0, 4.0]], np.float32)
    ours = mean_stack(flats, variance=variance, scale=[1 / (2 * w), 1 / (2 * (1 - w))])
    np.testing.assert_allclose(ours.image, w * flats[0] + (1 - w) * flats[1], rtol=1e-7)
    np.testing.assert_allclose(
        ours.variance, w**2 * variance[0] + (1 - w) ** 2 * variance[1], rtol=1e-7
    )


def test_median_of_what_is_good(stack: np.ndarray) -> None:
    mask = np.where(np.random.default_rng(1).random(stack.shape) < 0.1, CR, 0).astype(np.uint16)
    ours = median_stack(stack, mask, excluded=CR)
    for pixel in range(400):
        values = stack[:, pixel][np.isfinite(stack[:, pixel]) & (mask[:, pixel] == 0)]
        assert ours.used[pixel] == ours.good[pixel] == len(values)
        if len(values):
            assert ours.image[pixel] == np.float32(np.median(values.astype(np.float64)))
        else:
            assert np.isnan(ours.image[pixel])


def test_the_variance_of_a_median_is_right() -> None:
    """For 101 normal values pi/2/101 is within 1 % of the true one (1/(1.5715*101/1.5708))."""
    rng = np.random.default_rng(6)
    stack = rng.normal(0, 3, (101, 20_000)).astype(np.float32)
    ours = median_stack(stack)
    scatter = ours.image.var(dtype=np.float64)
    # The scatter of 20000 medians is known to sqrt(2/20000) = 1 %; 4 sigma and the 1 % above.
    assert ours.variance.mean(dtype=np.float64) == pytest.approx(scatter, rel=0.05)


def test_the_median_of_two_is_their_mean() -> None:
    stack = np.array([[1.0, 5.0], [2.0, 9.0]], np.float32)
    median, mean = median_stack(stack), mean_stack(stack)
    np.testing.assert_array_equal(median.image, mean.image)
    np.testing.assert_array_equal(median.variance, mean.variance)


def test_median_takes_the_variance_of_few_inputs() -> None:
    stack = np.arange(3, dtype=np.float32).reshape(3, 1)
    ours = median_stack(stack, variance=np.full((3, 1), 4.0), scale=np.full(3, 2.0))
    assert ours.variance[0] == pytest.approx(np.pi / 2 / 3, rel=1e-7)
