"""Coefficients of serial transfer from profiles of a simulated register."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.cti_fit import PARAMETERS, fit_serial_transfer, trail_model
from cpflow.kernels.deferred_charge import SerialTransfer, restore_deferred_charge
from cpflow.simulate.cti import SerialCti, defer

PRESCAN, IMAGING, OVERSCAN, COLUMNS = 3, 120, 16, 10
N = PRESCAN + IMAGING
FLUX = np.geomspace(500, 140_000, 14)
NOISE, ROWS = 8.0, 250
MODELS = {
    "all": SerialCti(
        inefficiency=1e-5, drift_scale=2e-4, trap_size=40.0, trap_signal=2e4, trap_decay=1.2
    ),
    "transfers": SerialCti(inefficiency=1e-5),
    "offset": SerialCti(inefficiency=0.0, drift_scale=2e-4),
    "trap": SerialCti(inefficiency=1e-6, trap_size=60.0, trap_signal=1e4, trap_decay=0.6),
}
FREE = {"all": {0, 1, 2, 3, 4, 5}, "transfers": {0}, "offset": {0, 1, 2}, "trap": {0, 3, 4, 5}}


def trails(model):
    """Noiseless last columns and overscan profiles."""
    raw = np.zeros((len(FLUX), N + OVERSCAN), np.float32)
    raw[:, PRESCAN:N] = FLUX[:, None]
    out = defer(raw, model).astype(float)
    return out[:, N - 1], out[:, N:]


def fit_of(model, rng):
    """Fit profiles with the noise of means over rows and of levels from the last six columns."""
    signals, profiles = trails(model)
    noisy = profiles + rng.normal(0, NOISE / np.sqrt(ROWS), profiles.shape)
    noisy -= noisy[:, COLUMNS:].mean(axis=1, keepdims=True)
    errors = np.full((len(FLUX), COLUMNS), NOISE * np.sqrt((1 + 1 / 6) / ROWS))
    return fit_serial_transfer(
        signals,
        noisy[:, :COLUMNS],
        errors,
        N,
        baseline=range(COLUMNS, OVERSCAN),
        level_variance=1 / 6,
    )


@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_what_the_register_does(name):
    signals, profiles = trails(MODELS[name])
    register = SerialTransfer(**MODELS[name].model_dump())
    found = trail_model(signals, register, N, OVERSCAN, range(0))
    # float32 at 1.4e5 rounds by 0.008; the trap takes some of what trails.
    np.testing.assert_allclose(found, profiles, atol=0.03)
    level = profiles[:, COLUMNS:].mean(axis=1, keepdims=True)
    less = trail_model(signals, register, N, COLUMNS, range(COLUMNS, OVERSCAN))
    np.testing.assert_allclose(less, profiles[:, :COLUMNS] - level, atol=0.03)


@pytest.mark.parametrize("name", MODELS)
def test_the_truth_is_found_within_errors_of_unit_width(name):
    model, rng, pulls, right = MODELS[name], np.random.default_rng(7), [], 0
    for _ in range(6):
        fit = fit_of(model, rng)
        found = {i for i in range(6) if np.isfinite(fit.errors[i])}
        right += found == FREE[name]
        index = sorted(found & FREE[name])
        value = np.array([getattr(fit.register, PARAMETERS[i]) for i in index])
        true = np.array([getattr(model, PARAMETERS[i]) for i in index])
        pulls.append(np.max(np.abs(value - true) / fit.errors[index]))
        assert fit.used.all()
        # Five standard deviations of chi2.
        assert abs(fit.chi2 - fit.dof) < 5 * np.sqrt(2 * fit.dof)
    assert right == 6
    assert max(pulls) < 5


def test_pulls_have_unit_width():
    rng = np.random.default_rng(8)
    fits = [fit_of(MODELS["offset"], rng) for _ in range(30)]
    values = np.array([[getattr(f.register, PARAMETERS[i]) for i in range(3)] for f in fits])
    pulls = (values - [0.0, 2e-4, 2.4]) / [f.errors[:3] for f in fits]
    # Thirty pulls: 0.18 on the mean, 0.13 on the width, five times each.
    assert (np.abs(pulls.mean(axis=0)) < 0.91).all()
    assert (np.abs(pulls.std(axis=0) - 1) < 0.65).all()


@pytest.mark.parametrize("name", MODELS)
def test_overscan_corrected_with_what_was_found_is_empty(name):
    model = MODELS[name]
    raw = np.zeros((1, len(FLUX), IMAGING + OVERSCAN), np.float32)
    full = np.zeros((len(FLUX), N + OVERSCAN), np.float32)
    full[:, PRESCAN:N] = FLUX[:, None]
    raw[0] = defer(full, model)[:, PRESCAN:]
    before = raw[0, :, IMAGING : IMAGING + 2].sum(axis=1) / FLUX / N
    fit = fit_of(model, np.random.default_rng(11))
    restore_deferred_charge(raw, [fit.register], PRESCAN)
    after = raw[0, :, IMAGING : IMAGING + COLUMNS]
    # Errors of the profiles, 0.5 electrons each, in two columns; the fit has many more. Beyond six
    # pixels the trap keeps 40 exp(-6/1.2) (1 - exp(-1/1.2)) = 0.15 electrons.
    assert np.abs(after).max() < 1
    assert np.abs(after[-1, :2].sum()) / FLUX[-1] / N < 0.05 * before[-1]


def test_a_register_without_fault_has_no_coefficients():
    fit = fit_of(SerialCti(inefficiency=0.0), np.random.default_rng(9))
    assert fit.register.drift_scale == 0
    assert fit.register.trap_size == 0
    assert abs(fit.register.inefficiency) < 5 * fit.errors[0]
    again = fit_of(SerialCti(inefficiency=0.0), np.random.default_rng(9))
    assert repr(again.register) == repr(fit.register)


def test_the_global_cti_alone_is_weighted_least_squares():
    """To first order all of N b S is in the first column."""
    signals, b = np.array([1e4, 5e4]), 1e-7
    profiles, errors = np.zeros((2, 2)), np.array([[1.0, 1.0], [2.0, 2.0]])
    profiles[:, 0] = N * b * signals + [0.3, -0.4]
    fit = fit_serial_transfer(signals, profiles, errors, N)
    w = N * signals / errors[:, 0]
    expected = (w @ (profiles[:, 0] / errors[:, 0])) / (w @ w)
    assert fit.register.inefficiency == pytest.approx(expected, rel=1e-3)
    assert fit.errors[0] == pytest.approx(1 / np.sqrt(w @ w), rel=1e-3)


def test_flats_out_of_range_are_left_out():
    signals, profiles = trails(MODELS["transfers"])
    errors = np.full(profiles.shape, 0.5)
    profiles[3, 2], signals[5] = np.nan, -2.0
    fit = fit_serial_transfer(signals, profiles, errors, N, min_signal=700, max_signal=1e5)
    assert np.flatnonzero(~fit.used).tolist() == [0, 3, 5, 13]
    assert fit.register.inefficiency == pytest.approx(1e-5, rel=0.01)
    none = fit_serial_transfer(signals, profiles, errors, N, min_signal=1e6)
    assert "no flat has a signal" in none.reason
    assert np.isnan(none.register.inefficiency)
    assert not none.used.any()
    one = fit_serial_transfer(signals[8:9], profiles[8:9], errors[8:9], N)
    assert one.register.inefficiency == pytest.approx(1e-5, rel=0.01)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: fit_serial_transfer([1.0], np.zeros((2, 3)), np.ones((2, 3)), 5),
        lambda: fit_serial_transfer([1.0], np.zeros((1, 3)), np.ones((1, 2)), 5),
        lambda: fit_serial_transfer([1.0], np.zeros((1, 3)), np.ones((1, 3)), 0),
    ],
)
def test_what_makes_no_sense_is_refused(attempt):
    with pytest.raises(ValueError):
        attempt()
