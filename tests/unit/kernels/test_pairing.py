"""Pairs of flats: by time, flux and id, whatever the order."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cpflow.kernels.pairing import pair_exposures


def test_pairs_by_time_with_tolerance():
    times = [1.0, 1.004, 5.0, 5.0, 5.0, 5.0, 20.0, 20.006, 700.0, 700.011]
    found = pair_exposures(range(10), times)
    # 0.006 s is more than 0.005 s + 1e-5 * 20 s, and 0.011 s less than 0.012 s.
    assert found.pairs == ((0, 1), (2, 3), (4, 5), (8, 9))
    assert [i for i, _ in found.left_out] == [6, 7]
    assert "only one with a time of 20 s" in found.left_out[0][1]


def test_equal_times_need_not_follow_each_other():
    found = pair_exposures([1, 2, 3, 4, 5, 6, 7], [1, 2, 1, 2, 1, 1, 2])
    assert found.pairs == ((1, 3), (2, 4), (5, 6))
    assert found.left_out == ((7, "the last of 3 with a time of 2 s, an odd number"),)


def test_order_of_input_does_not_matter():
    rng = np.random.default_rng(1)
    ids = rng.permutation(1000)[:101]
    times = rng.choice([1.0, 2.0, 4.0, 8.0, 400.0], 101) + rng.uniform(0, 0.004, 101)
    found = pair_exposures(ids, times)
    assert len(found.pairs) * 2 + len(found.left_out) == 101
    for _ in range(3):
        order = rng.permutation(101)
        assert pair_exposures(ids[order], times[order]) == found
    at = dict(zip(ids.tolist(), times, strict=True))
    assert all(a < b and abs(at[a] - at[b]) < 0.01 for a, b in found.pairs)


def test_a_slow_ramp_is_not_one_group():
    # Steps of 4 ms: the first and the third differ by 8 ms.
    found = pair_exposures(range(4), [1.0, 1.004, 1.008, 1.012])
    assert found.pairs == ((0, 1), (2, 3))


def test_fluxes_are_relative():
    fluxes = [1e5, 1e5 * (1 + 5e-6), 2e5, 2e5 * (1 + 2e-5), math.nan, 0.0, 0.0]
    found = pair_exposures(range(7), fluxes, "flux")
    assert found.pairs == ((0, 1), (5, 6))
    assert found.left_out[-1] == (4, "has no flux")
    wide = pair_exposures(range(7), fluxes, "flux", relative=1e-3)
    assert wide.pairs == ((0, 1), (2, 3), (5, 6))


def test_by_id():
    found = pair_exposures([5, 3, 9, 1, 7], by="id")
    assert found.pairs == ((1, 3), (5, 7))
    assert found.left_out == ((9, "the last of an odd number of exposures"),)


def test_missing_values_and_nothing():
    found = pair_exposures([1, 2, 3, 4], [10.0, math.nan, 10.0, math.inf])
    assert found.pairs == ((1, 3),)
    assert found.left_out == ((2, "has no time"), (4, "has no time"))
    for by in ("time", "flux", "id"):
        assert pair_exposures([], [], by).pairs == pair_exposures([], [], by).left_out == ()


def test_bad_input():
    with pytest.raises(ValueError, match=r"\[1\] are there more than once"):
        pair_exposures([1, 2, 1], [1, 1, 1])
    with pytest.raises(ValueError, match="needs a flux"):
        pair_exposures([1, 2], by="flux")
    with pytest.raises(ValueError, match="needs a time"):
        pair_exposures([1, 2], [1.0])
    with pytest.raises(ValueError, match="'colour'"):
        pair_exposures([1, 2], [1, 1], "colour")
    with pytest.raises(ValueError, match="negative"):
        pair_exposures([1, 2], [1, 1], relative=-1)
