"""The correction of deferred charge: against the simulator's register, and the spec in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.kernels.deferred_charge import (
    TAIL,
    SerialTransfer,
    restore_deferred_charge,
    transfer_weights,
)
from cpflow.simulate.cti import SerialCti, defer

PRESCAN, COLUMNS = 4, 150
ALL = {
    "inefficiency": 1e-5,
    "drift_scale": 2e-4,
    "drift_decay": 2.4,
    "trap_size": 40.0,
    "trap_signal": 2e4,
    "trap_decay": 1.5,
}


def scene(seed=0, rows=12, noise=0.0):
    """Sky, a step, a bright column and bright pixels: edges of every size."""
    rng = np.random.default_rng(seed)
    image = np.full((rows, COLUMNS), 800.0)
    image[:, 60:90] += 30_000
    image[:, 120] += 90_000
    image[rng.integers(0, rows, 40), rng.integers(0, COLUMNS, 40)] += 20_000
    return (image + rng.normal(0, noise, image.shape) if noise else image).astype(np.float32)


def read_out(image, **model):
    """What the simulated register makes of an image, without prescan."""
    raw = np.zeros((len(image), PRESCAN + COLUMNS), np.float32)
    raw[:, PRESCAN:] = image
    return defer(raw, SerialCti(**{"inefficiency": 0.0, **model}))[:, PRESCAN:].copy()


def by_the_spec(image, register, first, transfers=True, pixels=(15, 6)):
    """Spec 2.9 with loops over pixels, the transfers by solving each row's matrix."""
    out = image.astype(np.float64)
    b = register.inefficiency
    for row in out:
        u = row.copy()
        for x in range(len(u)):
            row[x] -= max(
                register.drift_scale * max(0, u[x - j]) * np.exp(-j / register.drift_decay)
                for j in range(min(pixels[0], x + 1))
            )
        u, r = row.copy(), np.exp(-1 / register.trap_decay)

        def held(value):
            return register.trap_size * (1 - np.exp(-max(0, value) / register.trap_signal))

        for x in range(len(u)):
            o = max([held(u[x - j - 1]) * r**j for j in range(min(pixels[1], x))], default=0.0)
            row[x] -= (1 - b) * ((1 - r) * o - max(0, held(u[x]) - r * o))
        if transfers:
            w = transfer_weights(len(u), b, first)
            matrix = sum(np.diag(w[: len(u) - k, k], -k) for k in range(TAIL + 1))
            row[:] = np.linalg.solve(matrix, row)
    return out


@pytest.mark.parametrize("transfers", [True, False])
def test_it_is_the_formula_of_the_specification(transfers):
    image = read_out(scene(), **ALL)
    register = SerialTransfer(**ALL)
    expected = by_the_spec(image, register, PRESCAN, transfers)
    found = image[None].copy()
    restore_deferred_charge(found, [register], PRESCAN, transfers=transfers)
    # Half a unit in the last place of float32 at 1.2e5.
    np.testing.assert_allclose(found[0], expected, rtol=6e-8, atol=4e-6)


def test_a_register_simulated_with_these_numbers_is_undone():
    clean = scene()
    deferred = read_out(clean, **ALL)
    assert np.abs(deferred - clean).max() > 30
    found = deferred[None].copy()
    restore_deferred_charge(found, [SerialTransfer(**ALL)], PRESCAN)
    # A**2 times 1.2e5 electrons is 0.005, the offset beyond 15 pixels 24 exp(-15/2.4) = 0.05, the
    # trap beyond 6 pixels 40 exp(-6/1.5) (1 - exp(-1/1.5)) = 0.36.
    np.testing.assert_allclose(found[0], clean, atol=0.45)
    followed = deferred[None].copy()
    restore_deferred_charge(
        followed, [SerialTransfer(**ALL)], PRESCAN, offset_pixels=80, trap_pixels=80
    )
    # What the pixels were when read stands for what they held: of 40 electrons a part 1e-3.
    np.testing.assert_allclose(followed[0], clean, atol=0.04)


