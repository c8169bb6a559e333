"""Robust linear fits against scipy's and against known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from cpflow.kernels.robust_fit import robust_fit, robust_polynomial
from cpflow.kernels.robust_weights import TUNING, robust_scale, robust_weights

ROBUST = [name for name in TUNING if name != "none"]


def line(rng, points=400):
    x = rng.uniform(0, 10, points)
    return x, np.stack([np.ones(points), x], axis=1)


def test_weights_have_their_published_form():
    r = np.array([0.0, 1.0, -1.0, 2.0, 5.0])

    def expected(function):
        z = np.abs(r / TUNING[function])
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "cauchy": 1 / (1 + z * z),
                "anderson": np.where(r == 0, 1, np.sin(r / 1.339) / (r / 1.339)) * (z < 1),
                "bisquare": (1 - z * z) ** 2 * (z < 1),
                "box": (np.abs(r) < 2.795) * 1.0,
                "welsch": np.exp(-z * z),
                "huber": np.where(z < 1, 1, 1 / z),
                "logistic": np.where(r == 0, 1, np.tanh(z) / z),
                "fair": 1 / (1 + z),
                "none": np.ones(5),
            }[function]

    for function in TUNING:
        np.testing.assert_allclose(robust_weights(r, function), expected(function), rtol=1e-14)


@pytest.mark.parametrize("function", ["huber", "cauchy"])
def test_it_minimises_what_scipy_minimises(function):
    """For these two functions scipy has the loss whose derivative the weights are."""
    rng = np.random.default_rng(1)
    x, design = line(rng)
    y = 3 + 2 * x + rng.standard_t(2, len(x))
    found = robust_fit(design, y, function=function, scale=1.0)
    wanted = least_squares(
        lambda p: y - design @ p, [0.0, 0.0], loss=function, f_scale=TUNING[function],
        xtol=1e-14, ftol=1e-14, gtol=1e-14,
    )  # fmt: skip
    np.testing.assert_allclose(found.parameters, wanted.x, rtol=1e-6)


@pytest.mark.parametrize("function", TUNING)
def test_errors_are_right_and_efficiency_is_as_tuned(function):
    rng = np.random.default_rng(2)
    x, design = line(rng, 200)
    sigma = rng.uniform(0.5, 2, len(x))
    fits = [
        robust_fit(design, 1 + x + sigma * rng.normal(size=len(x)), sigma, function=function)
        for _ in range(300)
    ]
    slopes = np.array([fit.parameters[1] for fit in fits])
    errors = np.array([fit.errors[1] for fit in fits])
    # A standard deviation from 300 draws is known to 1/sqrt(600) = 4.1 %: five times that. The
    # derivative of the box is not seen by the error formula, hence not its loss of 5 %.
    assert errors.mean() / slopes.std() == pytest.approx(1, abs=0.21)
    assert abs(slopes.mean() - 1) < 5 * slopes.std() / np.sqrt(300)
    a = design / sigma[:, None]
    best = np.sqrt(np.linalg.inv(a.T @ a)[1, 1])
    assert slopes.std() / best < 1.03 * 1.21
    # Scale 1; from the median it has an efficiency of 37 %: sqrt(1/(2*200*0.37)/300) = 0.5 %, and
    # a bias of the order 1/points.
    assert np.mean([fit.scale for fit in fits]) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("function", ROBUST)
def test_outliers_hardly_matter(function):
    rng = np.random.default_rng(3)
    x, design = line(rng)
    y = 3 + 2 * x + rng.normal(0, 0.01, len(x))
    bad = rng.choice(len(x), 20, replace=False)
    y[bad] += 5
    fit = robust_fit(design, y, np.full(len(x), 0.02), function=function)
    # Functions that never give a point up let a share of 1/19 of points pull by up to their
    # tuning constant or less of a standard deviation: 0.053 * 2.4 * 0.01 = 1.3e-3 in the mean.
    assert abs(np.median(design @ fit.parameters - 3 - 2 * x)) < 1.3e-3 + 5 * 0.01 / np.sqrt(380)
    assert fit.weights[bad].max() < 0.05
    # Half of the given errors, by robust scatter; 5 % outliers raise it by about 7 %.
    assert fit.scale == pytest.approx(0.5, rel=0.2)


def test_plain_least_squares_is_polyfit():
    rng = np.random.default_rng(4)
    x = rng.uniform(1e5, 1.1e5, 50)
    sigma = rng.uniform(1, 3, 50)
    y = 1e-3 * (x - 1.05e5) ** 2 + sigma * rng.normal(size=50)
    fit = robust_polynomial(x, y, 2, sigma, function="none")
    t = (x - 1.05e5) / 5e3
    wanted, covariance = np.polyfit(t, y, 2, w=1 / sigma, cov=True)
    at = np.polynomial.polynomial.polyval(x, fit.parameters)
    # Powers of 1e5 lose six digits of their sum.
    np.testing.assert_allclose(at, np.polyval(wanted, t), atol=1e-4)
    assert fit.errors[2] == pytest.approx(np.sqrt(covariance[0, 0]) / 5e3**2, rel=1e-6)
    r = (y - np.polyval(wanted, t)) / sigma
    assert fit.reduced_chi2 == pytest.approx(r @ r / 47, rel=1e-6)


@pytest.mark.parametrize("function", TUNING)
def test_an_exact_model_is_found_exactly(function):
    x, design = line(np.random.default_rng(5), 30)
    y = 3 + 2 * x
    if function != "none":
        y[[3, 7]] += 100
    fit = robust_fit(design, y, function=function)
    tolerance = 1e-9 if function in ("none", "box", "bisquare", "anderson", "welsch") else 1e-6
    np.testing.assert_allclose(fit.parameters, [3, 2], rtol=tolerance)


def test_points_that_are_not_finite_have_no_weight():
    x, design = line(np.random.default_rng(6), 30)
    y, sigma = 1 + x + np.sin(7 * x), np.ones(30)
    part = robust_fit(design[4:], y[4:], sigma[4:])
    y[0], design[1, 1], sigma[2], sigma[3] = np.nan, np.inf, 0.0, np.nan
    whole = robust_fit(design, y, sigma)
    np.testing.assert_array_equal(whole.parameters, part.parameters)
    assert not whole.weights[:4].any()


def test_what_is_not_determined_is_nan():
    for design, y in (
        (np.ones((5, 2)), np.arange(5.0)),
        (np.ones((1, 2)), np.ones(1)),
        (np.ones((0, 2)), np.ones(0)),
        (np.ones((3, 1)), np.full(3, np.nan)),
        (np.zeros((3, 1)), np.ones(3)),
    ):
        fit = robust_fit(design, y)
        assert np.isnan(fit.parameters).all()
        assert np.isnan(fit.errors).all()
        assert not fit.weights.any()
    fit = robust_polynomial([5.0, 5.0], [1.0, 3.0], 0)
    assert fit.parameters[0] == pytest.approx(2)
    assert np.isnan(robust_scale(np.ones(2), 2))


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: robust_fit(np.ones(3), np.ones(3)),
        lambda: robust_fit(np.ones((3, 1)), np.ones(4)),
        lambda: robust_fit(np.ones((3, 1)), np.ones(3), np.ones(2)),
        lambda: robust_fit(np.ones((3, 1)), np.ones(3), function="tukey"),
        lambda: robust_polynomial(np.ones(3), np.ones(3), -1),
    ],
)
def test_what_makes_no_sense_is_refused(attempt):
    with pytest.raises(ValueError):
        attempt()
