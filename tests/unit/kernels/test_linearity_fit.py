"""Corrections fitted to ramps of known nonlinearity."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import Akima1DInterpolator

from cpflow.kernels.linearity_fit import LinearityOptions, fit_linearity
from cpflow.kernels.linearity_scatter import mean_errors

TOP = 120_000.0
GAIN, PIXELS, JITTER = 1.5, 1e6, 1e-4
NODES = np.linspace(0.0, TOP + 1, 10)
# Deviations of up to 1.5 %.
VALUES = 0.015 * NODES * np.sin(NODES / 20_000)
# From observed to linear signal: 2 % quadratic; 3 % and -4 %; the spline.
SQUARED = [0.02 / TOP]
POLYNOMIAL = [0.03 / TOP, -0.04 / TOP**2]
SPLINE = [*NODES, *VALUES]
# What the project accepts as nonlinearity after correction.
ACCEPTED = 5e-4


def corrected(kind, coefficients, y, table=None):
    """Reference 2.1."""
    if kind in ("squared", "polynomial"):
        return y + sum(c * y ** (k + 2) for k, c in enumerate(coefficients))
    if kind == "lookup_table":
        place = np.trunc(coefficients[1] + y).astype(int)
        return y + table[np.clip(place, 0, len(table) - 1)]
    nodes, values = np.split(np.asarray(coefficients), 2)
    return y - Akima1DInterpolator(nodes, values)(np.clip(y, nodes[0], nodes[-1] - 0.1))


def observed(kind, coefficients, linear):
    """Invert `corrected` by halving intervals."""
    low, high = 0.5 * linear, 2 * linear
    for _ in range(80):
        middle = 0.5 * (low + high)
        below = corrected(kind, coefficients, middle) < linear
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)


def ramp(kind, coefficients, rng, spacing=np.linspace, bad=0, offset=0.0):
    """Simulate exposure times, mean signals and their errors."""
    light = corrected(kind, coefficients, spacing(100, TOP - 50, 60))
    times = light / 500
    y = observed(kind, coefficients, light * (1 + JITTER * rng.normal(size=60))) + offset
    variance = y / GAIN + 25
    y += np.sqrt(variance / PIXELS) * rng.normal(size=60)
    # The brightest points of a ramp crowded at faint signals are one to an interval of the spline,
    # and nothing there contradicts a wrong one.
    wrong = rng.choice(60 if spacing is np.linspace else 45, bad, replace=False)
    y[wrong] *= 1 + 0.03 * rng.choice([-1, 1], bad)
    return times, y, mean_errors(variance, PIXELS), wrong


def nonlinearity(fit, kind, coefficients):
    """Largest deviation of corrected from linear signals; their ratio is a convention."""
    y = np.linspace(100, TOP - 200, 5000)
    ratio = corrected(fit.kind, fit.coefficients, y, fit.table)
    ratio = ratio / corrected(kind, coefficients, y)
    return np.abs(ratio / np.median(ratio) - 1).max()


@pytest.mark.parametrize(
    ("bad", "spacing"),
    [(0, np.linspace), (3, np.linspace), (0, np.geomspace), (3, np.geomspace)],
    ids=["even", "even with outliers", "crowded", "crowded with outliers"],
)
@pytest.mark.parametrize("known_errors", [True, False])
@pytest.mark.parametrize(
    ("kind", "truth", "coefficients"),
    [
        ("squared", "squared", SQUARED),
        ("polynomial", "squared", SQUARED),
        ("polynomial", "polynomial", POLYNOMIAL),
        ("lookup_table", "polynomial", POLYNOMIAL),
        ("spline", "spline", SPLINE),
        ("spline", "squared", SQUARED),
    ],
)
def test_corrected_ramps_are_linear(kind, truth, coefficients, known_errors, bad, spacing):
    rng = np.random.default_rng(1)
    times, y, errors, wrong = ramp(truth, coefficients, rng, spacing, bad)
    nodes = tuple(NODES) if truth == "spline" else ()
    options = LinearityOptions(kind, nodes=nodes, max_deviation=0.06, max_adu=TOP)
    fit = fit_linearity(times, y, errors if known_errors else None, options)
    assert fit.kind == kind
    assert nonlinearity(fit, truth, coefficients) < ACCEPTED
    assert not fit.used[wrong].any()
    # At 5 sigma next to none of the others is rejected; 10 % for errors known to some 10 %.
    assert fit.used.sum() >= 0.9 * (60 - bad)
    # Jitter and photon noise of 1e-4 at most each, the former from a median of about 45 points to
    # 1.17/sqrt(45) = 17 %.
    assert fit.scatter < 2.5e-4
    assert np.abs(fit.masked_residuals[fit.used]).max() < 5 * fit.scatter + ACCEPTED


def test_polynomial_coefficients_and_their_errors():
    """In 200 ramps the coefficients scatter by their errors around the truth."""
    pulls = []
    for seed in range(200):
        times, y, errors, _ = ramp("polynomial", POLYNOMIAL, np.random.default_rng(seed))
        fit = fit_linearity(times, y, errors, LinearityOptions("polynomial", max_deviation=0.06))
        pulls.append((fit.coefficients - POLYNOMIAL) / fit.coefficient_errors)
    # Mean 0 within 5/sqrt(200), standard deviation 1 within 5/sqrt(400), and the error itself is
    # one of a weighted fit whose weights were measured (10 %).
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.36
    np.testing.assert_allclose(np.std(pulls, axis=0), 1, atol=0.25 + 0.1)


def test_jitter_and_slope_are_measured():
    found = [
        fit_linearity(*ramp("squared", SQUARED, np.random.default_rng(s))[:3],
                      LinearityOptions("squared", max_deviation=0.06))
        for s in range(50)
    ]  # fmt: skip
    # From the median of 60: 1.17/sqrt(60) = 15 % each, 2 % together, five times.
    assert np.mean([fit.jitter for fit in found]) == pytest.approx(JITTER, rel=0.11)
    # The line is that of small signals: 500 adu/s.
    assert np.mean([fit.slope for fit in found]) == pytest.approx(500, rel=1e-4)
    assert all(fit.slope == fit.group_slopes[0] for fit in found)


def test_without_noise_a_quadratic_is_found():
    """Reference 7.1 and 7.3: mu = 1000 t - 5e-6 t**2 has c_0 = 5e-12."""
    t = np.arange(1.0, 97.0)
    mu = 1000 * t - 5e-6 * t**2
    for kind in ("squared", "polynomial"):
        fit = fit_linearity(t, mu, None, LinearityOptions(kind))
        # The inverse of a quadratic has a cubic term: relative 2 k t/m = 1e-6. Rounding of the
        # signal (1e-16) is 2e-10 of a deviation of 5e-7, a thousand times more with a cubic.
        assert fit.coefficients[0] == pytest.approx(5e-6 / 1000**2, rel=2e-6)
        assert fit.slope == pytest.approx(1000, rel=1e-9)
        assert fit.intercept == pytest.approx(0, abs=1e-6)
        truth = 1000 * t
        np.testing.assert_allclose(corrected(kind, fit.coefficients, mu), truth, rtol=1e-9)
    table = fit_linearity(t, mu, None, LinearityOptions("lookup_table"))
    assert table.table.shape == (2**18,)
    np.testing.assert_allclose(
        corrected("lookup_table", table.coefficients, mu, table.table), truth, rtol=1e-6
    )


def test_the_first_order_of_the_inverse_is_not_enough():
    """Of mu = m t + k t**2 with 3 % the reference's coefficients leave more than is accepted."""
    t = np.linspace(1, 200, 60)
    linear = 600 * t
    mu = linear * (1 - 0.03 * linear / linear[-1])
    fit = fit_linearity(t, mu, None, LinearityOptions("polynomial", max_deviation=0.06))
    ratio = corrected("polynomial", fit.coefficients, mu) / linear
    assert np.ptp(ratio) < ACCEPTED / 10
    c2, c1 = np.polyfit(linear, mu, 2)[:2]
    reference = corrected("polynomial", [-c2 / c1**2], mu) / linear
    assert np.ptp(reference) > ACCEPTED
    # What the quadratic fit makes of it is better than a cubic without its last term.
    squared = fit_linearity(t, mu, None, LinearityOptions("squared", max_deviation=0.06))
    ratio2 = corrected("squared", squared.coefficients, mu) / linear
    ratio3 = corrected("squared", fit.coefficients[:1], mu) / linear
    assert np.ptp(ratio2) < np.ptp(ratio3)
    assert np.abs(ratio2 / np.median(ratio2) - 1).max() < ACCEPTED


