"""Bins of an image, surfaces fitted to them, and their way back to pixels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import reference
from numpy.polynomial import chebyshev as numpy_chebyshev
from scipy.interpolate import CubicSpline

from cpflow.kernels.background import BinnedImage, bin_count, bin_edges, bin_statistics
from cpflow.kernels.bin_interpolation import fill_bins, interpolate_bins
from cpflow.kernels.chebyshev import fit_chebyshev, terms
from cpflow.simulate.sky import sky_shape


def binned(values, shape, errors=None):
    values = np.asarray(values, float)
    edges = (bin_edges(n, m) for n, m in zip(shape, values.shape, strict=True))
    errors = np.ones(values.shape) if errors is None else errors
    return BinnedImage(values, errors, np.ones(values.shape, int), *edges)


def test_bin_edges_are_those_of_the_specification():
    for size, bins in ((4072, 127), (4000, 125), (509, 4), (7, 7), (100, 3), (5, 1)):
        edges = bin_edges(size, bins)
        ends = [int(((i + 1) * size + bins // 2) / bins) for i in range(bins)]
        assert edges.tolist() == [0, *ends]
        assert edges[-1] == size
        assert set(np.diff(edges)) <= {size // bins, size // bins + 1}
    # LATISS sky: 127 x 125 bins of 32 pixels; a background of 128 pixels has 32 x 32.
    assert (bin_count(4072, 32, "nearest"), bin_count(4000, 32, "nearest")) == (127, 125)
    assert (bin_count(4072, 128), bin_count(4000, 128)) == (32, 32)
    assert bin_count(10, 128, "nearest") == 1


@pytest.mark.parametrize("statistic", ["MEANCLIP", "MEDIAN"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_statistics_of_each_bin(statistic, dtype):
    rng = np.random.default_rng(1)
    image = rng.normal(100, 5, (61, 83))
    image[rng.random(image.shape) < 0.05] += 300
    image[rng.random(image.shape) < 0.02] = np.nan
    image = image.astype(dtype)
    usable = rng.random(image.shape) < 0.9
    usable[:10, :12] = False
    found = bin_statistics(image, (6, 7), usable, statistic=statistic)
    y, x = bin_edges(61, 6), bin_edges(83, 7)
    for j in range(6):
        for i in range(7):
            place = slice(y[j], y[j + 1]), slice(x[i], x[i + 1])
            values = image[place][usable[place] & np.isfinite(image[place])].astype(float)
            assert found.counts[j, i] == values.size
            if not values.size:
                assert np.isnan(found.values[j, i])
                assert np.isnan(found.errors[j, i])
                continue
            mean, variance, _ = reference.clipped_mean(values[:, None])
            expected, error = mean[0], np.sqrt(variance[0])
            if statistic == "MEDIAN":
                expected, error = np.median(values), error * np.sqrt(np.pi / 2)
            # Sums in another order.
            assert found.values[j, i] == pytest.approx(expected, rel=1e-12)
            assert found.errors[j, i] == pytest.approx(error, rel=1e-10)
    for centres, edges in ((found.y_centres, y), (found.x_centres, x)):
        expected = [np.arange(a, b).mean() for a, b in pairwise(edges)]
        np.testing.assert_allclose(centres, expected)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9])
def test_quartiles_of_few_values_with_ties(n):
    rng = np.random.default_rng(n)
    image = rng.integers(0, 4, (60, n)).astype(np.float32)
    found = bin_statistics(image, (60, 1))
    expected, variance, _ = reference.clipped_mean(image.T)
    np.testing.assert_allclose(found.values[:, 0], expected, rtol=1e-12)
    if n > 1:
        np.testing.assert_allclose(found.errors[:, 0], np.sqrt(variance), rtol=1e-7, atol=1e-7)
    medians = bin_statistics(image, (60, 1), statistic="MEDIAN").values[:, 0]
    np.testing.assert_array_equal(medians, np.median(image, axis=1))
    plain = bin_statistics(image, (60, 1), iterations=0).values[:, 0]
    np.testing.assert_allclose(plain, image.mean(axis=1, dtype=float), rtol=1e-12)


def test_a_polynomial_comes_back_from_its_bins():
    """Exact for a surface within the degree, at every pixel: what a bin says is its centre's."""
    rng = np.random.default_rng(2)
    shape, degree = (150, 230), 6
    coefficients = np.zeros((degree + 1, degree + 1))
    for j, i in terms(degree):
        coefficients[j, i] = rng.normal()
    coefficients[0, 0] = 1000
    assert len(terms(6)) == 28

    def surface(y, x):
        v, u = (2 * y + 1) / shape[0] - 1, (2 * x + 1) / shape[1] - 1
        return numpy_chebyshev.chebgrid2d(v, u, coefficients)

    bins = binned(np.zeros((12, 15)), shape)
    values = surface(bins.y_centres, bins.x_centres)
    errors = rng.uniform(0.1, 3, values.shape)
    values[3, 4] = values[7, 7] = np.nan
    fitted = fit_chebyshev(binned(values, shape, errors))
    expected = surface(np.arange(150.0), np.arange(230.0))
    assert fitted.degree == degree
    # The problem's condition is below 1e3; the result is rounded to float32, 6e-5 of 1000.
    np.testing.assert_allclose(fitted.coefficients, coefficients, atol=1e-9)
    np.testing.assert_allclose(fitted.evaluate(), expected, atol=7e-5)
    for rows in (slice(0, 1), slice(17, 90), slice(149, 150)):
        np.testing.assert_array_equal(fitted.evaluate(rows), fitted.evaluate()[rows])


