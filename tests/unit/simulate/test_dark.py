import math

import numpy as np
import pytest

from cpflow.simulate.brighter_fatter import draw_poisson
from cpflow.simulate.dark import Dark, dark_rate
from cpflow.simulate.geometry import imaging_pixels
from cpflow.simulate.seeds import stream


def test_the_smooth_map_rises_along_the_diagonal(quad):
    detector = quad.camera.detectors[0]
    rate = dark_rate(Dark(rate=0.1, gradient=0.3, glow=0.0), detector)
    assert rate[0, 0] == pytest.approx(0.07)
    assert rate[-1, -1] == pytest.approx(0.13)
    assert rate.mean(dtype=float) == pytest.approx(0.1)


def test_the_glow_decays_from_each_readout_corner(quad):
    detector = quad.camera.detectors[0]
    rate = dark_rate(Dark(rate=0.0, glow=2.0, glow_extent=0.25), detector)
    for amplifier in detector:
        area = imaging_pixels(rate, amplifier)
        assert area[0, 0] == pytest.approx(2.0)
        assert area[16, 20] == pytest.approx(2 * math.exp(-2), rel=1e-5)


@pytest.mark.parametrize("mean", [0.3, 40.0, 30_000.0])
def test_electrons_are_poisson(mean):
    drawn = draw_poisson(np.full((500, 400), mean, np.float32), stream("p", str(mean))).astype(
        float
    )
    n = drawn.size
    assert drawn.mean() == pytest.approx(mean, abs=5 * math.sqrt(mean / n))
    # Var(s^2) of a Poisson sample is (mean + 2 mean^2) / n.
    assert drawn.var() == pytest.approx(mean, abs=5 * math.sqrt((mean + 2 * mean**2) / n))
    assert (drawn == np.rint(drawn)).all()
