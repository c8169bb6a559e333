"""Statistics of one set of values against numpy, the rule, and the specification's examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpflow.kernels import selection
from cpflow.kernels.clipped_mean import clipped_mean
from cpflow.kernels.statistics import (
    clipped_statistics,
    integer_median,
    integer_quantile,
    percentiles,
)


def rule(values, clip=3.0, passes=3):
    """Spec 3.3 in numpy, float64: mean, stdev, count, kept."""
    x = np.asarray(values, np.float64).ravel()
    x = x[np.isfinite(x)]
    q25, centre, q75 = np.percentile(x, [25, 50, 75])
    width = clip * 0.741301109252802 * (q75 - q25)
    for _ in range(passes):
        kept = x[np.abs(x - centre) <= width]
        centre = kept.mean()
        stdev = kept.std(ddof=1) if len(kept) > 1 else np.nan
        width = clip * stdev if len(kept) > 1 else 0.0
    return centre, stdev, len(x), len(kept)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 12, 63, 64, 4095, 4097, 19_999, 20_001, 300_000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint16])
def test_large_and_small_sets_follow_the_rule(size: int, dtype: type) -> None:
    rng = np.random.default_rng(size)
    values = rng.normal(1000, 5, size)
    values[rng.random(size) < 0.05] += 400
    values = values.astype(dtype)
    ours = clipped_statistics(values)
    assert ours.median == np.median(values.astype(np.float64))
    mean, stdev, n, used = rule(values)
    assert (ours.n, ours.used) == (n, used)
    # Sums of up to 3e5 numbers in parts of 4096: n*2**-53 of the deviations, far below 1e-12.
    assert ours.mean == pytest.approx(mean, rel=1e-12)
    assert ours.stdev == pytest.approx(stdev, rel=1e-11, nan_ok=True)


# Always the same examples: where a value lies on the edge of an interval, rounding may decide.
@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40),
    st.sampled_from([3.0, 2.5]),
)
def test_agrees_with_a_stack_of_one_pixel(values, clip) -> None:
    """Two implementations of one rule: the same survivors."""
    ours = clipped_statistics(np.array(values, np.float32), clip=clip)
    pixel = clipped_mean(np.array(values, np.float32)[:, None], clip=clip)
    assert ours.used == pixel.used[0]
    # float32 rounding of the one, and float64 sums of up to 40 values of the other.
    limit = 0.5 * float(np.spacing(np.abs(pixel.image[0]))) + 1e-14 * np.abs(values).max()
    assert abs(ours.mean - float(pixel.image[0])) <= limit


def test_only_what_is_good_and_finite_counts() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(5, 1, (300, 200)).astype(np.float32)
    good = rng.random(values.shape) < 0.7
    values[~good] = 1e6
    values[::7, ::5] = np.nan
    values[3, 3] = np.inf
    ours = clipped_statistics(values, good)
    assert ours.median == np.median(values[good & np.isfinite(values)].astype(np.float64))
    mean, stdev, n, used = rule(values[good])
    assert (ours.n, ours.used) == (n, used)
    assert ours.mean == pytest.approx(mean, rel=1e-12)
    assert ours.stdev == pytest.approx(stdev, rel=1e-12)
    strided = clipped_statistics(values[::2, ::-1], good[::2, ::-1])
    copied = clipped_statistics(values[::2, ::-1].copy(), good[::2, ::-1].copy())
    assert strided == copied


def test_nothing_to_average() -> None:
    for values in (np.empty(0), np.full(3, np.nan), np.full(30_000, np.nan, np.float32)):
        ours = clipped_statistics(values)
        assert (ours.n, ours.used) == (0, 0)
        assert np.isnan(ours.mean)
        assert np.isnan(ours.stdev)
        assert np.all(np.isnan(percentiles(values, [0, 50])))


def test_no_passes_are_the_plain_mean() -> None:
    values = np.array([1.0, 2.0, 3.0, 1e9])
    ours = clipped_statistics(values, iterations=0)
    assert ours.mean == values.mean()
    assert ours.stdev == pytest.approx(values.std(ddof=1), rel=1e-14)


def test_zero_spread_keeps_the_median_only() -> None:
    ours = clipped_statistics(np.array([0.0, 0.0, 0.0, 0.0, 1.0]))
    assert (ours.mean, ours.stdev, ours.n, ours.used) == (0.0, 0.0, 5, 4)


def test_equal_survivors_are_their_own_mean() -> None:
    """Pass 2 keeps zeros only, from a mean of -1/11; pass 3 has no width, and must find them."""
    values = np.array([0.0] * 10 + [-1.0, -2.0, -2.0, -2.0])
    ours = clipped_statistics(values)
    assert (ours.mean, ours.stdev, ours.used) == (0.0, 0.0, 10)


@pytest.mark.parametrize("size", [1, 2, 101, 25_000, 70_001])
def test_percentiles_are_numpys(size: int) -> None:
    """To the bit: exact order statistics, and the same interpolation."""
    rng = np.random.default_rng(size)
    levels = [0, 0.1, 5, 16, 50, 84, 95, 100]
    for values in (
        rng.normal(0, 1, size).astype(np.float32),
        rng.integers(-3, 4, size).astype(np.float32),
        (np.float32(10) ** rng.uniform(-40, 38, size).astype(np.float32)),
        -np.abs(rng.normal(1e-42, 1e-42, size)).astype(np.float32),
        rng.normal(0, 1, size),
    ):
        wanted = np.percentile(values.astype(np.float64), levels)
        np.testing.assert_array_equal(percentiles(values, levels), wanted)


def test_percentiles_leave_out_nan_and_flagged() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0, 1, 40_000).astype(np.float32)
    values[::3] = np.nan
    good = rng.random(40_000) < 0.5
    wanted = np.nanpercentile(np.where(good, values, np.nan).astype(np.float64), [10, 60])
    np.testing.assert_array_equal(percentiles(values, [10, 60], good), wanted)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(width=32), max_size=60), st.floats(0, 1))
def test_both_ways_to_select_agree(values, fraction) -> None:
    """The histograms of large sets and the partition of small ones: the same bits."""
    array = np.array(values, np.float32)
    small = selection.quantiles(array, None, [fraction])
    few = selection._FEW
    selection._FEW = 0
    try:
        large = selection.quantiles(array, None, [fraction])
    finally:
        selection._FEW = few
    assert small[0] == large[0]
    np.testing.assert_array_equal(small[1], large[1])


@pytest.mark.parametrize(
    ("values", "median"), [([5, 5, 5, 6], 5 + 1 / 6), ([1, 2, 2, 3], 2.0), ([7], 7.0)]
)
def test_integer_medians_of_the_specification(values, median) -> None:
    assert integer_median(np.array(values)) == pytest.approx(median, rel=1e-15)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=50), st.floats(0, 1))
def test_integer_quantile_by_sorting(values, fraction) -> None:
    ordered = sorted(values)
    n = len(ordered)
    value = ordered[int(fraction * (n - 1))]
    below, equal = sum(v < value for v in ordered), ordered.count(value)
    wanted = value - 0.5 + (fraction * n - below) / equal
    assert integer_quantile(np.array(values), fraction) == pytest.approx(
        wanted, rel=1e-14, abs=1e-14
    )


def test_the_integer_median_undoes_the_digitiser() -> None:
    """Counts of a normal level have its median, to its statistical error: 5 sigma of it."""
    rng = np.random.default_rng(5)
    counts = np.rint(rng.normal(25_000.3, 2.0, 200_000)).astype(np.int32)
    assert integer_median(counts) == pytest.approx(25_000.3, abs=5 * 1.2533 * 2 / np.sqrt(200_000))
    assert np.median(counts) != pytest.approx(25_000.3, abs=0.2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: integer_median(np.array([1.5])), "needs integers"),
        (lambda: integer_quantile(np.array([1]), 1.5), "between 0 and 1"),
        (lambda: percentiles(np.array([1.0]), [101]), "between 0 and 1"),
        (lambda: clipped_statistics(np.zeros(3), np.ones(4, bool)), "shape"),
        (lambda: clipped_statistics(np.zeros(3), clip=-1), "negative"),
        (lambda: clipped_statistics(np.zeros(3), iterations=-1), "negative"),
    ],
)
def test_nonsense_is_refused(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_no_integers_have_no_median() -> None:
    assert np.isnan(integer_median(np.empty(0, int)))
