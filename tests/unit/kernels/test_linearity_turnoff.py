"""What comes before the fit of a ramp: turnoff, groups, nodes and errors."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.linearity_scatter import mean_errors, total_errors
from cpflow.kernels.linearity_spline_fit import spline_nodes
from cpflow.kernels.linearity_turnoff import find_turnoff, group_exposures


def test_a_simple_search_finds_the_same_turnoff():
    rng = np.random.default_rng(7)
    for trial in range(20):
        t = np.sort(rng.uniform(1, 120, 40))
        y = np.minimum(1000 * t, 9e4 + 300 * t**0.5) * (1 + 2e-3 * rng.normal(size=40))
        trusted = rng.random(40) < 0.8
        fit = trusted & (y >= 1000)
        while True:
            slope = t[fit].sum() / (t[fit] ** 2 / y[fit]).sum()
            r = (y - slope * t) / y
            r = abs(r - np.median(r[fit]))
            good = r < 0.01
            if good.sum() > 4:
                break
            fit[np.flatnonzero(fit)[r[fit].argmax()]] = False
        found = find_turnoff(t, y, trusted=trusted)
        assert found.signal == y[good].max(), trial
        assert y[found.index] == found.signal
        np.testing.assert_array_equal(found.good, good)
        np.testing.assert_allclose(found.expected, slope * t)


def test_turnoff_of_groups_and_of_hopeless_ramps():
    t = np.tile(np.linspace(1, 60, 30), 2)
    group = np.repeat([0, 1], 30)
    y = t * np.where(group == 0, 1000.0, 1500.0)
    # The second group has no trusted point and is given its first ones.
    found = find_turnoff(t, y, group, group == 0)
    assert found.signal == 90_000
    assert found.good.all()
    assert found.max_signal == 90_000
    assert find_turnoff(t, y, np.where(group == 0, 0, -1)).signal == 60_000
    nothing = find_turnoff(t[:3], y[:3])
    assert nothing.signal == y[2]
    for x, signal in (([], []), ([1.0, 2.0], [np.nan, np.nan]), ([1.0], [-5.0])):
        assert np.isnan(find_turnoff(x, signal).signal)


def test_groups_are_split_at_gaps():
    t = np.linspace(1, 50, 60)
    truth = np.arange(60) % 3
    light = t * np.array([1000.0, 1300.0, 1800.0])[truth] * (1 + 1e-3 * np.sin(np.arange(60)))
    saturated = np.minimum(light, 60_000)
    signal = np.stack([saturated, 1.1 * saturated])
    signal[1, 5] = np.nan
    t[7] = np.nan
    groups = group_exposures(t, signal)
    assert groups[7] == -1
    known = np.isfinite(t) & (saturated <= 0.88 * saturated.max())
    # The NaN leaves one amplifier, 5 % fainter than the mean of both: less than the gap.
    np.testing.assert_array_equal(groups[known], truth[known])
    faint = np.flatnonzero(known)
    brightest = faint[saturated[faint].argmax()]
    bright = np.isfinite(t) & (saturated > 0.95 * saturated.max())
    assert (groups[bright] == groups[brightest]).all()
    assert (group_exposures([1.0, np.nan], [np.nan, 3.0]) == -1).all()
    assert group_exposures([2.0], [3.0]).tolist() == [0]


def test_nodes():
    np.testing.assert_allclose(
        spline_nodes(np.linspace(10, 999, 50), 6), [0, 200, 400, 600, 800, 1000]
    )
    crowded = np.array([10.0, 20, 30, 40, 50, 60, 70, 80, 5000])
    nodes = spline_nodes(crowded, 4)
    assert np.histogram(crowded, nodes)[0].all()
    assert (nodes[0], nodes[-1]) == (0, 5001)
    with pytest.raises(ValueError):
        spline_nodes(np.ones(5), 4)


def test_errors_of_means():
    np.testing.assert_allclose(mean_errors([400.0, 0.0], [100, 4]), [2, 0])
    assert np.isnan(mean_errors([-1.0, 5.0, np.nan], [9, 0, 9])).all()
    rng = np.random.default_rng(8)
    y = np.geomspace(100, 1e5, 4000)
    photon = np.sqrt(y) / 100
    r = rng.normal(size=4000) * np.hypot(photon, 2e-4 * y)
    sigma, jitter = total_errors(r, y, photon, 3)
    # A median of 4000 is good to 1.17/sqrt(4000) = 1.9 % of a standard deviation.
    assert jitter == pytest.approx(2e-4, rel=5 * 0.019 * 1.5)
    np.testing.assert_allclose(sigma, np.hypot(photon, jitter * y))
    assert total_errors(0.1 * photon, y, photon, 3)[1] == 0
    for power in (0.5, 1.0):
        r = 0.03 * y**power * rng.normal(size=4000)
        np.testing.assert_allclose(total_errors(r, y, None, 3)[0], 0.03 * y**power, rtol=0.095)
    assert total_errors(r[:2], y[:2], photon[:2], 3)[1] == 0


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: find_turnoff(np.ones(3), np.ones(4)),
        lambda: group_exposures(np.ones(3), np.ones((2, 4))),
    ],
)
def test_what_makes_no_sense_is_refused(attempt):
    with pytest.raises(ValueError):
        attempt()
