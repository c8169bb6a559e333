"""Overscan models against known levels and a slow implementation of spec 2.6."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cpflow.kernels.overscan import FIT_TYPES, OverscanFit, fill_empty_rows, fit_overscan
from cpflow.kernels.statistics import clipped_statistics, integer_median

MEDIAN = OverscanFit(integer=False)


def slow_rows(overscan, fit, masked=None, mean=False):
    """Spec 2.6, points 2 and 5, row by row, before empty rows are filled."""
    full = np.asarray(overscan, np.float64)
    bad = np.zeros(full.shape, bool) if masked is None else masked.copy()
    bad |= ~np.isfinite(full)
    used = slice(fit.leading, full.shape[1] - fit.trailing)
    pixels, bad = full[:, used], bad[:, used]
    middle = np.median(pixels[~bad])
    away = pixels - middle
    deviant = (np.abs(away) if fit.deviation_sign == "absolute" else away) > fit.max_deviation
    sigmas, centres = [], []
    for row in pixels:
        q25, q50, q75 = np.percentile(row[np.isfinite(row)], [25, 50, 75])
        sigmas.append(0.74 * (q75 - q25))
        centres.append(q50)
    if fit.cap_row_sigma:
        typical = np.median(sigmas)
        sigmas = [typical if s > 2 * typical else s for s in sigmas]
    level = []
    for row, flags, centre, sigma in zip(pixels, bad | deviant, centres, sigmas, strict=True):
        kept = row[~flags & (np.abs(row - centre) <= fit.clip * sigma)]
        if len(kept) == 0:
            level.append(np.nan)
        elif mean:
            level.append(kept.mean())
        elif fit.integer:
            level.append(integer_median(np.trunc(kept).astype(int)))
        else:
            level.append(np.median(kept))
    return np.array(level)


def simulated(rows=200, columns=64, noise=4.0, seed=0, dtype=np.int32):
    rng = np.random.default_rng(seed)
    truth = 25_000 + 3 * np.sin(np.arange(rows) / 17) + np.linspace(0, 8, rows)
    return truth, np.rint(truth[:, None] + rng.normal(0, noise, (rows, columns))).astype(dtype)


@pytest.mark.parametrize("integer", [True, False])
@pytest.mark.parametrize("cap", [True, False])
@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.float32, np.float64])
def test_median_per_row_by_the_book(integer: bool, cap: bool, dtype: type) -> None:
    _, overscan = simulated(dtype=dtype)
    rng = np.random.default_rng(9)
    for row, times in enumerate(np.linspace(1, 5, 60), start=100):  # rows of wider spread
        overscan[row] = np.rint(25_000 + times * (overscan[row].astype(float) - 25_000))
    overscan[rng.random(overscan.shape) < 0.02] += 300  # outliers of a row
    overscan[40, 5] += 5000  # a deviant pixel
    masked = rng.random(overscan.shape) < 0.05
    masked[60:80] = False
    fit = OverscanFit(integer=integer, cap_row_sigma=cap, leading=3, trailing=2)
    ours = fit_overscan(overscan, fit, masked)
    # The same operations on the same numbers: to the bit, but for the order of two additions.
    np.testing.assert_allclose(ours.level, slow_rows(overscan, fit, masked), rtol=1e-15)
    assert ours.mask[40, 5]
    assert ours.mask.sum() == 1
    assert ours.valid


def test_rows_do_not_depend_on_the_order_of_columns() -> None:
    _, overscan = simulated()
    shuffled = np.random.default_rng(1).permuted(overscan, axis=1)
    for fit_type in FIT_TYPES:
        fit = OverscanFit(fit_type=fit_type, order=8)
        np.testing.assert_array_equal(
            fit_overscan(overscan, fit).level, fit_overscan(shuffled, fit).level
        )


def test_mean_per_row_by_the_book() -> None:
    _, overscan = simulated(seed=2)
    overscan[::9, 4] += 90
    fit = OverscanFit(fit_type="MEAN_PER_ROW", cap_row_sigma=True)
    wanted = slow_rows(overscan, fit, mean=True)
    # Sums of 64 numbers: 64*2**-53.
    np.testing.assert_allclose(fit_overscan(overscan, fit).level, wanted, rtol=1e-14)


def test_the_level_of_each_row_is_found() -> None:
    """The error of a median of 64 is 1.2533*4/8 = 0.63; rms over 2000 rows within 10 %."""
    truth, overscan = simulated(rows=2000)
    ours = fit_overscan(overscan, OverscanFit())
    error = np.std(ours.level - truth)
    assert error == pytest.approx(1.2533 * np.hypot(4, 1 / np.sqrt(12)) / 8, rel=0.1)
    assert abs(np.mean(ours.level - truth)) < 5 * error / np.sqrt(2000)


def test_the_read_noise_is_found() -> None:
    """A row's own median takes some of its noise along: 1 - 1/64, less than the 3 % allowed."""
    _, overscan = simulated(rows=2000, noise=6.0)
    overscan[::100, ::10] += 400
    ours = fit_overscan(overscan, OverscanFit())
    assert ours.residual_stdev == pytest.approx(np.hypot(6, 1 / np.sqrt(12)), rel=0.03)
    corrected = overscan - ours.level[:, None]
    assert ours.residual_stdev == clipped_statistics(corrected).stdev


