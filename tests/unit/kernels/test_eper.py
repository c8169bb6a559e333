"""Extended-pixel edge response against deferred charge of known size."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.eper import cti_turnoff, edge_response
from cpflow.simulate.cti import SerialCti, defer

IMAGING, PRESCAN, OVERSCAN, ROWS = 300, 3, 12, 400
N = IMAGING + PRESCAN


def flat(level, b, rng, noise=6.0, rows=ROWS):
    raw = np.zeros((rows, N + OVERSCAN), np.float32)
    raw[:, PRESCAN:N] = rng.poisson(level, (rows, IMAGING))
    return defer(raw, SerialCti(inefficiency=b)) + rng.normal(0, noise, raw.shape)


@pytest.mark.parametrize("b", [0.0, 2e-6, 1e-5])
def test_the_inefficiency_comes_back_with_pulls_of_unit_width(b):
    rng = np.random.default_rng(1)
    pulls = []
    for _ in range(60):
        frame = flat(40_000, b, rng)
        # A level of each row from six pixels: its noise is common to the row.
        frame -= frame[:, -6:].mean(axis=1, keepdims=True)
        found = edge_response(frame[:, N - 1], frame[:, N : N + 5], N)
        pulls.append((found.cti - b) / found.error)
    # Sixty pulls: 0.13 on their mean, 0.09 on their width, five times each. Prescan columns hold
    # nothing, and second order is N b / 2: 0.15 % of 1e-5, a tenth of an error.
    assert abs(np.mean(pulls)) < 0.65
    assert np.std(pulls) == pytest.approx(1, abs=0.46)


def test_within_five_percent():
    """Acceptance of the specification, 7.6."""
    frame = flat(60_000, 1e-5, np.random.default_rng(2))
    assert edge_response(frame[:, N - 1], frame[:, N : N + 2], N).cti == pytest.approx(
        1e-5, rel=0.05
    )


def test_numbers_are_those_of_plain_means():
    rng = np.random.default_rng(3)
    last, after = rng.normal(1000, 30, 200), rng.normal([8, 3, 1], 5, (200, 3))
    found = edge_response(last, after, 100, first=2, iterations=0)
    total = after[:, 0] + after[:, 1]
    np.testing.assert_allclose(found.profile, after.mean(axis=0), rtol=1e-12)
    assert found.signal == pytest.approx(last.mean(), rel=1e-12)
    assert found.cti == pytest.approx(total.mean() / last.mean() / 100, rel=1e-12)
    variance = total.var(ddof=1) / 200 + (total.mean() / last.mean()) ** 2 * last.var(ddof=1) / 200
    assert found.error == pytest.approx(np.sqrt(variance) / last.mean() / 100, rel=0.02)


def test_outliers_are_clipped_and_lines_without_an_edge_left_out():
    rng = np.random.default_rng(4)
    last, after = rng.normal(1000, 30, 500), rng.normal(4, 5, (500, 3))
    clean = edge_response(last, after, 100)
    dirty = after.copy()
    dirty[:5] = 1e4
    found = edge_response(last, dirty, 100)
    assert abs(found.profile[0] - clean.profile[0]) < 5 * clean.profile_errors[0]
    last[:20] = np.nan
    assert edge_response(last, dirty, 100).lines == 480


def test_common_errors_add_in_quadrature():
    rng = np.random.default_rng(5)
    last, after = rng.normal(1000, 1, 300), rng.normal(0, 5, (300, 4))
    alone, common = (edge_response(last, after, 50, common_error=e) for e in (0.0, 2.0))
    np.testing.assert_allclose(common.profile_errors, np.hypot(alone.profile_errors, 2.0))
    assert common.error == pytest.approx(
        np.hypot(alone.error, np.sqrt(2) * 2 / 1000 / 50), rel=0.01
    )


def test_nothing_to_see():
    for last in (np.full(5, np.nan), np.zeros(0), np.full(4, -3.0)):
        found = edge_response(last, np.zeros((len(last), 2)), 10)
        assert np.isnan(found.cti)
        assert np.isnan(found.error)
    one = edge_response([100.0], [[1.0, 0.5]], 10)
    assert one.cti == pytest.approx(1.5 / 1000)
    assert np.isnan(one.error)


def test_turnoff():
    signals = np.array([5e4, 1e4, 2e4, 1.2e5, 9e4, 1.4e5])
    cti = np.array([1e-6, 9e-6, 3e-6, 4e-5, 1e-6, 9e-5])
    errors = np.full(6, 2e-7)
    assert cti_turnoff(signals, cti, errors) == 9e4
    assert cti_turnoff(signals, cti, np.full(6, 1e-4)) == 1.4e5, "noise is no turn-off"
    assert cti_turnoff(signals, cti, errors, tolerance=1e-4) == 1.4e5
    assert cti_turnoff(signals[:1], cti[:1], errors[:1]) == 5e4
    cti[:] = np.nan
    assert np.isnan(cti_turnoff(signals, cti, errors))


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: edge_response(np.zeros(3), np.zeros((4, 2)), 5),
        lambda: edge_response(np.zeros(3), np.zeros((3, 1)), 5),
        lambda: edge_response(np.zeros(3), np.zeros((3, 2)), 0),
        lambda: edge_response(np.zeros(3), np.zeros((3, 2)), 5, first=0),
    ],
)
def test_what_makes_no_sense_is_refused(attempt):
    with pytest.raises(ValueError):
        attempt()
