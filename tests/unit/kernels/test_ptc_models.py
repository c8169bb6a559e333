"""Models of the photon transfer curve against golden values, direct sums and differences."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
import scipy.signal

from cpflow.kernels.ptc_long_range import subtract_long_range
from cpflow.kernels.ptc_models import (
    covariance_coefficients,
    exp_approximation,
    exp_approximation_jacobian,
    full_covariance,
    polynomial,
)
from cpflow.kernels.ptc_series import convolution_matrix, growth_series

A = np.array([[-3e-6, 4e-7], [2e-7, 1e-7]])
B = np.array([[-2e-6, 1e-6], [3e-6, -1e-6]])
N = np.array([[49, 1], [0.5, 0]])


def four_quadrants(quadrant):
    right = np.concatenate([quadrant[:0:-1], quadrant])
    return np.concatenate([right[:, :0:-1], right], axis=1)


def random_quadrant(rng, lags, size):
    lag = np.arange(lags)
    return size * rng.normal(size=(lags, lags)) / (1 + lag[:, None] ** 2 + lag**2)


def test_golden_variances():
    # Spec 7.2.
    found = exp_approximation([1000, 20_000, 60_000], -3e-6, 1.5, 49)
    np.testing.assert_allclose(found, [685.453424, 12223.984340, 30929.314639], atol=5e-7)


def test_golden_covariances():
    # Spec 7.2, [x, y] order: a01 is not a10.
    found = full_covariance([20_000, 60_000], 1.5, A, N)
    expected = [
        [[12226.938951, 143.137244], [72.407662, 36.653880]],
        [[30961.752818, 1040.801244], [536.522862, 279.044280]],
    ]
    np.testing.assert_allclose(found, expected, atol=6e-7)
    found = full_covariance([60_000], 1.5, A, N, A * B)
    expected = [[[31832.988818, 1158.305244], [651.542862, 287.090280]]]
    np.testing.assert_allclose(found, expected, atol=6e-7)


def test_exponential_without_and_with_tiny_exponents():
    mean = np.array([0.0, 1.0, 1e4, 1e5])
    np.testing.assert_array_equal(exp_approximation(mean, 0.0, 2.0, 25.0), mean / 2 + 25 / 4)
    # On both sides of where the series takes over, against extended precision.
    for a00 in (-1e-15, 1e-12, -4.9e-9, -5.1e-9, 6e-9, -3e-6):
        z = 2 * np.longdouble(a00) * 1.5 * 1e5
        exact = 1e5 / 1.5 * np.expm1(z) / z + 4
        found = exp_approximation(1e5, a00, 1.5, 9.0)
        # expm1 is good to a few units in the last place, longdouble no worse than double.
        assert float(found) == pytest.approx(float(exact), rel=2e-15)


@pytest.mark.parametrize("a00", [0.0, -1e-9, -3e-6, 1e-6])
def test_derivatives_of_the_exponential(a00):
    mean = np.array([10.0, 3e3, 2e4, 7e4])
    p = np.array([a00, 1.3, 40.0])
    found = exp_approximation_jacobian(mean, *p)
    for i, step in enumerate((1e-9, 1e-5, 1e-2)):
        up, down = p.copy(), p.copy()
        up[i] += step
        down[i] -= step
        slope = (exp_approximation(mean, *up) - exp_approximation(mean, *down)) / (2 * step)
        # Central differences of a function of 1e5 in 1e-9: rounding 1e-11/1e-9 of 1e9 and less.
        np.testing.assert_allclose(found[:, i], slope, rtol=1e-6, atol=1e-6 * np.abs(slope).max())


def test_polynomial_is_horner():
    np.testing.assert_allclose(
        polynomial([0, 2, 10], [1, 2, 3]), [1, 1 + 4 + 12, 1 + 20 + 300], rtol=1e-15
    )


@pytest.mark.parametrize("lags", [1, 2, 5])
def test_convolution_operator_is_a_convolution(lags):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2 * lags - 1, 2 * lags - 1)), rng.normal(size=(lags, lags))
    whole = scipy.signal.convolve2d(four_quadrants(x), four_quadrants(y))
    centre = len(whole) // 2
    expected = whole[centre : centre + lags, centre : centre + lags]
    found = (convolution_matrix(x, lags) @ y.reshape(-1)).reshape(lags, lags)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("lags", [1, 3, 6])
def test_coefficients_are_equation_20_and_its_next_term(lags):
    rng = np.random.default_rng(2)
    a, c = random_quadrant(rng, lags, 3e-6), random_quadrant(rng, lags, 6e-12)
    noise, g = random_quadrant(rng, lags, 50.0), 1.4
    size = 8 * lags

    def conv(*terms):
        whole = four_quadrants(terms[0])
        for term in terms[1:]:
            whole = scipy.signal.convolve2d(whole, four_quadrants(term))
        half = len(whole) // 2
        padded = np.pad(whole, size)[half + size :, half + size :]
        return padded[:lags, :lags]

    delta = np.zeros((lags, lags))
    delta[0, 0] = 1
    expected = [
        noise / g**2,
        delta / g,
        a,
        g * 2 / 3 * (conv(a, a) + c),
        g**2 * (conv(a, a, a) / 3 + 5 / 6 * conv(a, c)),
        g**3 * (2 / 15 * conv(a, a, a, a) + 3 / 5 * conv(a, a, c) + 4 / 15 * conv(c, c)),
    ]
    found = covariance_coefficients(g, a, noise, c, 5)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13 * np.abs(other).max())
    published, without_b = (covariance_coefficients(g, a, noise, x) for x in (c, 0 * c))
    for n, size in enumerate(np.abs(found[:5]).max(axis=(1, 2))):
        # The grids of the Fourier transforms differ with the degree.
        np.testing.assert_allclose(published[n], found[n], rtol=0, atol=1e-13 * size)
    np.testing.assert_array_equal(covariance_coefficients(g, a, noise), without_b)


def test_the_series_solves_its_differential_equation():
    # One lag: dC/dF = 1 + 2 (a + c F) C, by quadrature.
    a, c, top = -3e-6, 3e-12, 1.1e5

    def integrand(s):
        return np.exp(2 * a * (top - s) + c * (top**2 - s**2))

    exact, _ = scipy.integrate.quad(integrand, 0, top, epsrel=1e-12)
    one = np.ones((1, 1))
    errors = [
        abs(full_covariance([top], 1.0, a * one, 0 * one, c * one, n)[0, 0, 0] / exact - 1)
        for n in (4, 5, 8, 16)
    ]
    # What equation 20 as published leaves out is mostly the next term, 0.6 %; the one after that
    # has the other sign and a size of 2*0.33/6 of it, and b makes that up to twice as much.
    x, y = a * top, c * top**2
    following = (2 / 15 * x**4 + 3 / 5 * x**2 * y + 4 / 15 * y**2) * top / exact
    assert errors[0] == pytest.approx(following, rel=0.25)
    assert errors[0] > 4 * errors[1] > 16 * errors[2]
    assert errors[2] < 1e-5
    assert errors[3] < 1e-12


def test_the_exponential_is_the_series_without_neighbours():
    one = np.ones((1, 1))
    mean = np.linspace(0, 5e4, 7)
    found = full_covariance(mean, 1.5, -3e-6 * one, 49 * one, None, 20)[:, 0, 0]
    np.testing.assert_allclose(found, exp_approximation(mean, -3e-6, 1.5, 49), rtol=1e-13)


def test_derivatives_of_the_series():
    rng = np.random.default_rng(3)
    lags, degree = 4, 6
    a, c = random_quadrant(rng, lags, 1.0), random_quadrant(rng, lags, 1.0)
    series = growth_series(a, c, degree)
    for which, operators in (("a", series.by_a), ("c", series.by_c)):
        step = 1e-5 * random_quadrant(rng, lags, 1.0)
        up = growth_series(a + step, c, degree) if which == "a" else growth_series(a, c + step, 6)
        down = growth_series(a - step, c, degree) if which == "a" else growth_series(a, c - step, 6)
        change = 0.5 * (up.values - down.values)[:, :lags, :lags]
        for n in range(degree + 1):
            found = convolution_matrix(operators[n], lags) @ step.reshape(-1)
            # Third derivatives times the step squared, 1e-10, and rounding 1e-16/1e-5.
            scale = max(np.abs(change[n]).max(), 1e-5)
            np.testing.assert_allclose(found, change[n].reshape(-1), atol=1e-7 * scale)


def test_models_check_their_input():
    with pytest.raises(ValueError, match="linearly"):
        growth_series(A, None, 0)
    with pytest.raises(ValueError, match="same lags"):
        covariance_coefficients(1.0, A, N[:1])
    with pytest.raises(ValueError, match="same lags"):
        covariance_coefficients(1.0, A, N, np.ones((3, 3)))


def test_long_range_surface_is_subtracted_at_all_lags():
    rng = np.random.default_rng(4)
    i, j = np.mgrid[:8, :8]
    surface = 3.0 + 0.2 * i - 0.5 * j + 0.03 * i * j
    near = np.where((i < 4) & (j < 4), rng.normal(0, 100, (8, 8)), 0.0)
    weights = rng.uniform(0.5, 2, (3, 8, 8))
    table = np.stack([surface + near, 2 * surface + near, np.full((8, 8), np.nan)])
    table[1, 6, 6], table[0, 7, 0], weights[0, 7, 0] = np.nan, 1e6, 0.0
    found = subtract_long_range(table, weights, start=4, degree=1)
    expected = np.stack([near, near, table[2]])
    expected[1, 6, 6], expected[0, 7, 0] = np.nan, 1e6 - surface[7, 0]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    with pytest.raises(ValueError, match="degree"):
        subtract_long_range(table, weights, degree=-1)
    with pytest.raises(ValueError, match="weights of"):
        subtract_long_range(table, weights[:1])
