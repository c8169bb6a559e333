"""Noise corrections against simulated normal noise."""

from __future__ import annotations

import numpy as np
import pytest
import reference

from cpflow.kernels.truncation import clipped_stdev_of_normal, row_subtraction_factor


def test_clipped_stdev_of_normal_values():
    rng = np.random.default_rng(3)
    values = rng.normal(size=2_000_000)
    _, variance, m = reference.clipped_mean(values[:, None])
    stdev = np.sqrt(variance * m)[0]
    # The standard deviation of P values scatters by 1/sqrt(2 P); 5 sigma.
    assert clipped_stdev_of_normal(3.0, 3) == pytest.approx(stdev, abs=5 / np.sqrt(2 * len(values)))
    assert clipped_stdev_of_normal(8.0, 3) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("columns", [5, 10, 16, 64])
def test_noise_left_after_a_rows_level_is_subtracted(columns):
    rng = np.random.default_rng(4)
    values = rng.normal(size=(200_000, columns))
    for fit, level in (
        ("MEDIAN_PER_ROW", np.median(values, axis=1)),
        ("MEAN_PER_ROW", values.mean(axis=1)),
        ("MEDIAN", np.zeros(len(values))),
    ):
        left = np.std(values - level[:, None])
        # 5 sigma of a standard deviation; the variance of a median is good to a percent.
        tolerance = 5 / np.sqrt(2 * values.size) + (0.008 / columns if "MED" in fit else 0)
        assert row_subtraction_factor(fit, columns) == pytest.approx(left, abs=tolerance)


def test_too_few_columns_tell_no_noise():
    assert np.isnan(row_subtraction_factor("MEDIAN_PER_ROW", 2))
    assert row_subtraction_factor("POLY", 2) == 1.0