def test_the_noise_is_of_used_or_of_all_columns() -> None:
    _, overscan = simulated()
    overscan[:, :3] += np.random.default_rng(3).normal(0, 50, (200, 3)).astype(np.int32)
    fit = OverscanFit(leading=3, trailing=3)
    narrow = fit_overscan(overscan, fit)
    wide = fit_overscan(overscan, replace(fit, noise_full_width=True))
    corrected = overscan - narrow.level[:, None]
    assert narrow.residual_stdev == clipped_statistics(corrected[:, 3:-3]).stdev
    assert wide.residual_stdev == clipped_statistics(corrected).stdev
    np.testing.assert_array_equal(narrow.level, wide.level)


def test_masked_and_deviant_pixels_do_not_make_noise() -> None:
    _, overscan = simulated()
    masked = np.zeros(overscan.shape, bool)
    masked[:100, 10:40] = True
    overscan[masked] += np.random.default_rng(4).integers(-900, 900, masked.sum())
    overscan[150, 3] = 90_000
    ours = fit_overscan(overscan, OverscanFit(), masked)
    clean = ~masked & ~ours.mask
    assert ours.residual_stdev == clipped_statistics(overscan - ours.level[:, None], clean).stdev
    assert ours.residual_stdev < 5


@pytest.mark.parametrize(
    ("fit_type", "integer", "wanted"),
    [
        ("MEAN", True, np.mean),
        ("MEANCLIP", True, lambda v: clipped_statistics(v).mean),
        ("MEDIAN", True, integer_median),
        ("MEDIAN", False, np.median),
    ],
)
def test_constants(fit_type, integer, wanted) -> None:
    _, overscan = simulated(rows=31)
    masked = np.zeros(overscan.shape, bool)
    masked[3] = True
    ours = fit_overscan(overscan, OverscanFit(fit_type=fit_type, integer=integer), masked)
    np.testing.assert_allclose(ours.level, wanted(overscan[~masked]), rtol=1e-14)


@pytest.mark.parametrize("fit_type", ["POLY", "CHEB", "LEG"])
def test_polynomials_fit_row_means(fit_type: str) -> None:
    """The normal equations in t = 2i/n - 1, solved by themselves."""
    _, overscan = simulated(noise=2.0)
    rows = slow_rows(overscan, MEDIAN, mean=True)
    t = 2 * np.arange(200) / 200 - 1
    design = t[:, None] ** np.arange(4)
    wanted = design @ np.linalg.solve(design.T @ design, design.T @ rows)
    ours = fit_overscan(overscan, OverscanFit(fit_type=fit_type, order=3))
    # Cubic on [-1, 1]: the condition of the normal equations is about 50.
    np.testing.assert_allclose(ours.level, wanted, rtol=1e-13)


def test_a_polynomial_is_recovered_exactly() -> None:
    t = 2 * np.arange(50) / 50 - 1
    truth = 1000 + 5 * t - 7 * t**2
    overscan = np.repeat(truth[:, None], 8, axis=1)
    for fit_type in ("POLY", "CHEB", "LEG"):
        ours = fit_overscan(overscan, OverscanFit(fit_type=fit_type, order=2))
        np.testing.assert_allclose(ours.level, truth, rtol=1e-13)