@pytest.mark.parametrize("part", ["inefficiency", "drift_scale", "trap_size"])
def test_each_part_by_itself(part):
    model = {**ALL, "inefficiency": 0.0, "drift_scale": 0.0, "trap_size": 0.0, part: ALL[part]}
    clean = scene(1)
    found = read_out(clean, **model)[None].copy()
    restore_deferred_charge(
        found, [SerialTransfer(**model)], PRESCAN, offset_pixels=80, trap_pixels=80
    )
    np.testing.assert_allclose(found[0], clean, atol=0.04)


def test_weights_are_those_of_a_register_shifted_step_by_step():
    b, first, columns = 3e-3, 2, 30
    weights = transfer_weights(columns, b, first)
    register = np.zeros(first + columns + TAIL)
    register[first + 20] = 1.0
    arrived = []
    for _ in range(first + columns + TAIL):
        moving = register * (1 - b)
        arrived.append(moving[0])
        register = register * b + np.append(moving[1:], 0)
    np.testing.assert_allclose(weights[20], arrived[first + 20 : first + 20 + TAIL + 1], rtol=1e-12)
    assert np.all(transfer_weights(5, 0.0)[:, 1:] == 0)


def test_any_band_of_rows_gives_the_same_bits():
    image = read_out(scene(2, noise=8.0), **ALL)[None].copy()
    whole = image.copy()
    restore_deferred_charge(whole, [SerialTransfer(**ALL)], PRESCAN, 1.1)
    for rows in (slice(0, 1), slice(1, 7), slice(7, 12)):
        band = image[:, rows].copy()
        restore_deferred_charge(band, [SerialTransfer(**ALL)], PRESCAN, 1.1)
        np.testing.assert_array_equal(band, whole[:, rows])


def test_adu_are_electrons_over_the_gain():
    image = read_out(scene(), **ALL)
    register = SerialTransfer(**ALL)
    both = np.stack([image, image / np.float32(2)])
    restore_deferred_charge(both, [register, register], PRESCAN, [1.0, 2.0])
    # Dividing by two is exact.
    np.testing.assert_array_equal(both[0], both[1] * 2)


def test_pixels_that_are_not_finite_stay_and_count_as_empty():
    image = read_out(scene(), **ALL)[None].copy()
    image[0, 3, 70], image[0, 4, 71] = np.nan, np.inf
    empty = np.where(np.isfinite(image), image, np.float32(0))
    restore_deferred_charge(image, [SerialTransfer(**ALL)], PRESCAN)
    restore_deferred_charge(empty, [SerialTransfer(**ALL)], PRESCAN)
    assert np.isnan(image[0, 3, 70])
    assert np.isinf(image[0, 4, 71])
    good = np.isfinite(image)
    np.testing.assert_array_equal(image[good], empty[good])


@pytest.mark.parametrize(
    "register",
    [
        SerialTransfer(),
        SerialTransfer(*[np.nan] * 6),
        SerialTransfer(inefficiency=-1e-8),
        SerialTransfer(drift_scale=1e-4, drift_decay=np.nan),
    ],
)
def test_what_is_not_known_or_not_there_changes_nothing(register):
    image = scene(3, noise=5.0)[None].copy()
    before = image.copy()
    restore_deferred_charge(image, [register])
    np.testing.assert_array_equal(image, before)


def test_narrow_and_empty_images():
    for shape in ((1, 3, 1), (1, 0, 5), (2, 2, 3)):
        image = np.full(shape, 100.0, np.float32)
        restore_deferred_charge(image, [SerialTransfer(**ALL)] * shape[0])
        assert np.isfinite(image).all()


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: restore_deferred_charge(np.zeros((2, 3), np.float32), [SerialTransfer()] * 2),
        lambda: restore_deferred_charge(np.zeros((1, 2, 3)), [SerialTransfer()]),
        lambda: restore_deferred_charge(np.zeros((2, 2, 3), np.float32), [SerialTransfer()]),
        lambda: restore_deferred_charge(
            np.zeros((1, 2, 3), np.float32), [SerialTransfer()], gains=np.nan
        ),
        lambda: restore_deferred_charge(
            np.zeros((1, 2, 3), np.float32), [SerialTransfer()], trap_pixels=0
        ),
    ],
)
def test_what_makes_no_sense_is_refused(attempt):
    with pytest.raises(ValueError):
        attempt()