def test_bins_weigh_by_the_inverse_square_of_their_errors():
    """Against the normal equations; and the errors of the fit are those of the weights."""
    rng = np.random.default_rng(3)
    shape = (90, 80)
    errors = rng.choice([0.5, 5.0], (9, 8))
    values = rng.normal(10, errors)
    fitted = fit_chebyshev(binned(values, shape, errors), degree=2)
    bins = binned(values, shape)
    v, u = (2 * bins.y_centres + 1) / 90 - 1, (2 * bins.x_centres + 1) / 80 - 1
    vv, uu = (a.ravel() for a in np.meshgrid(v, u, indexing="ij"))
    design = np.array([vv**j * uu**i for j in range(3) for i in range(3 - j)])
    weights = 1 / errors.ravel() ** 2
    solution = np.linalg.solve((design * weights) @ design.T, design @ (weights * values.ravel()))
    centre = fitted.evaluate()[44:46, 39:41].mean()
    assert centre == pytest.approx(solution[0], abs=1e-4)
    # A bin without a usable error counts like a typical one; all without: all alike.
    flat = np.where(rng.random((9, 8)) < 0.5, 0.0, np.nan)
    same = fit_chebyshev(binned(values, shape, flat), degree=2)
    ones = fit_chebyshev(binned(values, shape), degree=2)
    np.testing.assert_array_equal(same.coefficients, ones.coefficients)


def test_the_degree_is_lowered_to_what_the_bins_determine():
    shape = (64, 64)
    assert fit_chebyshev(binned(np.full((4, 4), 5.0), shape)).degree == 3
    single = np.full((4, 4), np.nan)
    single[2, 1] = 7.0
    constant = fit_chebyshev(binned(single, shape))
    assert constant.degree == 0
    np.testing.assert_array_equal(constant.evaluate(), 7.0)
    # Four bins on a diagonal determine no plane of degree 3.
    diagonal = np.where(np.eye(4) > 0, 1.0, np.nan)
    np.testing.assert_allclose(fit_chebyshev(binned(diagonal, shape)).evaluate().diagonal(), 1)


def test_a_sky_with_stars_has_its_background():
    """Known truth: a tilted sky with noise, the brightest pixels masked."""
    rng = np.random.default_rng(4)
    shape = (500, 509)
    truth = 800 * sky_shape(shape, (0.05, -0.03))
    noise = 20.0
    image = (truth + rng.normal(0, noise, shape)).astype(np.float32)
    usable = np.ones(shape, bool)
    image[100:140, 200:260] += 5000
    usable[95:145, 195:265] = False
    bins = bin_statistics(image, (16, 16), usable)
    for model in (
        fit_chebyshev(bins).evaluate(),
        interpolate_bins(fill_bins(bins.values), bins.y_centres, bins.x_centres, shape),
    ):
        # 28 parameters from 250000 pixels: rms noise * sqrt(28/250000) = 0.21; a spline through
        # each of 256 bins: noise * sqrt(256/250000) = 0.64 and more where it extrapolates.
        residual = model - truth
        assert abs(residual.mean()) < 5 * noise / np.sqrt(250_000 * 0.98)
        assert residual.std() < 1.5
        # Nowhere worse than the bin that knows least, of which the mask leaves few pixels.
        assert np.abs(residual).max() < 5 * np.nanmax(bins.errors)