@pytest.mark.parametrize("fit_type", ["NATURAL_SPLINE", "CUBIC_SPLINE", "AKIMA_SPLINE"])
def test_splines_pass_their_knots(fit_type: str) -> None:
    """A straight line is its own spline, also outside the knots; a knot is the mean of its bin."""
    line = 500 + 0.25 * np.arange(120.0)
    straight = fit_overscan(
        np.repeat(line[:, None], 6, axis=1), OverscanFit(fit_type=fit_type, order=10)
    )
    np.testing.assert_allclose(straight.level, line, rtol=1e-13)
    rng = np.random.default_rng(7)
    rows = 1000 + np.repeat(rng.normal(0, 20, 6), 15)
    stepped = fit_overscan(
        np.repeat(rows[:, None], 6, axis=1), OverscanFit(fit_type=fit_type, order=6)
    )
    # 15 rows a bin: the knot lies on the eighth.
    np.testing.assert_allclose(stepped.level[7::15], rows[7::15], rtol=1e-13)


def test_natural_spline_solves_its_equations() -> None:
    """Second derivatives from the tridiagonal system, evaluated by the textbook formula."""
    rng = np.random.default_rng(8)
    n, bins = 90, 9
    rows = np.repeat(rng.normal(100, 20, bins), n // bins)
    x = (2 * np.arange(n) / n - 1).reshape(bins, -1).mean(axis=1)
    y = rows.reshape(bins, -1).mean(axis=1)
    h = np.diff(x)
    system, right = np.eye(bins), np.zeros(bins)
    for i in range(1, bins - 1):
        system[i, i - 1 : i + 2] = h[i - 1], 2 * (h[i - 1] + h[i]), h[i]
        right[i] = 6 * ((y[i + 1] - y[i]) / h[i] - (y[i] - y[i - 1]) / h[i - 1])
    second = np.linalg.solve(system, right)
    t = 2 * np.arange(n) / n - 1
    inside = (t >= x[0]) & (t <= x[-1])
    wanted = []
    for v in t[inside]:
        i = min(int(np.searchsorted(x, v, side="right")) - 1, bins - 2)
        a, b = (x[i + 1] - v) / h[i], (v - x[i]) / h[i]
        wanted.append(
            a * y[i]
            + b * y[i + 1]
            + ((a**3 - a) * second[i] + (b**3 - b) * second[i + 1]) * h[i] ** 2 / 6
        )
    ours = fit_overscan(
        np.repeat(rows[:, None], 5, axis=1), OverscanFit(fit_type="NATURAL_SPLINE", order=bins)
    )
    np.testing.assert_allclose(ours.level[inside], wanted, rtol=1e-12)


def test_too_few_knots_are_a_constant() -> None:
    overscan = np.repeat(np.arange(40.0)[:, None], 5, axis=1)
    ours = fit_overscan(overscan, OverscanFit(fit_type="AKIMA_SPLINE", order=4))
    np.testing.assert_allclose(ours.level, 4.5, rtol=1e-14)


def test_empty_rows_take_their_neighbours() -> None:
    """Spec 2.6, the run fill, on the numbers of a ramp."""
    level = np.arange(40.0)
    level[[0, 1, 10, 11, 30, 39]] = np.nan
    fill_empty_rows(level)
    everywhere = np.median([v for v in range(40) if v not in (0, 1, 10, 11, 30, 39)])
    assert level[0] == level[1] == np.median([2, 3, 4, 5, 6])
    assert level[10] == level[11] == np.median([5, 6, 7, 8, 9, 12, 13, 14, 15, 16])
    assert level[30] == np.median([25, 26, 27, 28, 29, 31, 32, 33, 34, 35])
    assert level[39] == np.median([34, 35, 36, 37, 38])
    short = np.array([1.0, 2.0, np.nan, 4.0])
    fill_empty_rows(short)
    assert short[2] == 2.0
    assert everywhere == 20.5
    middle = np.array([1.0, np.nan, 3.0, 8.0, 9.0, np.nan])
    fill_empty_rows(middle)
    np.testing.assert_array_equal(middle, [1, 5.5, 3, 8, 9, 5.5])
    for hole, near in (
        (5, [6, 7, 8, 9, 10]),
        (6, [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]),
        (14, [9, 10, 11, 12, 13, 15, 16, 17, 18, 19]),
        (15, [10, 11, 12, 13, 14]),
    ):
        level = np.arange(20.0) ** 2
        level[hole] = np.nan
        fill_empty_rows(level)
        assert level[hole] == np.median(np.array(near) ** 2)
    nothing = np.full(3, np.nan)
    fill_empty_rows(nothing)
    assert np.all(np.isnan(nothing))


@pytest.mark.parametrize("fit_type", ["MEDIAN_PER_ROW", "MEAN_PER_ROW"])
def test_masked_rows_are_filled_or_not(fit_type: str) -> None:
    truth, overscan = simulated(noise=1.0)
    masked = np.zeros(overscan.shape, bool)
    masked[100:104] = True
    overscan[100:104] += 800
    fit = OverscanFit(fit_type=fit_type)
    open_rows = fit_overscan(overscan, fit, masked).level
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(open_rows)), range(100, 104))
    filled = fit_overscan(overscan, replace(fit, fill_empty_rows=True), masked).level
    near = np.concatenate([filled[95:100], filled[104:109]])
    np.testing.assert_array_equal(filled[100:104], np.median(near))
    assert abs(filled[102] - truth[102]) < 2


