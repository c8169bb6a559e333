"""The EMVA 1288 linearity error against the published one of a real camera."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from astropy.io import fits
from scipy.optimize import minimize

from cpflow.kernels.emva_linearity import emva_linearity

SATURATION = 36


def test_published_linearity_error_of_a_camera(real_data):
    """Within 0.05 percentage points, from the even ones of the 50 levels behind these numbers."""
    directory = real_data / "emva1288_ccd12"
    if not directory.is_dir():
        pytest.skip(f"no frames of the EMVA 1288 reference set: {directory} does not exist")
    with (directory / "exposures.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if "stack" not in row["file"]]
    means, photons = {}, {}
    for row in rows:
        with fits.open(directory / row["file"]) as hdus:
            mean = hdus[1].data.mean(dtype=np.float64)
        level = int(row["level"])
        means.setdefault((level, row["type"]), []).append(mean)
        if row["type"] == "flat":
            photons[level] = float(row["photons_per_pixel"])
    levels = np.array(sorted(photons))
    signal = np.array([np.mean(means[n, "flat"]) - np.mean(means[n, "dark"]) for n in levels])
    light = np.array([photons[n] for n in levels])
    found = emva_linearity(light, signal, signal[levels == SATURATION][0])
    assert levels[found.used][[0, -1]].tolist() == [2, 34]
    assert found.minimum == pytest.approx(-0.615797581149, abs=0.05)
    assert found.maximum == pytest.approx(0.480448332752, abs=0.05)


def test_the_line_minimises_relative_deviations():
    rng = np.random.default_rng(1)
    h = np.linspace(1, 100, 40)
    y = 5 + 30 * h - 0.02 * h**2 + rng.normal(0, 1, 40)
    found = emva_linearity(h, y, 3000.0)
    used = (y >= 150) & (y <= 2850)

    def cost(p):
        return np.sum(((y - p[0] - p[1] * h) / y)[used] ** 2)

    best = minimize(cost, [0, 30], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-18})
    np.testing.assert_allclose([found.offset, found.slope], best.x, rtol=1e-5)
    line = found.offset + found.slope * h
    np.testing.assert_allclose(found.deviations, 100 * (y - line) / line, atol=1e-11)
    np.testing.assert_array_equal(found.used, used)
    inside = found.deviations[used]
    assert (found.minimum, found.maximum) == (inside.min(), inside.max())
    assert found.mean_absolute == pytest.approx(np.abs(inside).mean())


def test_a_straight_line_has_no_error_whatever_its_unit():
    h = np.linspace(0, 1e-9, 20)
    found = emva_linearity(h, 7 + 1e12 * h, 1000.0)
    # Rounding.
    assert max(abs(found.minimum), abs(found.maximum)) < 1e-10
    assert (found.offset, found.slope) == (pytest.approx(7), pytest.approx(1e12))


def test_too_few_points_have_no_line():
    for h, y in (
        ([], []),
        ([1.0], [500.0]),
        ([1.0, 1.0], [400.0, 500.0]),
        ([1.0, 2.0], [np.nan] * 2),
    ):
        found = emva_linearity(h, y, 1000.0)
        assert np.isnan([found.minimum, found.maximum, found.mean_absolute, found.slope]).all()
        assert found.deviations.shape == (len(h),)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: emva_linearity([1.0, 2.0], [1.0], 10.0),
        lambda: emva_linearity([1.0], [1.0], np.nan),
        lambda: emva_linearity([1.0], [1.0], 10.0, low=0.9, high=0.5),
    ],
)
def test_what_makes_no_sense_is_refused(attempt):
    with pytest.raises(ValueError):
        attempt()
