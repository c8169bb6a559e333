"""Crosstalk measured on ghosts whose coefficients are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cpflow.kernels.clip_factors import median_clip_factors
from cpflow.kernels.crosstalk_fit import fit_ratios
from cpflow.kernels.crosstalk_measure import (
    CrosstalkRatios,
    DetectorImages,
    bright_pixels,
    ghost_mask,
    measure_ratios,
)
from cpflow.kernels.crosstalk_solve import (
    CrosstalkSolution,
    filter_detectors,
    replace_outliers,
    solve_crosstalk,
)
from cpflow.kernels.objects import fit_background
from cpflow.kernels.planes import BAD, SAT
from cpflow.simulate.crosstalk import add_crosstalk

# Not symmetric, with a zero and a negative one (spec 7.5).
TRUTH = np.array(
    [
        [0.0, 2.0e-3, 5.0e-4, 0.0],
        [1.2e-3, 0.0, 3.0e-3, 2.5e-4],
        [8.0e-4, 1.6e-3, 0.0, -1.0e-3],
        [3.0e-4, 6.0e-4, 2.2e-3, 0.0],
    ]
)
OFF = ~np.eye(4, dtype=bool)


def table(ratios, fluxes):
    """The ratios of a single pair of amplifiers."""
    ratios = np.asarray(ratios, float)
    return CrosstalkRatios(ratios, np.asarray(fluxes, float), np.array([0, len(ratios)]), (1, 1))


def draw_ratios(rng, n, c, q=0.0, noise=16.0):
    flux = rng.uniform(3e4, 1.2e5, n)
    return c + q * flux + noise * rng.normal(size=n) / flux, flux


def star_fields(rng, shape, sky, stars=60):
    """Stars with peaks of 40 to 120 thousand on an even sky, without noise."""
    amps, rows, columns = shape
    image = np.full(shape, sky)
    y, x = np.mgrid[-9:10, -9:10]
    for amp in range(amps):
        for _ in range(stars):
            cy, cx = rng.integers(9, rows - 9), rng.integers(9, columns - 9)
            star = rng.uniform(4e4, 1.2e5) * np.exp(-(x**2 + y**2) / (2 * 2.0**2))
            image[amp, cy - 9 : cy + 10, cx - 9 : cx + 10] += star
    return image


def test_bright_pixels():
    image = np.array([[[10.0, 9.0, np.nan, np.inf, 11.0, 12.0]]], np.float32)
    mask = np.array([[[0, 0, 0, 0, SAT, BAD]]], np.uint16)
    assert bright_pixels(image, None, 10.0).tolist() == [[[True, False, False, False, True, True]]]
    assert bright_pixels(image, mask, 10.0).sum() == 1
    assert bright_pixels(image, mask, 10.0, excluded=0).sum() == 3
    assert bright_pixels(image, mask, 10.0, excluded=BAD).tolist()[0][0][4:] == [True, False]


def test_ghost_mask_against_distances():
    rng = np.random.default_rng(1)
    bright = rng.uniform(size=(3, 50, 40)) < 0.001
    y, x = np.mgrid[:50, :40]
    for own in (False, True):
        found = ghost_mask(bright, radius=6, own=own)
        for amp in range(3):
            expected = np.zeros((50, 40), bool)
            for other, v, u in np.argwhere(bright):
                if other != amp or own:
                    expected |= (y - v) ** 2 + (x - u) ** 2 <= 36
            np.testing.assert_array_equal(found[amp], expected)
    assert not ghost_mask(np.zeros((2, 5, 5), bool)).any()
    # A place where two others are bright, and the amplifier itself too.
    assert ghost_mask(np.ones((2, 3, 3), bool), radius=0).all()


def test_ratios_against_loops():
    rng = np.random.default_rng(2)
    image = rng.uniform(0, 400, (3, 20, 30)).astype(np.float32)
    image[rng.uniform(size=image.shape) < 0.1] += 1000
    image[0, 3, 4], image[1, 2, 2] = np.nan, np.inf
    mask = np.where(rng.uniform(size=image.shape) < 0.05, SAT, 0).astype(np.uint16)
    background = rng.uniform(0, 1200, image.shape)
    for alone in (True, False):
        found = measure_ratios(
            DetectorImages(image, mask, background),
            threshold=1000,
            exclude_coincident=alone,
            margin=0,
        )
        for s in range(3):
            for t in range(3):
                ratios, fluxes = [], []
                for y in range(20):
                    for x in range(30):
                        values, flags = image[:, y, x], mask[:, y, x]
                        flux = float(values[s]) - background[s, y, x]
                        others = [a for a in range(3) if a != s]
                        crowded = any(np.isfinite(values[a]) and values[a] >= 1000 for a in others)
                        if s == t or not (np.isfinite(values[[s, t]]).all() and flux > 0):
                            continue
                        if flags[s] or flags[t] or values[s] < 1000 or values[t] >= 1000:
                            continue
                        if alone and crowded:
                            continue
                        ratios.append((float(values[t]) - background[t, y, x]) / flux)
                        fluxes.append(flux)
                ratio, flux = found.pair(s, t)
                np.testing.assert_array_equal(ratio, ratios)
                np.testing.assert_array_equal(flux, fluxes)
                assert (len(ratio) > 20) == (s != t)


def test_many_ratios_are_thinned_out_evenly():
    image = np.zeros((2, 10, 10))
    image[0] = 1000 + np.arange(100).reshape(10, 10)
    image[1, 0, 0] = 900
    stack = DetectorImages(image)
    whole = measure_ratios(stack, threshold=1000)
    part = measure_ratios(stack, threshold=1000, most=7)
    assert len(whole.pair(0, 1)[0]) == 100
    assert len(part.pair(0, 1)[0]) == 7
    np.testing.assert_array_equal(part.pair(0, 1)[1], 1000 + np.arange(7) * 100 // 7)
    assert part.pair(0, 1)[0][0] == pytest.approx(0.9)
    assert len(part.pair(1, 0)[0]) == 0
    with pytest.raises(IndexError):
        part.pair(0, 2)


def test_margin_keeps_away_from_bright_pixels():
    image = np.zeros((3, 40, 40))
    image[0] = 2000
    image[1, 20, 20] = image[2, 5, 5] = 3000
    y, x = np.mgrid[:40, :40]
    found = {}
    for alone in (True, False):
        found[alone] = measure_ratios(
            DetectorImages(image), threshold=1000, margin=4, exclude_coincident=alone
        )
    near = [(y - 20) ** 2 + (x - 20) ** 2 <= 16, (y - 5) ** 2 + (x - 5) ** 2 <= 16]
    assert len(found[True].pair(0, 1)[0]) == (~(near[0] | near[1])).sum()
    assert len(found[False].pair(0, 1)[0]) == (~near[0]).sum()
    assert len(found[False].pair(0, 2)[0]) == (~near[1]).sum()


def test_coefficients_of_star_fields():
    """Spec 7.5: ten exposures, backgrounds as fitted, saturated and coincident stars among them."""
    rng = np.random.default_rng(3)
    shape, sky, gain_noise = (4, 260, 256), 200.0, 7.0
    exposures = []
    for _ in range(10):
        clean = star_fields(rng, shape, sky)
        ghosted = add_crosstalk(clean, TRUTH)
        noise = np.sqrt(gain_noise**2 + ghosted)
        image = (ghosted + noise * rng.normal(size=shape)).astype(np.float32)
        mask = np.where(image >= 1e5, SAT, 0).astype(np.uint16)
        image = np.minimum(image, 1e5).astype(np.float32)
        bright = bright_pixels(image, mask, 2e4, excluded=0)
        # Wings of stars below the threshold: 9 pixels around any bright one.
        own = np.stack([ghost_mask(b[None], radius=9, own=True)[0] for b in bright])
        usable = ~(own | ghost_mask(bright, radius=9))
        background = np.stack(
            [fit_background(i, u, degree=1) for i, u in zip(image, usable, strict=True)]
        )
        exposures.append(measure_ratios(DetectorImages(image, mask, background), threshold=3e4))
    found = solve_crosstalk(exposures)
    pulls = ((found.coefficients - TRUTH) / found.mean_errors)[OFF]
    # Acceptance; of 12 normal numbers none is beyond 4 in all but 1 of 1300 tests.
    assert np.abs(pulls).max() < 4
    assert not found.valid[0, 3]
    assert found.valid[(TRUTH != 0) & OFF].all()
    assert np.isnan(found.coefficients.diagonal()).all()
    assert not found.valid.diagonal().any()
    assert not found.counts.diagonal().any()
    assert (found.counts[OFF] > 1000).all()
    # Sources of 30 to 100 thousand over targets with a noise of 15 to 20.
    assert (found.errors[OFF] > 15 / 1e5).all()
    assert (found.errors[OFF] < 25 / 3e4).all()
    # [source, target]: the transpose is far off.
    assert np.abs((found.coefficients - TRUTH.T) / found.mean_errors)[OFF].max() > 50
    # Of the ghosts, all of them: less than a percent of their squares' root is left.
    used = np.where(OFF, found.coefficients, 0.0)
    signal = clean - sky
    ghosts = np.tensordot(TRUTH.T, signal, axes=1)
    left = ghosts - np.tensordot(used.T, signal, axes=1)
    assert np.sqrt((left**2).sum()) < 0.01 * np.sqrt((ghosts**2).sum())
    again = solve_crosstalk(exposures)
    np.testing.assert_array_equal(found.coefficients, again.coefficients)


def test_sky_left_in_the_source_makes_coefficients_low():
    """Spec 7.5: by sky/source, if only the target has its sky subtracted (spec 4.1)."""
    shape, sky, peak = (2, 30, 30), 3000.0, 30_000.0
    clean = np.full(shape, sky)
    clean[0, 5:9, 5:9] = peak
    c = np.array([[0.0, 1e-3], [0.0, 0.0]])
    image = add_crosstalk(clean, c)
    background = add_crosstalk(np.full(shape, sky), c)
    stack = DetectorImages(image, background=background)
    found = measure_ratios(stack, threshold=2e4).pair(0, 1)[0]
    # The simulation's coefficients are float32.
    np.testing.assert_allclose(found, 1e-3, rtol=1e-7)
    kept = measure_ratios(DetectorImages(image), stack, threshold=2e4).pair(0, 1)[0]
    np.testing.assert_allclose(kept, 1e-3 * (1 - sky / peak), rtol=1e-7)


def test_crosstalk_from_another_detector():
    rng = np.random.default_rng(4)
    source = star_fields(rng, (2, 100, 100), 0.0, stars=6)
    c = np.array([[1e-3, 2e-3, -3e-3], [4e-3, 0.0, 5e-3]])
    # Noise far below the ghosts, and a source of the target detector's own at one place.
    target = np.tensordot(c.T, source, axes=1) + rng.normal(size=(3, 100, 100))
    target[1, 40:60, 40:60] = 5e4
    stacks = DetectorImages(source), DetectorImages(target)
    found = solve_crosstalk([measure_ratios(*stacks, threshold=3e4)])
    assert found.coefficients.shape == (2, 3)
    # The threshold is far above what wings, 9 pixels out, leave in the others.
    np.testing.assert_array_less(np.abs(found.coefficients - c), 4 * found.mean_errors)
    assert found.valid.tolist() == [[True, True, True], [True, False, True]]
    with pytest.raises(ValueError, match="same time"):
        measure_ratios(stacks[0], DetectorImages(target[:, :-1]))


@pytest.mark.parametrize("weighted", [True, False])
def test_pulls_have_unit_width(weighted):
    rng = np.random.default_rng(5)
    n, turns, c = 400, 1200, 3e-4
    pulls, scatters = [], []
    for _ in range(turns):
        ratios, fluxes = draw_ratios(rng, n, c)
        if not weighted:
            # Plain means are right for plain scatter.
            ratios = c + 2e-4 * rng.normal(size=n)
        fit = fit_ratios(ratios, fluxes, weighted=weighted)
        pulls.append((fit.parameters[0] - c) / np.sqrt(fit.covariance[0, 0]))
        scatters.append(fit.scatter * (1 if not weighted else np.sqrt(np.mean(fluxes**2))))
    # Width and mean of n pulls, 5 standard errors. What clipping leaves of 400 varies enough for
    # the errors to be known to 4 %, which makes pulls 0.3 % wider.
    assert np.std(pulls) == pytest.approx(1, abs=5 / np.sqrt(2 * turns) + 0.003)
    assert abs(np.mean(pulls)) < 5 / np.sqrt(turns)
    # The scatter is known to 6 % each time; the mean square flux of those left is 0.2 % off.
    expected = 16.0 if weighted else 2e-4
    assert np.mean(scatters) == pytest.approx(expected, rel=5 * 0.06 / np.sqrt(turns) + 0.005)


def test_both_coefficients_have_pulls_of_unit_width():
    rng = np.random.default_rng(6)
    n, turns, c, q = 600, 800, 3e-4, 1e-10
    pulls, products = [], []
    for _ in range(turns):
        fit = fit_ratios(*draw_ratios(rng, n, c, q), order=1)
        deviation = fit.parameters - [c, q]
        pulls.append(deviation / np.sqrt(np.diag(fit.covariance)))
        products.append(deviation @ np.linalg.inv(fit.covariance) @ deviation)
    np.testing.assert_allclose(np.std(pulls, axis=0), 1, atol=5 / np.sqrt(2 * turns) + 0.003)
    np.testing.assert_array_less(np.abs(np.mean(pulls, axis=0)), 5 / np.sqrt(turns))
    # chi2 of two numbers has the mean 2 and the standard deviation 2.
    assert np.mean(products) == pytest.approx(2, abs=5 * 2 / np.sqrt(turns) + 0.02)


def test_stars_in_the_target_are_clipped():
    """5 % of targets hold light of their own; a plain mean would be far off."""
    rng = np.random.default_rng(7)
    ratios, fluxes = draw_ratios(rng, 20_000, 2e-4)
    stars = rng.uniform(size=20_000) < 0.05
    ratios[stars] += rng.uniform(500, 20_000, stars.sum()) / fluxes[stars]
    ratios[:3] = np.nan, 1.5, -2.0
    fit = fit_ratios(ratios, fluxes)
    # 5 % on one side move the median of all by 0.066 standard deviations, and the centre of a
    # clipping 0.135 of that in the next round, of which the mean takes 0.24: nothing.
    assert abs(fit.parameters[0] - 2e-4) < 4 * np.sqrt(fit.covariance[0, 0])
    assert abs(np.nanmean(ratios) - 2e-4) > 100 * np.sqrt(fit.covariance[0, 0])


def test_quadratic_coefficient():
    """Spec 7.5: 1e-10 to 10 %, where the noise allows it."""
    rng = np.random.default_rng(8)
    ratios, fluxes = draw_ratios(rng, 4000, 5e-4, 1e-10, noise=0.1)
    found = solve_crosstalk([table(ratios, fluxes)], order=1)
    assert found.quadratic[0, 0] == pytest.approx(1e-10, rel=0.1)
    assert abs(found.quadratic[0, 0] - 1e-10) < 4 * found.quadratic_errors[0, 0]
    assert abs(found.coefficients[0, 0] - 5e-4) < 4 * found.mean_errors[0, 0]
    # An independent fit of all of them, none clipped.
    slope, level = np.polyfit(fluxes, ratios, 1, w=fluxes)
    assert found.coefficients[0, 0] == pytest.approx(level, abs=4 * found.mean_errors[0, 0])
    assert found.quadratic[0, 0] == pytest.approx(slope, abs=4 * found.quadratic_errors[0, 0])
    # A quadratic term alone is crosstalk too, and noise alone is none.
    only = table(*draw_ratios(rng, 4000, 0.0, 1e-10, noise=0.1))
    assert solve_crosstalk([only], order=1).valid.all()
    none = table(*draw_ratios(rng, 4000, 0.0, 0.0))
    assert not solve_crosstalk([none], order=1).valid.any()


def test_without_clipping_the_fit_is_weighted_least_squares():
    rng = np.random.default_rng(9)
    ratios, fluxes = draw_ratios(rng, 50, 3e-4, 1e-9)
    for order in (0, 1):
        for weighted in (True, False):
            fit = fit_ratios(ratios, fluxes, order=order, rounds=0, weighted=weighted)
            weight = fluxes if weighted else np.ones(50)
            found, covariance = np.polyfit(fluxes, ratios, order, w=weight, cov=True)
            np.testing.assert_allclose(fit.parameters, found[::-1], rtol=1e-9)
            np.testing.assert_allclose(fit.covariance, covariance[::-1, ::-1], rtol=1e-9)
            assert fit.count == 50


def test_plain_clipping_against_numpy():
    """The rule of spec 4.2 with its plain mean."""
    rng = np.random.default_rng(10)
    ratios, fluxes = draw_ratios(rng, 501, 3e-4)
    kept = ratios
    for _ in range(3):
        q25, q50, q75 = np.percentile(kept, [25, 50, 75])
        kept = kept[np.abs(kept - q50) < 2 * 0.741301109252802 * (q75 - q25)]
    halves = [table(ratios[:200], fluxes[:200]), table(ratios[200:], fluxes[200:])]
    found = solve_crosstalk(halves, weighted=False)
    assert found.coefficients[0, 0] == pytest.approx(kept.mean(), rel=1e-12)
    assert found.counts[0, 0] == len(kept)
    factors = median_clip_factors(2.0, 3)
    assert found.errors[0, 0] == pytest.approx(factors.scatter * np.std(kept, ddof=1))
    error = factors.mean_error * np.std(kept, ddof=1) / np.sqrt(len(kept))
    assert found.mean_errors[0, 0] == pytest.approx(error)


@pytest.mark.parametrize("rounds", [1, 3])
def test_clip_factors_of_normal_numbers(rounds):
    rng = np.random.default_rng(11)
    turns, n = 3000, 1000
    means, stdevs, counts = np.empty(turns), np.empty(turns), np.empty(turns)
    for turn in range(turns):
        x = rng.normal(size=n)
        for _ in range(rounds):
            q25, q50, q75 = np.percentile(x, [25, 50, 75])
            x = x[np.abs(x - q50) < 2 * 0.741301109252802 * (q75 - q25)]
        means[turn], stdevs[turn], counts[turn] = x.mean(), x.std(), len(x)
    factors = median_clip_factors(2.0, rounds)
    # Each standard deviation is known to 4 %; the factors hold for many values, to 1/n or so.
    assert 1 / stdevs.mean() == pytest.approx(factors.scatter, rel=5 * 0.04 / np.sqrt(turns) + 3e-3)
    measured = means.std() / np.mean(stdevs / np.sqrt(counts))
    assert measured == pytest.approx(factors.mean_error, rel=5 / np.sqrt(2 * turns) + 3e-3)
    if rounds == 1:
        assert factors.scatter == pytest.approx(1.13685, abs=5e-6)
    assert median_clip_factors(9.0, rounds).mean_error == pytest.approx(1, abs=1e-9)
    assert median_clip_factors(2.0, 0).scatter == 1
    with pytest.raises(ValueError):
        median_clip_factors(0.0, 1)


def test_few_ratios_are_not_valid():
    empty = solve_crosstalk([table([], [])])
    assert np.isnan(empty.coefficients[0, 0])
    assert not empty.valid[0, 0]
    one = solve_crosstalk([table([1e-3], [5e4])])
    assert one.coefficients[0, 0] == pytest.approx(1e-3)
    assert one.counts[0, 0] == 1
    assert not one.valid[0, 0]
    assert np.isnan(one.mean_errors[0, 0])
    line = solve_crosstalk([table([1e-3, 2e-3], [4e4, 5e4])], order=1)
    assert line.quadratic[0, 0] == pytest.approx(1e-7)
    assert not line.valid[0, 0]
    same = solve_crosstalk([table([1e-3, 1e-3], [4e4, 4e4])], order=1)
    assert np.isnan(same.coefficients[0, 0])
    exact = solve_crosstalk([table([1e-3] * 30, [4e4] * 30)])
    assert exact.coefficients[0, 0] == pytest.approx(1e-3, rel=1e-15)
    assert exact.counts[0, 0] == 30
    lost = solve_crosstalk([table([np.nan, 3.0, -1.0], [4e4] * 3)], zero_invalid=True)
    assert lost.coefficients[0, 0] == 0
    assert lost.counts[0, 0] == 0


def test_what_is_valid():
    rng = np.random.default_rng(12)
    strong = table(*draw_ratios(rng, 1000, 1e-4))
    assert solve_crosstalk([strong]).valid[0, 0]
    # 1e-4 is half of the scatter of one ratio.
    assert not solve_crosstalk([strong], scale_significance=False).valid[0, 0]
    assert not solve_crosstalk([strong], significance=50.0).valid[0, 0]
    assert not solve_crosstalk([strong], significance=50.0, order=1).valid[0, 0]
    negative = table(-strong.ratios, strong.fluxes)
    assert solve_crosstalk([negative]).valid[0, 0]
    found = solve_crosstalk([negative], reject_negative=True, zero_invalid=True)
    assert found.coefficients[0, 0] == 0
    assert np.isnan(found.errors[0, 0])
    assert not found.valid[0, 0]


@pytest.mark.parametrize("order", [0, 1])
def test_noise_is_as_often_valid_as_three_sigma_say(order):
    rng = np.random.default_rng(13)
    turns = 1500
    count = sum(
        bool(solve_crosstalk([table(*draw_ratios(rng, 2000, 0.0))], order=order).valid[0, 0])
        for _ in range(turns)
    )
    # 0.27 %, 4 of them, and at most 5 square roots more.
    assert count < 4 + 5 * np.sqrt(4)


def solution(linear, quadratic, valid):
    nothing = np.zeros(linear.shape)
    counts = np.full(linear.shape, 9)
    return CrosstalkSolution(linear, nothing, nothing, counts, valid, quadratic, nothing)


def test_detectors_of_one_type_outvote_one():
    rng = np.random.default_rng(14)
    linear = 1e-4 + 1e-6 * rng.normal(size=(9, 3, 3))
    square = 1e-10 + 1e-12 * rng.normal(size=(9, 3, 3))
    linear[4, 0, 1], square[2, 1, 0] = 2e-4, 3e-10
    linear[:, 2, 2] = np.nan
    valid = np.ones((9, 3, 3), bool)
    valid[4, 0, 1] = False
    found, replaced = filter_detectors(
        [solution(*s) for s in zip(linear, square, valid, strict=True)]
    )
    assert replaced[4, 0, 1]
    assert replaced[2, 1, 0]
    assert found[4].coefficients[0, 1] == np.median(linear[:, 0, 1])
    assert found[4].valid[0, 1]
    assert found[2].quadratic[1, 0] == np.median(square[:, 1, 0])
    assert np.isnan(found[0].coefficients[2, 2])
    for values, limit in ((linear, 3.0), (square, 6.0)):
        kept, moved = replace_outliers(values, limit)
        median = np.median(values, axis=0)
        mad = 1.482602218505602 * np.median(np.abs(values - median), axis=0)
        beyond = np.abs(values - median) > limit * mad
        np.testing.assert_array_equal(moved, beyond)
        np.testing.assert_array_equal(kept, np.where(beyond, median, values))
    np.testing.assert_array_equal(found[0].counts, 9)


def test_filter_of_few_detectors_and_missing_values():
    values = np.array([[1.0, np.nan], [5.0, 1.0]])
    kept, moved = replace_outliers(values, 0.0)
    np.testing.assert_array_equal(kept, values)
    assert not moved.any()
    column = np.array([1.0, np.nan, 1.1, 0.9, 7.0])
    kept, moved = replace_outliers(column, 3.0)
    np.testing.assert_array_equal(kept, [1.0, np.nan, 1.1, 0.9, 1.05])
    assert filter_detectors([])[0] == ()


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: DetectorImages(np.zeros((4, 4))),
        lambda: DetectorImages(np.zeros((1, 4, 4)), np.zeros((1, 4, 5), np.uint16)),
        lambda: ghost_mask(np.zeros((4, 4), bool)),
        lambda: measure_ratios(DetectorImages(np.zeros((1, 4, 4))), most=0),
        lambda: solve_crosstalk([]),
        lambda: solve_crosstalk([table([], [])], order=2),
        lambda: solve_crosstalk([table([], []), replace(table([], []), shape=(1, 2))]),
        lambda: fit_ratios(np.zeros(3), np.zeros(4)),
        lambda: replace_outliers(np.zeros((3, 3)), -1.0),
        lambda: filter_detectors(
            [solution(np.zeros((n, n)), np.zeros((n, n)), np.ones((n, n), bool)) for n in (2, 3)]
        ),
    ],
)
def test_what_makes_no_sense_is_refused(attempt):
    with pytest.raises(ValueError):
        attempt()
