import numpy as np
import pytest
from scipy.interpolate import Akima1DInterpolator

from cpflow.simulate.nonlinearity import Nonlinearity, distort_spline, distort_squared, draw_sizes
from cpflow.simulate.seeds import stream

LINEAR = np.linspace(-50, 140_000, 5001).astype(np.float32)


@pytest.mark.parametrize("c0", [2e-7, -3e-7, 0.0])
def test_the_squared_correction_takes_the_distortion_out(c0):
    observed = distort_squared(LINEAR, c0).astype(float)
    lit = LINEAR >= 0
    corrected = observed + c0 * observed**2
    # float32 holds a signal to 6e-8 of itself.
    assert corrected[lit] == pytest.approx(LINEAR[lit].astype(float), rel=3e-7, abs=1e-3)
    assert observed[~lit] == pytest.approx(LINEAR[~lit].astype(float))


def test_the_spline_correction_takes_the_distortion_out():
    model = Nonlinearity(type="spline")
    nodes, values = np.array(model.nodes), np.array(model.values)
    observed = distort_spline(LINEAR, nodes, values).astype(float)
    spline = Akima1DInterpolator(nodes, values)
    corrected = observed - spline(np.clip(observed, nodes[0], nodes[-1]))
    assert corrected == pytest.approx(LINEAR.astype(float), rel=3e-7, abs=5e-3)
    at_nodes = distort_spline((nodes - values).astype(np.float32), nodes, values)
    assert at_nodes == pytest.approx(nodes, rel=1e-6, abs=5e-3)


def test_amplifiers_differ(latiss):
    sizes = draw_sizes(Nonlinearity(scatter=0.2), latiss.camera.detectors[0], stream("n"))
    assert len(set(sizes)) == 16
    assert np.std(sizes) == pytest.approx(0.2, rel=0.6)
