"""Detection against scipy's convolution, and against stars whose places are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from cpflow.kernels.detection import DetectionCriteria, detect, gaussian_kernel
from cpflow.simulate.stars import Catalogue, render

SKY = DetectionCriteria(sigma=5.0, threshold=2.5)


def slow_detections(image, variance, sigma, width, threshold, usable):
    """Signal to noise of the smoothed image by two-dimensional convolution in float64."""
    yy, xx = np.indices((width, width)) - width // 2
    kernel = np.exp(-(yy**2 + xx**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    good = usable & np.isfinite(image) & np.isfinite(variance) & (variance > 0)
    signal = ndimage.correlate(np.where(good, image, 0).astype(float), kernel, mode="constant")
    noise = ndimage.correlate(np.where(good, variance, 0).astype(float), kernel**2, mode="constant")
    half = width // 2
    edge = np.ones(image.shape, bool)
    edge[half:-half, half:-half] = False
    with np.errstate(all="ignore"):
        return np.where(edge, -np.inf, signal / np.sqrt(noise)), edge


@pytest.mark.parametrize("criteria", [DetectionCriteria(), SKY, DetectionCriteria(2.0, 3.0, 9)])
def test_the_threshold_is_in_standard_deviations_of_a_smoothed_pixel(criteria):
    rng = np.random.default_rng(1)
    shape = (120, 150)
    variance = rng.uniform(20, 40, shape).astype(np.float32)
    image = (rng.normal(0, np.sqrt(variance)) + 7).astype(np.float32)
    image[tuple(rng.integers(0, shape, (40, 2)).T)] += 400
    image[tuple(rng.integers(0, shape, (9, 2)).T)] = np.nan
    variance[tuple(rng.integers(0, shape, (9, 2)).T)] = [0, -1, np.nan] * 3
    usable = rng.random(shape) > 0.05
    found = detect(image, variance, criteria, usable=usable, level=7.0)
    width = criteria.kernel_width
    ratio, edge = slow_detections(
        image - np.float32(7), variance, criteria.sigma, width, criteria.threshold, usable
    )
    # A float32 sum of width^2 products rounds by at most about width^2 * 6e-8 of its terms, which
    # are of the order of the noise: below 1e-4 of the threshold. So close to it nothing is tested.
    close = np.abs(ratio / criteria.threshold - 1) < 1e-4
    above = ratio >= criteria.threshold
    assert above.sum() > 50
    assert abs(found.peaks - above.sum()) <= close.sum()
    yy, xx = np.indices(np.array([2, 2]) * criteria.radius + 1) - criteria.radius
    disc = yy**2 + xx**2 <= criteria.radius**2
    expected = ndimage.binary_dilation(above, disc)
    unsure = ndimage.binary_dilation(close, disc)
    np.testing.assert_array_equal(found.mask[~unsure], expected[~unsure])
    np.testing.assert_array_equal(found.edge, edge)


def test_kernel_widths_and_radii_of_the_specification():
    assert (DetectionCriteria().kernel_width, DetectionCriteria().radius) == (7, 2)
    assert (SKY.kernel_width, SKY.radius) == (35, 12)
    kernel = gaussian_kernel(1.0, 7)
    assert kernel.sum() == pytest.approx(1, abs=1e-15)
    assert kernel[3] / kernel[4] == pytest.approx(np.exp(0.5))


def test_stars_are_found_and_noise_is_not():
    rng = np.random.default_rng(2)
    shape, noise, sigma = (600, 600), 10.0, 1.8
    grid = np.arange(40, 580, 40.0)
    y, x = (v.ravel() + rng.uniform(-5, 5, grid.size**2) for v in np.meshgrid(grid, grid))
    # A Gaussian star of sigma s, smoothed by t, has the height F / (2 pi (s^2 + t^2)); the noise
    # falls by 1 / (2 t sqrt(pi)). So F = 2 pi (s^2 + t^2) / (2 t sqrt(pi)) * k * noise is k sigma.
    flux = 2 * np.pi * (sigma**2 + 1) / (2 * np.sqrt(np.pi)) * 12 * noise
    stars = render(Catalogue(y, x, np.full(y.size, flux)), sigma, shape)
    image = (stars + rng.normal(0, noise, shape)).astype(np.float32)
    variance = np.full(shape, noise**2, np.float32)
    found = detect(image, variance)
    # Twelve sigma, less what the pixel's centre is off: no star is missed.
    assert all(found.mask[round(v), round(u)] for v, u in zip(y, x, strict=True))
    _, count = ndimage.label(found.mask)
    # The noise exceeds 5 sigma in 3e-7 of the pixels, a tenth of one in this image.
    assert count <= y.size + 2
    assert not detect(image * 0, variance).mask.any()
    nothing = detect(-image, variance)
    assert nothing.peaks <= 2


def test_pixels_without_weight_hide_nothing_and_show_nothing():
    image = np.zeros((50, 50), np.float32)
    variance = np.ones_like(image)
    image[25, 25] = 1e6
    usable = np.ones(image.shape, bool)
    usable[25, 25] = False
    assert detect(image, variance, usable=usable).peaks == 0
    image[25, 25], image[25, 26] = np.nan, 100
    found = detect(image, variance)
    assert found.mask[25, 25]
    assert found.mask[25, 26]
    assert detect(image, variance * 0).peaks == 0


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: DetectionCriteria(sigma=0.0),
        lambda: DetectionCriteria(width=8),
        lambda: detect(np.zeros((9, 9)), np.ones((9, 9), np.float32)),
        lambda: detect(np.zeros((9, 9), np.float32), np.ones((9, 8), np.float32)),
        lambda: detect(np.zeros((5, 9), np.float32), np.ones((5, 9), np.float32)),
        lambda: detect(
            np.zeros((9, 9), np.float32), np.ones((9, 9), np.float32), usable=np.ones(9, bool)
        ),
    ],
)
def test_what_makes_no_sense_is_refused(attempt):
    with pytest.raises(ValueError):
        attempt()
