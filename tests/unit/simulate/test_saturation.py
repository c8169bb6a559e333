import numpy as np
import pytest

from cpflow.simulate.saturation import Saturation, bleed, draw_full_wells
from cpflow.simulate.seeds import stream


def test_excess_charge_fills_the_pixels_above_and_below(quad):
    detector = quad.camera.detectors[0]
    charge = np.zeros(detector.shape, np.float32)
    charge[30, 20] = 1000 + 2 * 3500
    bleed(charge, detector, np.full(4, 1000.0))
    expected = [500, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 500]
    assert charge[26:35, 20].tolist() == expected
    assert charge.sum() == 8000


def test_charge_is_conserved_on_top_of_a_background(quad):
    detector = quad.camera.detectors[0]
    rng = np.random.default_rng(2)
    charge = rng.uniform(0, 900, detector.shape).astype(np.float32)
    charge[20:30, 40:45] += 2000
    before = charge.sum(dtype=float)
    bleed(charge, detector, np.full(4, 1000.0))
    assert charge.max() <= 1000
    assert charge.sum(dtype=float) == pytest.approx(before, rel=1e-6)


def test_trails_end_where_the_amplifier_ends(quad):
    detector = quad.camera.detectors[0]
    charge = np.zeros(detector.shape, np.float32)
    charge[60, 20] = 1e5
    bleed(charge, detector, np.full(4, 1000.0))
    assert (charge[64:] == 0).all()
    assert (charge[11:64, 20] == 1000).all()
    # Above there is room for only 3 pixels; the rest of that half is lost at the channel stop.
    assert charge.sum() == pytest.approx(1000 + 49_500 + 3000)


def test_below_the_full_well_nothing_moves(quad):
    detector = quad.camera.detectors[0]
    charge = np.random.default_rng(1).uniform(0, 999, detector.shape).astype(np.float32)
    before = charge.copy()
    bleed(charge, detector, np.full(4, 1000.0))
    assert np.array_equal(charge, before)


def test_wells_scatter_from_amplifier_to_amplifier(latiss):
    wells = draw_full_wells(Saturation(), latiss.camera.detectors[0], stream("w"))
    assert wells == pytest.approx(150_000, rel=0.1)
    assert len(set(wells)) == 16
