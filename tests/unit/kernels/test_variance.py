"""The variance plane against the scatter of simulated pixels, and in its units."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.variance import variance_plane


@pytest.mark.parametrize("unit", ["adu", "electron"])
@pytest.mark.parametrize("noise_unit", ["adu", "electron"])
def test_it_predicts_the_scatter(unit: str, noise_unit: str) -> None:
    """Poisson electrons plus read noise: the variance of 4e5 pixels is known to 0.22 %."""
    gain, noise = 1.7, 8.0
    rng = np.random.default_rng(1)
    electrons = rng.poisson(900, 400_000) + rng.normal(0, noise, 400_000)
    image = (electrons if unit == "electron" else electrons / gain).astype(np.float32)
    given = noise if noise_unit == "electron" else noise / gain
    variance = variance_plane(image, gain, given, unit=unit, read_noise_unit=noise_unit)
    assert variance.dtype == np.float32
    # Five standard deviations of the scatter, sqrt(2/n).
    assert variance.mean(dtype=np.float64) == pytest.approx(image.var(dtype=np.float64), rel=0.011)


def test_numbers_by_hand() -> None:
    image = np.array([0.0, 100.0, -4.0], np.float32)
    np.testing.assert_array_equal(variance_plane(image, 2.0, 6.0), [9, 59, 7])
    np.testing.assert_array_equal(
        variance_plane(image, 2.0, 3.0, read_noise_unit="adu"), [9, 59, 7]
    )
    np.testing.assert_array_equal(variance_plane(image, 2.0, 6.0, unit="electron"), [36, 136, 32])
    np.testing.assert_array_equal(
        variance_plane(image, 2.0, 3.0, unit="electron", read_noise_unit="adu"), [36, 136, 32]
    )


def test_negative_pixels_are_not_cut_off() -> None:
    assert variance_plane(np.array([-100.0], np.float32), 1.0, 2.0)[0] == -96
    assert np.isnan(variance_plane(np.array([np.nan], np.float32), 1.0, 2.0)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gain": 0.0}, "gain"),
        ({"gain": np.nan}, "gain"),
        ({"gain": np.inf}, "gain"),
        ({"read_noise": -1.0}, "read noise"),
        ({"read_noise": np.nan}, "read noise"),
        ({"unit": "counts"}, "counts"),
        ({"read_noise_unit": "volt"}, "volt"),
    ],
)
def test_nonsense_is_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        variance_plane(np.ones(2, np.float32), **{"gain": 1.0, "read_noise": 1.0, **arguments})