def test_the_spline_of_the_reference():
    """Reference 7.1 and 7.3: groups, offset, outliers; all ratios as the reference asserts."""
    nodes = np.linspace(0, 1e5, 10)
    values = np.array([0, -8.87, 1.46, 1.69, -6.92, -68.23, -78.01, -11.56, 80.26, 185.01])
    truth = [*nodes, *values]
    factors = np.array([0.995, 1.0, 1.005, 1.002])
    rng = np.random.default_rng(3)
    group = np.arange(200) % 4
    times = np.linspace(1, 100, 200)
    light = times * factors[group]
    y = observed("spline", truth, light / light.max() * 99_800) + 2
    y *= 1 + 1e-4 * rng.normal(size=200)
    wrong = rng.choice(np.arange(100, 200), 5, replace=False)
    y[wrong] += 200
    fit = fit_linearity(times, y, None, LinearityOptions(), groups=group, anchor=1e5)
    assert fit.kind == "spline"
    assert not fit.used[wrong].any()
    assert fit.used.sum() >= 193
    np.testing.assert_allclose(fit.group_slopes / fit.group_slopes[1], factors, atol=6e-4)
    # The faintest points have 1000 adu, and 1e-4 of them are 0.1 adu.
    assert fit.intercept == pytest.approx(2, abs=0.5)
    found_nodes, found = np.split(fit.coefficients, 2)
    # The convention: bring the truth to a mean of zero.
    grid = np.linspace(0, 1e5, 100)
    mean = Akima1DInterpolator(nodes, values)(grid).mean()
    share = mean / (mean - grid.mean())
    wanted = Akima1DInterpolator(nodes, (1 - share) * values + share * nodes)(
        np.minimum(found_nodes, 1e5)
    )
    # 1e-4 of the signal from 22 points at a node.
    allowed = 2 + 5 * 1e-4 * found_nodes / np.sqrt(22)
    assert (np.abs(found - wanted) < allowed).all()
    signal = np.linspace(1000, 99_000, 500)
    ratio = corrected("spline", fit.coefficients, signal) / corrected("spline", truth, signal)
    np.testing.assert_allclose(ratio / np.median(ratio), 1, atol=4e-4)
    assert fit.scatter < 1.2e-4


