"""Linearity corrections against plain numpy and scipy, and against simulated nonlinearity."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import Akima1DInterpolator

from cpflow.kernels.linearity import linearity_slope, linearize
from cpflow.simulate.nonlinearity import Nonlinearity, distort_spline, distort_squared

NODES = np.array([0.0, 2e3, 1e4, 3e4, 6e4, 9e4, 1.2e5])
VALUES = np.array([0.0, -6.0, 8.0, 30.0, -40.0, -120.0, -60.0])
SECOND = np.array([0.0, 5e4, 1e5]), np.array([0.0, 10.0, -20.0])
TABLE = np.stack([np.zeros(100_000), 20 * np.sin(np.arange(100_000) / 3000)])
KINDS = {
    "lookup_table": [1, 300],
    "polynomial": [1e-7, -3e-13, 1e-18],
    "squared": [-2e-7],
    "spline": [*NODES, *VALUES],
    "double_spline": [7, 3, *NODES, *VALUES, *SECOND[0], *SECOND[1], 0, 0, 0],
    "proportional": [3.0],
    "none": [np.nan],
}


def akima(u, nodes, values, margin):
    """Return the deviation, plainly."""
    values = values - values[0]
    if nodes[0] != 0:
        nodes, values = np.append(0, nodes), np.append(0, values)
    return Akima1DInterpolator(nodes, values)(np.clip(u, 0, nodes[-1] - margin))


def plain(u, kind, coefficients):
    """Return the corrected signal in adu, as float64."""
    c = np.asarray(coefficients, float)
    match kind:
        case "lookup_table":
            k = np.array([int(v) for v in (u + c[1]).ravel()]).reshape(u.shape)
            return u + TABLE[int(c[0])][np.clip(k, 0, TABLE.shape[1] - 1)]
        case "polynomial" | "squared":
            return u + sum(v * u ** (k + 2) for k, v in enumerate(c))
        case "spline":
            n = len(c) // 2
            return u - akima(u, c[:n], c[n:], 0.1)
        case "double_spline":
            v = u - akima(u, NODES, VALUES, 0.01)
            return v - akima(v, *SECOND, 0.01)
    return u


@pytest.fixture
def image():
    rng = np.random.default_rng(1)
    image = rng.uniform(-500, 1.3e5, (40, 50)).astype(np.float32)
    image[0, : len(NODES)] = NODES
    return image


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gain", [1.0, 1.7])
def test_each_type_in_adu_and_in_electrons(image, kind, gain):
    u = image.astype(float) / gain
    expected = gain * plain(u, kind, KINDS[kind])
    linearize(image, kind, KINDS[kind], TABLE, gain)
    # Rounded once to float32, half a unit in the last place; float64 is exact to 1e-11 of it.
    np.testing.assert_allclose(image, expected, rtol=2**-24, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_do_not_depend_on_others(image, kind):
    whole = image.copy()
    linearize(whole, kind, KINDS[kind], TABLE)
    for view in (np.s_[3:4, :], np.s_[5:20, 7:9], np.s_[30:, 11::3]):
        part = image[view].copy()
        linearize(part, kind, KINDS[kind], TABLE)
        np.testing.assert_array_equal(part, whole[view])
        linearize(image[view], kind, KINDS[kind], TABLE)
        np.testing.assert_array_equal(image[view], whole[view])


@pytest.mark.parametrize("kind", KINDS)
def test_nan_stays_nan_and_counts_nowhere(kind):
    image = np.array([[np.nan, 100.0, np.nan]], np.float32)
    assert linearize(image, kind, KINDS[kind], TABLE) == 0
    assert np.isnan(image).tolist() == [[True, False, True]]
    empty = np.empty((0, 5), np.float32)
    assert linearize(empty, kind, KINDS[kind], TABLE) == 0


def test_splines_start_at_zero():
    u = np.array([[-300.0, -0.5, 0.0, 400.0, 2e3, 5e4]], np.float32)
    nodes, values = NODES[1:], VALUES[1:] + 50
    expected = u - akima(u.astype(float), nodes, values, 0.1)
    linearize(u, "spline", [*nodes, *values])
    np.testing.assert_allclose(u, expected, rtol=2**-24)
    assert u[0, :3].tolist() == [-300.0, -0.5, 0.0]


def test_beyond_the_last_node_the_correction_stays():
    last = np.float32(NODES[-1])
    image = np.array([[last - 1, last, np.nextafter(last, np.inf, dtype=np.float32), 2e5]])
    image = image.astype(np.float32)
    edge = Akima1DInterpolator(NODES, VALUES)(NODES[-1] - 0.1)
    expected = image[0, 3] - edge
    assert linearize(image, "spline", KINDS["spline"]) == 2
    assert image[0, 3] == np.float32(expected)
    # A pixel is counted once, though both splines end below it; and by what the first has left:
    # the second ends at 100,000, where the first subtracts -100 or so.
    pixels = np.array([[2e5, 99_950.0, 99_800.0]], np.float32)
    assert linearize(pixels, "double_spline", KINDS["double_spline"]) == 2


def test_close_nodes_are_found():
    """More than one node in a bin of the search."""
    rng = np.random.default_rng(2)
    nodes = np.append(np.sort(rng.uniform(0, 5, 30)), [3e4, 1e5])
    values = rng.normal(0, 1, 32)
    u = np.concatenate([np.linspace(-1, 6, 3000), nodes]).astype(np.float32)[None]
    expected = u - akima(u.astype(float), nodes, values, 0.1)
    linearize(u, "spline", [*nodes, *values])
    # float64 rounding of the node distances, up to 1e5 * 1e-16 with slopes of 1 adu in 0.005.
    np.testing.assert_allclose(u, expected, rtol=2**-23, atol=1e-6)


def test_two_nodes_are_a_line():
    u = np.array([[500.0]], np.float32)
    linearize(u, "spline", [0, 1000, 0, 10])
    assert u[0, 0] == 495


def test_a_table_is_entered_towards_zero():
    table = np.array([[10.0, 20, 30]])
    image = np.array([[-1.5, -1.0, -0.9, 0.9, 1.0, 2.9, 3.0, np.nan]], np.float32)
    before = image.copy()
    assert linearize(image, "lookup_table", [0, 0], table) == 3
    added = [10, 10, 10, 10, 20, 30, 30, np.nan]
    np.testing.assert_allclose(image[0] - before[0], added, atol=1e-6)
    shifted = np.array([[-2.0, 0.0]], np.float32)
    assert linearize(shifted, "lookup_table", [0, 2], table) == 0
    assert shifted.tolist() == [[8.0, 30.0]]


def test_simulated_nonlinearity_is_undone():
    """Spec 7.3: 1e-4 below the last node; the simulator's own accuracy is better."""
    model = Nonlinearity()
    truth = np.random.default_rng(3).uniform(100, 1e5, (50, 60)).astype(np.float32)
    squared = distort_squared(truth, 5e-7)
    assert np.abs(squared / truth - 1).max() > 0.02
    linearize(squared, "squared", [5e-7])
    # Rounded when distorted and when corrected.
    np.testing.assert_allclose(squared, truth, rtol=2**-23)
    nodes, values = np.array(model.nodes), np.array(model.values)
    bent = distort_spline(truth, nodes, values)
    assert np.abs(bent - truth).max() > 100
    linearize(bent, "spline", [*nodes, *values])
    # The simulator inverts the spline to 1e-3 adu.
    np.testing.assert_allclose(bent, truth, rtol=2**-23, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gain", [1.0, 1.7])
def test_slope_is_the_derivative(kind, gain):
    u = np.linspace(-400, 9e4, 2003)
    step = 0.05
    # Derivatives of splines jump to another parabola at nodes; differences across them are off by
    # half a step times the second derivative, 1e-4 adu per adu squared at most.
    tolerance = 1e-5
    if kind == "lookup_table":
        step, tolerance = 1.0, 1e-6
    rise = plain(u + step, kind, KINDS[kind]) - plain(u - step, kind, KINDS[kind])
    found = linearity_slope(u * gain, kind, KINDS[kind], TABLE, gain)
    compared = np.abs(u + 300) > 2 if kind == "lookup_table" else np.ones(u.shape, bool)
    np.testing.assert_allclose(found[compared], (rise / (2 * step))[compared], atol=tolerance)


def test_slope_without_a_correction():
    slope = linearity_slope([-5.0, 2e5, np.nan], "spline", KINDS["spline"])
    np.testing.assert_array_equal(slope, [1, 1, np.nan])
    slope = linearity_slope([-1e4, 2e6, np.nan], "lookup_table", [1, 300], TABLE)
    np.testing.assert_array_equal(slope, [1, 1, np.nan])
    slope = linearity_slope(np.array([7.0, np.nan]), "none", [])
    np.testing.assert_array_equal(slope, [1, np.nan])
    assert linearity_slope(1e4, "squared", [1e-6]) == pytest.approx(1.02, rel=1e-12)
    assert linearity_slope(5.5, "lookup_table", [0, 0], np.arange(9.0)[None]) == 2


@pytest.mark.parametrize(
    ("kind", "coefficients", "message"),
    [
        ("polynomial", [1e-7, np.nan, np.inf], r"\[1\] = nan, \[2\] = inf"),
        ("spline", [0, 1e4, 0, np.nan], "not finite"),
        ("spline", [0, 1e4, 0], "no nodes and values"),
        ("spline", [0, 0], "ascend"),
        ("spline", [0, 2e4, 1e4, 0, 1, 2], "ascend"),
        ("spline", [-10, 1e4, 0, 1], "ascend"),
        ("double_spline", [2, 2, 0, 1e4, 0, 1], "no nodes and values"),
        ("double_spline", [2.5, 2, 0, 1e4, 0, 1, 0, 1e4, 0, 1], "no nodes and values"),
        ("double_spline", [2, 2, 0, 1e4, 0, 1, 0, 1e4, 0, 1, 7], "no nodes and values"),
        ("double_spline", [2], "no nodes and values"),
        ("lookup_table", [2, 0], "no row 2"),
        ("lookup_table", [0.5, 0], "no row 0.5"),
        ("lookup_table", [1], "row and offset"),
        ("squared", [], "without"),
        ("cubic", [1.0], "unknown"),
    ],
)
def test_bad_coefficients_are_named_and_change_nothing(kind, coefficients, message):
    image = np.ones((2, 2), np.float32)
    with pytest.raises(ValueError, match=message):
        linearize(image, kind, coefficients, TABLE)
    with pytest.raises(ValueError, match=message):
        linearity_slope(image, kind, coefficients, TABLE)
    assert (image == 1).all()


def test_other_bad_input():
    image = np.ones((2, 2), np.float32)
    with pytest.raises(ValueError, match="table"):
        linearize(image, "lookup_table", [0, 0])
    with pytest.raises(ValueError, match="entries"):
        linearize(image, "lookup_table", [0, 0], np.full((1, 3), np.nan))
    for gain in (0.0, np.nan, -1.0):
        with pytest.raises(ValueError, match="gain"):
            linearize(image, "squared", [1e-7], gain=gain)
    for bad in (np.ones((2, 2)), np.ones(4, np.float32)):
        with pytest.raises(ValueError, match="float32"):
            linearize(bad, "none", [])