def test_bins_are_interpolated_along_y_and_then_along_x():
    rng = np.random.default_rng(5)
    shape = (70, 90)
    bins = binned(rng.normal(50, 10, (7, 9)), shape)
    model = interpolate_bins(bins.values, bins.y_centres, bins.x_centres, shape)
    y, x = np.arange(70.0), np.arange(90.0)
    inner_y = (y >= bins.y_centres[0]) & (y <= bins.y_centres[-1])
    inner_x = (x >= bins.x_centres[0]) & (x <= bins.x_centres[-1])
    along_y = CubicSpline(bins.y_centres, bins.values, bc_type="natural")(y)
    expected = CubicSpline(bins.x_centres, along_y, axis=1, bc_type="natural")(x)
    inside = np.ix_(inner_y, inner_x)
    np.testing.assert_allclose(model[inside], expected[inside], rtol=3e-7)
    # A natural spline has no curvature at its ends: it goes on straight.
    left = model[:, :6].astype(float)
    np.testing.assert_allclose(np.diff(left[:, :5], n=2, axis=1), 0, atol=3e-5)
    for rows in (slice(0, 1), slice(33, 60)):
        part = interpolate_bins(bins.values, bins.y_centres, bins.x_centres, shape, rows=rows)
        np.testing.assert_array_equal(part, model[rows])


def test_a_plane_survives_any_interpolation():
    shape = (64, 80)
    yy, xx = np.indices(shape)
    plane = 3 + 0.5 * yy - 0.25 * xx
    for count in ((8, 8), (3, 4), (2, 2)):
        bins = bin_statistics(plane, count)
        for kind in ("AKIMA", "CUBIC", "LINEAR"):
            model = interpolate_bins(bins.values, bins.y_centres, bins.x_centres, shape, kind=kind)
            np.testing.assert_allclose(model, plane, atol=1e-5)
    one = bin_statistics(plane, (1, 1))
    np.testing.assert_allclose(
        interpolate_bins(one.values, one.y_centres, one.x_centres, shape), plane.mean(), rtol=1e-6
    )


def test_empty_bins_are_filled_along_rows_then_columns():
    yy, xx = np.indices((6, 8))
    plane = 2.0 * yy - 3.0 * xx
    holes = plane.copy()
    holes[1, 3] = holes[2, 7] = holes[2, 0] = np.nan
    holes[4] = np.nan
    np.testing.assert_allclose(fill_bins(holes), plane, atol=1e-12)
    good = np.isfinite(holes)
    np.testing.assert_array_equal(fill_bins(plane, good=good), fill_bins(holes))
    # A row with one bin is constant along the row; then come the columns.
    lonely = np.full((3, 3), np.nan)
    lonely[0, 1], lonely[2, 0], lonely[2, 2] = 4.0, 1.0, 5.0
    filled = fill_bins(lonely)
    np.testing.assert_allclose(filled[0], 4.0)
    np.testing.assert_allclose(filled[2], [1, 3, 5])
    np.testing.assert_allclose(filled[1], [2.5, 3.5, 4.5])


def test_the_latiss_grid_of_the_specification():
    """A 3 x 3 grid with 2 x 2 measured: the other five are linear extrapolations (spec 4.10)."""
    values = np.full((3, 3), np.nan)
    values[:2, :2] = [[10, 12], [11, 15]]
    filled = fill_bins(values)
    np.testing.assert_allclose(filled, [[10, 12, 14], [11, 15, 19], [12, 18, 24]])


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: bin_edges(5, 6),
        lambda: bin_edges(5, 0),
        lambda: bin_count(5, 0),
        lambda: bin_statistics(np.zeros(5), (1, 1)),
        lambda: bin_statistics(np.zeros((5, 5)), (1, 1), np.ones((5, 4), bool)),
        lambda: bin_statistics(np.zeros((5, 5)), (1, 1), statistic="MODE"),
        lambda: bin_statistics(np.zeros((5, 5)), (1, 1), clip=-1.0),
        lambda: fit_chebyshev(binned(np.full((2, 2), np.nan), (8, 8))),
        lambda: fit_chebyshev(binned(np.zeros((2, 2)), (8, 8)), degree=-1),
        lambda: fill_bins(np.full((2, 2), np.nan)),
        lambda: fill_bins(np.zeros(3)),
        lambda: interpolate_bins(np.full((2, 2), np.nan), [0, 1], [0, 1], (2, 2)),
    ],
)
def test_what_makes_no_sense_is_refused(attempt):
    with pytest.raises(ValueError):
        attempt()
