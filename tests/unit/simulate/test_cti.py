import math

import numpy as np
import pytest

from cpflow.simulate.cti import SerialCti, defer

IMAGING, OVERSCAN = 500, 64


def flat(level):
    signal = np.zeros((3, IMAGING + OVERSCAN), np.float32)
    signal[:, :IMAGING] = level
    return signal


@pytest.mark.parametrize("b", [1e-6, 1e-5, 1e-4])
def test_extended_pixel_edge_response_gives_the_inefficiency_back(b):
    out = defer(flat(50_000.0), SerialCti(inefficiency=b)).astype(float)
    eper = out[:, IMAGING : IMAGING + 2].sum(axis=1) / (IMAGING * 50_000)
    # Second order: (n b) / 2 relative, for n transfers.
    assert eper == pytest.approx(b, rel=IMAGING * b + 1e-3)


def test_transfers_conserve_charge():
    out = defer(flat(1000.0), SerialCti(inefficiency=1e-4))
    assert out.sum(dtype=float) == pytest.approx(3 * IMAGING * 1000, rel=1e-6)


def test_transfers_are_those_of_a_register_simulated_shift_by_shift():
    b, columns = 3e-3, 40
    rng = np.random.default_rng(1)
    signal = np.zeros((1, columns), np.float32)
    signal[0, :30] = rng.uniform(0, 1000, 30)
    register = signal[0].astype(float)
    expected = []
    for _ in range(columns):
        moving = register * (1 - b)
        expected.append(moving[0])
        register = register * b + np.append(moving[1:], 0)
    assert defer(signal, SerialCti(inefficiency=b))[0] == pytest.approx(
        expected, rel=1e-5, abs=1e-4
    )


def test_local_offset_decays_over_the_overscan():
    model = SerialCti(inefficiency=0.0, drift_scale=2e-4, drift_decay=2.5)
    out = defer(flat(80_000.0), model).astype(float)
    k = np.arange(1, 15)
    expected = 2e-4 * 80_000 * np.exp(-k / 2.5)
    assert out[0, IMAGING : IMAGING + 14] == pytest.approx(expected, rel=1e-5)
    assert out[0, IMAGING - 1] == pytest.approx(80_000 * (1 + 2e-4))


def test_trap_holds_its_charge_back_and_releases_it_later():
    model = SerialCti(inefficiency=0.0, trap_size=40.0, trap_signal=1e4, trap_decay=2.0)
    out = defer(flat(30_000.0), model).astype(float)
    held = 40 * (1 - math.exp(-3))
    assert out[0, 0] == pytest.approx(30_000 - held)
    # Filled and emptied at once while the signal lasts; then the held charge comes out.
    assert out[0, 1:IMAGING] == pytest.approx(30_000, abs=1e-2)
    k = np.arange(10)
    released = held * (1 - math.exp(-0.5)) * np.exp(-0.5 * k)
    assert out[0, IMAGING : IMAGING + 10] == pytest.approx(released, rel=1e-4)
    assert out[0].sum() == pytest.approx(30_000 * IMAGING, rel=1e-7)
