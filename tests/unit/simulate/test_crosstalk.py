import numpy as np
import pytest

from cpflow.simulate.crosstalk import Crosstalk, add_crosstalk, draw_coefficients
from cpflow.simulate.geometry import to_detector, to_readout
from cpflow.simulate.seeds import stream


def test_ghosts_are_the_coefficient_times_the_source():
    linear = np.array([[0, 1e-3, 0], [2e-3, 0, 4e-3], [0, 0, 0]])
    quadratic = np.zeros((3, 3))
    quadratic[0, 2] = 1e-9
    signal = np.zeros((3, 4, 5), np.float32)
    signal[0, 1, 2] = 50_000
    signal[1, 3, 0] = 10_000
    out = add_crosstalk(signal, linear, quadratic)
    assert out[1, 1, 2] == pytest.approx(50)
    assert out[2, 1, 2] == pytest.approx(1e-9 * 50_000**2)
    assert out[0, 3, 0] == pytest.approx(20)
    assert out[2, 3, 0] == pytest.approx(40)
    # Sources keep their value, and nothing else changes.
    assert out[0, 1, 2] == 50_000
    assert np.count_nonzero(out) == 6


def test_ghosts_lie_at_the_same_place_of_the_readout_hence_flipped(quad):
    detector = quad.camera.detectors[0]
    image = np.zeros(detector.shape, np.float32)
    image[5, 7] = 10_000
    ghosts = to_detector(
        add_crosstalk(to_readout(image, detector), np.full((4, 4), 1e-3)), detector
    )
    rows, columns = detector.shape
    mirrored = {(5, columns - 8), (rows - 6, 7), (rows - 6, columns - 8)}
    assert {(int(y), int(x)) for y, x in zip(*np.nonzero(ghosts), strict=True)} == {
        (5, 7),
        *mirrored,
    }
    assert all(ghosts[place] == pytest.approx(10) for place in mirrored)


def test_coefficients_are_not_symmetric_and_fall_with_distance(latiss):
    model = Crosstalk(neighbour=2e-4, decay=0.5, scatter=0.1)
    drawn = draw_coefficients(model, latiss.camera.detectors[0], stream("c"))
    assert (np.diag(drawn) == 0).all()
    assert not np.array_equal(drawn, drawn.T)
    for distance in (1, 2, 5):
        along = np.concatenate([np.diag(drawn, distance), np.diag(drawn, -distance)])
        expected = 2e-4 * 0.5 ** (distance - 1)
        assert along.mean() == pytest.approx(expected, rel=5 * 0.1 / np.sqrt(along.size))
