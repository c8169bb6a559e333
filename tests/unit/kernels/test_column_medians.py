"""Medians of columns: those of numpy, column after column."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.column_medians import column_medians


def simply(values, good):
    return [
        np.median(column[known].astype(np.float64)) if known.any() else np.nan
        for column, known in zip(values.T, good.T, strict=True)
    ]


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 101, 200])
@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.4, 0.9, 1.0])
def test_are_those_of_numpy(rows, fraction):
    rng = np.random.default_rng([rows, int(100 * fraction)])
    values = rng.normal(3, 2, (rows, 60)).astype(np.float32)
    good = rng.random((rows, 60)) >= fraction
    values[~good] = rng.choice([np.nan, np.inf, -np.inf, 1e9], (~good).sum())
    before = values.copy()
    np.testing.assert_array_equal(column_medians(values, good), simply(values, good))
    np.testing.assert_array_equal(values, before)


def test_of_equal_values_and_of_views():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 3, (50, 40)).astype(np.float32)
    good = rng.random((50, 40)) < 0.7
    for turn in (lambda a: a, np.transpose, lambda a: a[::-1, 3::2]):
        one, two = turn(values), turn(good)
        before = one.copy()
        np.testing.assert_array_equal(column_medians(one, two), simply(one, two))
        np.testing.assert_array_equal(one, before)


def test_without_rows():
    found = column_medians(np.empty((0, 3), np.float32), np.empty((0, 3), bool))
    assert np.isnan(found).all()