def test_splines_have_mean_zero_up_to_the_anchor_and_zero_at_zero():
    rng = np.random.default_rng(4)
    times, y, errors, _ = ramp("spline", SPLINE, rng)
    options = LinearityOptions(nodes=tuple(NODES), max_deviation=0.06)
    fits = [fit_linearity(times, y, errors, options, anchor=a) for a in (60_000.0, 9e4, None)]
    for fit, anchor in zip(fits, (60_000, 90_000, fits[0].turnoff), strict=True):
        nodes, values = np.split(fit.coefficients, 2)
        assert values[0] == 0
        mean = Akima1DInterpolator(nodes, values)(np.linspace(0, anchor, 100)).mean()
        assert mean == pytest.approx(0, abs=1e-9 * anchor)
        # Whatever the convention, the same is corrected.
        np.testing.assert_allclose(fit.residuals, fits[0].residuals, atol=1e-5)
        np.testing.assert_array_equal(fit.used, fits[0].used)


def test_residuals_are_corrected_signal_less_line():
    rng = np.random.default_rng(5)
    group = np.arange(60) % 2
    for kind in ("polynomial", "spline", "lookup_table", "squared"):
        times, y, errors, _ = ramp("squared", SQUARED, rng, bad=2, offset=3.0)
        times = times / np.array([1.0, 1.1])[group]
        options = LinearityOptions(kind, max_deviation=0.06)
        fit = fit_linearity(times, y, errors, options, groups=group)
        line = fit.intercept + fit.group_slopes[group] * times
        wanted = corrected(kind, fit.coefficients, y, fit.table) - line
        inside = y < fit.fit_range[1]
        np.testing.assert_allclose(fit.residuals_adu[inside], wanted[inside], atol=1e-6)
        np.testing.assert_array_equal(fit.residuals, fit.residuals_adu / y)
        assert np.isnan(fit.masked_residuals[~fit.used]).all()
        assert np.isnan(fit.masked_residuals_adu).sum() == (~fit.used).sum()
        r = fit.residuals[fit.used]
        assert fit.scatter == pytest.approx(1.4826022 * np.median(abs(r - np.median(r))))
        assert fit.group_slopes[1] / fit.group_slopes[0] == pytest.approx(1.1, rel=5e-4)
        assert fit.slope == pytest.approx(fit.group_slopes.mean())
        # 0.01 adu of noise and 1e-4 of jitter at 100 adu; the next point is at 2000.
        assert fit.intercept == pytest.approx(3, abs=0.3)
        fixed = fit_linearity(
            times, y - 3, errors, LinearityOptions(kind, max_deviation=0.06, fit_offset=False),
            groups=group,
        )  # fmt: skip
        assert fixed.intercept == 0
        assert nonlinearity(fixed, "squared", SQUARED) < ACCEPTED


def test_saturated_points_end_the_fit():
    rng = np.random.default_rng(6)
    t = np.linspace(1, 140, 70)
    y = np.minimum(1000 * t * (1 + 1e-4 * rng.normal(size=70)), 1e5 + 30 * rng.normal(size=70))
    for kind in ("polynomial", "spline"):
        fit = fit_linearity(t, y, None, LinearityOptions(kind))
        # 1 % beyond the corner at 1e5 a point is still near the line.
        assert 98_000 < fit.turnoff < 100_100
        assert not fit.used[t > 101.1].any()
        assert fit.used[t < 98].sum() > 0.9 * (t < 98).sum()
        assert fit.max_signal == pytest.approx(1e5, abs=50)
        assert fit.fit_range == (y[fit.used].min(), y[fit.used].max())
        line = fit.intercept + fit.slope * t
        assert abs(fit.residuals_adu[-1] - (y[-1] - line[-1])) < 500


def test_masked_points_do_not_matter():
    rng = np.random.default_rng(9)
    times, y, errors, _ = ramp("polynomial", POLYNOMIAL, rng)
    usable = np.arange(60) % 7 != 3
    spoilt = np.where(usable, y, np.where(np.arange(60) % 2, np.nan, 1e9))
    for kind in ("polynomial", "spline"):
        options = LinearityOptions(kind, max_deviation=0.06)
        whole = fit_linearity(times, spoilt, errors, options, usable=usable)
        part = fit_linearity(times[usable], y[usable], errors[usable], options)
        np.testing.assert_array_equal(whole.coefficients, part.coefficients)
        np.testing.assert_array_equal(whole.used[usable], part.used)
        assert not whole.used[~usable].any()
