"""The parallel overscan: columns, bled charge, and outliers (spec 2.6, ERA26)."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.overscan import OverscanFit, fit_overscan
from cpflow.kernels.parallel_overscan import (
    bled_pixels,
    fit_parallel_overscan,
    outlying_columns,
)

FIT = OverscanFit(
    integer=False, leading=3, trailing=3, max_deviation=100.0, deviation_sign="positive"
)


def simulated(columns=120, rows=48, seed=0):
    rng = np.random.default_rng(seed)
    truth = 2 * np.sin(np.arange(columns) / 9)
    return truth, truth + rng.normal(0, 3, (rows, columns))


def test_it_is_the_serial_fit_turned() -> None:
    _, pixels = simulated()
    ours = fit_parallel_overscan(pixels, FIT, smoothing_rejection=False)
    np.testing.assert_array_equal(ours, fit_overscan(pixels.T, FIT).level)
    for row in (0, 2, 45, 47):  # skipped rows
        other = pixels.copy()
        other[row] += 50
        again = fit_parallel_overscan(other, FIT, smoothing_rejection=False)
        np.testing.assert_array_equal(again, ours)


def test_levels_are_found() -> None:
    """A median of 42: 1.2533*3/sqrt(42) = 0.58."""
    truth, pixels = simulated(columns=2000)
    ours = fit_parallel_overscan(pixels, FIT, smoothing_rejection=False)
    assert np.std(ours - truth) == pytest.approx(0.58, rel=0.1)


def test_bled_charge_is_grown_and_not_used() -> None:
    truth, pixels = simulated()
    pixels[:6, 60] = 30_000
    flags = bled_pixels(pixels, 20_000, 2)
    y, x = np.nonzero(flags)
    far = np.min(np.abs(y[:, None] - np.arange(6)) + np.abs(x - 60)[:, None], axis=1)
    assert far.max() == 2
    assert flags.sum() == 6 * 5 + 3 + 1
    ours = fit_parallel_overscan(pixels, FIT)
    assert np.all(np.abs(ours - truth) < 4)


def test_columns_that_deviate_throughout_are_replaced_with_their_neighbours() -> None:
    _, pixels = simulated()
    before = fit_parallel_overscan(pixels, FIT, smoothing_rejection=False)
    pixels[:, 50] += 500
    ours = fit_parallel_overscan(pixels, FIT, smoothing_rejection=False)
    near = np.concatenate([before[43:48], before[53:58]])
    np.testing.assert_array_equal(ours[48:53], np.median(near))
    rest = np.r_[0:48, 53:120]
    np.testing.assert_array_equal(ours[rest], before[rest])


def test_columns_that_stand_out_are_replaced() -> None:
    _, pixels = simulated()
    pixels[:, 70] += 20
    kept = fit_parallel_overscan(pixels, FIT, smoothing_rejection=False)
    ours = fit_parallel_overscan(pixels, FIT)
    assert kept[70] > 15
    near = np.concatenate([kept[63:68], kept[73:78]])
    np.testing.assert_array_equal(ours[68:73], np.median(near))


def test_outliers_by_the_book() -> None:
    rng = np.random.default_rng(3)
    level = rng.normal(0, 3, 300)
    wanted = [5 <= i < 295 and level[i] - np.median(level[i - 2 : i + 3]) >= 5 for i in range(300)]
    assert sum(wanted) > 3
    np.testing.assert_array_equal(outlying_columns(level), wanted)
    assert not outlying_columns(np.arange(8.0) * 10).any()


def test_an_overscan_full_of_charge_is_left_alone() -> None:
    _, pixels = simulated()
    pixels += 9_000
    assert np.all(fit_parallel_overscan(pixels, FIT, imaging_median=12_000) == 0)
    assert np.all(fit_parallel_overscan(pixels, FIT, imaging_median=30_000) > 8_000)
    assert np.all(fit_parallel_overscan(pixels, FIT, imaging_median=9_500) > 8_000)


def test_all_masked_is_no_correction() -> None:
    _, pixels = simulated()
    np.testing.assert_array_equal(fit_parallel_overscan(pixels + 1e5, FIT), 0)
    masked = np.ones(pixels.shape, bool)
    np.testing.assert_array_equal(fit_parallel_overscan(pixels, FIT, masked=masked), 0)


def test_other_fit_types() -> None:
    _, pixels = simulated()
    constant = fit_parallel_overscan(pixels, OverscanFit(fit_type="MEAN", leading=3, trailing=3))
    np.testing.assert_allclose(constant, pixels[3:-3].mean(), rtol=1e-13)
