"""Interpolation along an axis against scipy, at its ends, and with few nodes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import Akima1DInterpolator, CubicSpline

from cpflow.kernels.splines import best_interpolation, interpolate_nodes


@pytest.mark.parametrize("n", [5, 6, 20])
@pytest.mark.parametrize("kind", ["AKIMA", "CUBIC"])
def test_inside_the_nodes_as_scipy(kind, n):
    rng = np.random.default_rng(n)
    x = np.cumsum(rng.uniform(0.5, 2, n))
    y = rng.normal(size=(n, 3, 2))
    positions = np.linspace(x[0], x[-1], 101)
    curve = interpolate_nodes(x, y, kind)
    if kind == "AKIMA":
        expected = Akima1DInterpolator(x, y)(positions)
    else:
        expected = CubicSpline(x, y, bc_type="natural")(positions)
    np.testing.assert_allclose(curve.evaluate(positions), expected, atol=1e-12)
    np.testing.assert_allclose(curve.evaluate(x), y, atol=1e-13)


@pytest.mark.parametrize("kind", ["AKIMA", "CUBIC", "LINEAR"])
def test_outside_the_nodes_a_parabola_touches_the_end(kind):
    rng = np.random.default_rng(1)
    x, y = np.arange(7.0), rng.normal(size=7)
    curve = interpolate_nodes(x, y, kind)
    h = 1e-4
    for end, side in ((0.0, 1), (6.0, -1)):
        inside = curve.evaluate(end + side * h * np.arange(3))
        # Differences of a cubic: their errors are of the order of h times its third derivative.
        slope = (-1.5 * inside[0] + 2 * inside[1] - 0.5 * inside[2]) / (side * h)
        curvature = (inside[0] - 2 * inside[1] + inside[2]) / h**2
        d = np.array([0.5, 1.0, 3.0])
        expected = inside[0] - side * d * slope + d**2 * curvature / 2
        np.testing.assert_allclose(curve.evaluate(end - side * d), expected, atol=2e-2)


def test_collinear_nodes_give_a_line_with_akima():
    x = np.array([0.0, 1, 3, 4, 7, 8])
    curve = interpolate_nodes(x, 2 * x - 1)
    positions = np.linspace(-3, 12, 40)
    np.testing.assert_allclose(curve.evaluate(positions), 2 * positions - 1, atol=1e-12)
    # A corner between two lines stays a corner: GSL's rule.
    corner = interpolate_nodes(np.arange(7.0), np.abs(np.arange(7.0) - 3))
    np.testing.assert_allclose(
        corner.evaluate(positions[8:24]), np.abs(positions[8:24] - 3), atol=1e-12
    )


def test_few_nodes_take_the_next_kind():
    kinds = [best_interpolation(n, "AKIMA") for n in (1, 2, 3, 4, 5, 50)]
    assert kinds == ["CONSTANT", "LINEAR", "CUBIC", "CUBIC", "AKIMA", "AKIMA"]
    assert best_interpolation(2, "CUBIC") == "LINEAR"
    assert interpolate_nodes([4.0], [2.5]).evaluate([-1, 4, 9]).tolist() == [2.5] * 3
    assert interpolate_nodes([0, 2], [1, 5], "AKIMA").evaluate([-1, 1, 3]).tolist() == [-1, 3, 7]
    mean = interpolate_nodes([0, 1, 2], [1, 2, 6], "CONSTANT").evaluate([0.0, 2.0])
    assert mean.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("nodes", "values", "kind"),
    [
        ([0, 1], [1, 2, 3], "LINEAR"),
        ([1, 0], [1, 2], "LINEAR"),
        ([], [], "LINEAR"),
        ([0, 1], [1, 2], "SPLINE"),
    ],
)
def test_what_makes_no_sense_is_refused(nodes, values, kind):
    with pytest.raises(ValueError):
        interpolate_nodes(nodes, values, kind)