def test_polynomials_see_masked_rows_or_not() -> None:
    """ERA21 takes the mean of a masked row's pixels, ERA26 its neighbours' level (spec 2.6)."""
    overscan = np.full((60, 8), 100.0)
    overscan[20:40] = 200.0
    masked = np.zeros(overscan.shape, bool)
    masked[20:40] = True
    fit = OverscanFit(fit_type="POLY", order=0)
    assert fit_overscan(overscan, fit, masked).level[0] == pytest.approx(400 / 3, rel=1e-13)
    filled = replace(fit, fill_empty_rows=True)
    assert fit_overscan(overscan, filled, masked).level[0] == pytest.approx(100, rel=1e-13)


def test_deviation_can_be_positive_only() -> None:
    _, overscan = simulated()
    overscan[5, 5] -= 2000
    overscan[6, 6] += 2000
    both = fit_overscan(overscan, OverscanFit())
    above = fit_overscan(overscan, OverscanFit(deviation_sign="positive"))
    np.testing.assert_array_equal(np.argwhere(both.mask), [[5, 5], [6, 6]])
    np.testing.assert_array_equal(np.argwhere(above.mask), [[6, 6]])


def test_nothing_usable_is_no_correction() -> None:
    ours = fit_overscan(np.ones((4, 6)), OverscanFit(), np.ones((4, 6), bool))
    assert not ours.valid
    np.testing.assert_array_equal(ours.level, 0)
    assert np.isnan(ours.residual_stdev)
    unknown = fit_overscan(np.full((4, 6), np.nan), OverscanFit())
    assert not unknown.valid


def test_infinite_pixels_are_masked() -> None:
    _, overscan = simulated(dtype=np.float64)
    dirty = overscan.copy()
    dirty[3, 4], dirty[9, 9] = np.nan, -np.inf
    ours = fit_overscan(dirty, MEDIAN)
    wanted = slow_rows(np.where(np.isfinite(dirty), dirty, np.nan), MEDIAN)
    np.testing.assert_allclose(ours.level, wanted, rtol=1e-15)
    assert np.isfinite(ours.residual_stdev)


def test_any_memory_order_will_do() -> None:
    _, overscan = simulated()
    raw = np.zeros((200, 128), np.int32)
    raw[:, 10:74] = overscan
    ours = fit_overscan(raw[:, 10:74], OverscanFit())
    np.testing.assert_array_equal(ours.level, fit_overscan(overscan, OverscanFit()).level)
    mirrored = fit_overscan(overscan[:, ::-1], OverscanFit(leading=0, trailing=3))
    straight = fit_overscan(overscan, OverscanFit(leading=3, trailing=0))
    np.testing.assert_array_equal(mirrored.level, straight.level)


def test_model_statistics() -> None:
    _, overscan = simulated()
    ours = fit_overscan(overscan, OverscanFit())
    assert ours.mean == ours.level.mean()
    assert ours.median == np.median(ours.level)
    assert ours.stdev == clipped_statistics(ours.level).stdev


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fit_type": "MODE"}, "unknown overscan fit 'MODE'"),
        ({"deviation_sign": "negative"}, "absolute or positive"),
        ({"leading": -1}, "cannot be negative"),
    ],
)
def test_nonsense_is_refused(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        OverscanFit(**change)


def test_regions_that_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="nothing is left"):
        fit_overscan(np.zeros((5, 6)), OverscanFit(leading=3, trailing=3))
    with pytest.raises(ValueError, match="mask"):
        fit_overscan(np.zeros((5, 6)), OverscanFit(), np.zeros((5, 5), bool))
