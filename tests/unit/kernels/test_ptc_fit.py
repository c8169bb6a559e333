"""Photon transfer curves of known gain, noise and brighter-fatter coefficients."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.fft
import scipy.optimize

from cpflow.kernels.ptc_covariance_fit import fit_covariances
from cpflow.kernels.ptc_fit import FitOptions, fit_ptc
from cpflow.kernels.ptc_models import exp_approximation, full_covariance
from cpflow.kernels.ptc_pair import PairOptions, measure_pair
from cpflow.kernels.ptc_result import noise_from_square
from cpflow.kernels.ptc_selection import SelectionOptions, select_pairs

FITS = ("EXPAPPROXIMATION", "POLYNOMIAL", "FULLCOVARIANCE", "FULLCOVARIANCE_NO_B")


def coefficients(lags):
    """Return a[x, y] of the sizes of spec 7.2, with a01 > a10."""
    i, j = np.mgrid[:lags, :lags]
    a = 3e-7 / (0.7 + i**2 + 0.7 * j**2) ** 1.5
    a[0, 0] = -3.29e-6
    a[:2, :2].flat[1:] = np.array([4.16e-7, 1.75e-7, 1.2e-7])[: a[:2, :2].size - 1]
    return a


def table(rng, lags=4, pairs=40, pixels=500_000, gain=1.5, noise=7.0, b=-1e-6, degree=12, top=1e5):
    """Draw a table of pairs: true covariances, and errors as those of so many pixels."""
    a, n = coefficients(lags), np.zeros((lags, lags))
    n[0, 0] = noise**2
    means = np.geomspace(500, top, pairs) / gain
    truth = full_covariance(means, gain, a, n, b * a, degree)
    counts = np.full((lags, lags), pixels)
    counts[1:, 1:] *= 2
    errors = truth[:, :1, :1] / np.sqrt(counts)
    errors[:, 0, 0] *= math.sqrt(2)
    measured = truth + rng.normal(size=truth.shape) * errors
    # As in a measurement, the weights come from the measured variance.
    weights = truth[:, :1, :1] / errors / measured[:, :1, :1]
    return means, measured, weights, a


def fit(means, covariances, weights, **options):
    selection = {k: options.pop(k) for k in ("iterations", "model_tolerance") if k in options}
    chosen = FitOptions(selection=SelectionOptions(**selection), **options)
    return fit_ptc(means, covariances[:, 0, 0].copy(), covariances, weights, options=chosen)


@pytest.mark.parametrize("b", [0.0, -1e-6])
def test_pulls_of_the_full_fit_have_unit_width(b):
    rng = np.random.default_rng(1)
    kind = "FULLCOVARIANCE" if b else "FULLCOVARIANCE_NO_B"
    pulls_a, pulls, chi2 = [], [], []
    for _ in range(60):
        means, measured, weights, a = table(rng, b=b)
        found = fit(means, measured, weights, fit_type=kind, lags=4)
        assert found.reason == ""
        assert found.used.all()
        pulls_a.append((found.a - a) / found.a_error)
        pulls.append(((found.gain - 1.5) / found.gain_error, (found.noise - 7) / found.noise_error))
        if b:
            pulls[-1] += (((found.b - b) / found.b_error)[0, 0],)
        chi2.append((found.chi2 - found.dof) / math.sqrt(2 * found.dof))
    pulls_a, pulls = np.array(pulls_a), np.array(pulls)
    # 960 pulls of a, 60 of gain, noise and b00, five errors of mean and width. Errors are enlarged
    # where chi2 is above dof, on average by 1 %: half of 0.4 of sqrt(2/600).
    assert np.abs(pulls_a.mean(axis=0)).max() < 5 / math.sqrt(60)
    assert pulls_a.std() == pytest.approx(0.99, abs=5 / math.sqrt(2 * pulls_a.size))
    assert np.abs(pulls.mean(axis=0)).max() < 5 / math.sqrt(60)
    np.testing.assert_allclose(pulls.std(axis=0), 1, atol=5 / math.sqrt(2 * 60))
    assert abs(np.mean(chi2)) < 5 / math.sqrt(60)


def test_equation_20_as_published_is_biased_beyond_its_range():
    # Without any noise: what is left is the fault of the model, not of the fit.
    rng = np.random.default_rng(2)
    means, _, weights, a = table(rng)
    truth = full_covariance(means, 1.5, a, np.diag([49.0, 0, 0, 0]), -1e-6 * a, 12)
    weights = weights * (table(rng)[1] / truth)[:, :1, :1]
    published = fit(means, truth, weights, fit_type="FULLCOVARIANCE", lags=4, degree=4)
    longer = fit(means, truth, weights, fit_type="FULLCOVARIANCE", lags=4)
    assert 0.005 < published.a[0, 0] / a[0, 0] - 1 < 0.05
    assert -2e-6 < published.b[0, 0] < -1.2e-6
    assert longer.a[0, 0] == pytest.approx(a[0, 0], rel=1e-3)
    assert longer.b[0, 0] == pytest.approx(-1e-6, rel=1e-2)
    assert published.gain == pytest.approx(1.5, rel=5e-4)
    assert longer.gain == pytest.approx(1.5, rel=1e-5)


def test_exact_parameters_come_back_from_exact_data():
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 5, (3, 3))
    noise[0, 0] = 50
    a, b = coefficients(3), rng.normal(0, 1e-6, (3, 3))
    means = np.geomspace(300, 70_000, 12)
    truth = full_covariance(means, 1.2, a, noise, a * b)
    weights = np.repeat((1e-3 * truth[:, :1, :1]) ** -1, 9).reshape(12, 3, 3)
    order = rng.permutation(12)
    found = fit(
        means[order], truth[order], weights, fit_type="FULLCOVARIANCE", lags=3, degree=4,
        iterations=0,
    )  # fmt: skip
    assert found.gain == pytest.approx(1.2, rel=1e-7)
    np.testing.assert_allclose(found.a, a, rtol=1e-5)
    np.testing.assert_allclose(found.b, b, atol=1e-10)
    np.testing.assert_allclose(found.noise_matrix, noise, atol=1e-4)
    np.testing.assert_allclose(found.model_covariances, truth[order], rtol=1e-6, atol=1e-3)


def test_full_fit_is_the_plain_least_squares():
    rng = np.random.default_rng(4)
    means, measured, weights, a = table(rng, lags=2, pairs=15)
    measured[3, 1, 0], weights[5, 0, 1] = np.nan, 0.0
    found = fit_covariances(means, measured, weights, (-3e-6, 1.5, 49.0), True, 4)
    known = np.isfinite(measured) & (weights > 0)
    unit = np.repeat([1e-6, 1e-12, 10.0], 4)

    def residuals(p):
        x, c, n = (p[:12] * unit).reshape(3, 2, 2)
        model = full_covariance(means, p[12], x, n, c)
        return ((measured - model) * weights)[known]

    start = np.concatenate([a.reshape(-1), np.zeros(4), [49.0, 0, 0, 0]]) / unit
    plain = scipy.optimize.least_squares(residuals, [*start, 1.4], x_scale="jac", method="lm")
    assert found.chi2 == pytest.approx(2 * plain.cost, rel=1e-7)
    assert found.dof == known.sum() - 13
    values = np.concatenate([(x.reshape(-1)) for x in (found.a, found.c, found.noise)]) / unit
    errors = np.sqrt(np.diag(np.linalg.inv(plain.jac.T @ plain.jac)))
    # Both stop at about 1e-4 of an error from the minimum; numerical derivatives are good to 1e-5.
    np.testing.assert_array_less(np.abs(values - plain.x[:12]) / errors[:12], 1e-2)
    np.testing.assert_allclose(
        np.sqrt(np.diag(found.covariance)) / np.append(unit, 1), errors, rtol=1e-3
    )


@pytest.mark.parametrize("kind", ["EXPAPPROXIMATION", "POLYNOMIAL"])
def test_pulls_of_the_variance_fits(kind):
    rng = np.random.default_rng(5)
    pulls = []
    for _ in range(200):
        mean = np.geomspace(300, 30_000, 30)
        truth = exp_approximation(mean, -1e-6, 1.1, 64.0)
        error = np.full(30, math.sqrt(2 / 200_000))
        variance = truth * (1 + rng.normal(size=30) * error)
        covariances = variance[:, None, None]
        found = fit(mean, covariances, 1 / (covariances * error[:, None, None]), fit_type=kind)
        assert found.used.all()
        pulls.append(
            (
                (found.a[0, 0] + 1e-6) / found.a_error[0, 0],
                (found.gain - 1.1) / found.gain_error,
                (found.noise - 8) / found.noise_error,
            )
        )
    pulls = np.array(pulls)
    # A polynomial of degree 3 leaves out 1/3 (a F)**3: 1e-5 of the variance at the end.
    assert np.abs(pulls.mean(axis=0)).max() < 5 / math.sqrt(200)
    # Errors are enlarged where chi2 is above dof: by 0.2 * sqrt(2/27) = 5 % on average.
    np.testing.assert_allclose(pulls.std(axis=0), 0.95, atol=5 / math.sqrt(2 * 200))


def test_reference_equation_16_without_noise():
    # Spec 7.1: gain, a00 and noise to 7 decimals.
    mean = np.arange(1, 97, 5) * 1000 / 0.75
    variance = exp_approximation(mean, -1.2e-6, 0.75, 1.5)[:, None, None]
    found = fit(mean, variance, 1 / (1e-3 * variance), fit_type="EXPAPPROXIMATION")
    assert found.gain == pytest.approx(0.75, abs=1e-7)
    assert found.a[0, 0] == pytest.approx(-1.2e-6, abs=1e-13)
    assert found.noise == pytest.approx(math.sqrt(1.5), abs=1e-7)
    np.testing.assert_allclose(found.parameters, [-1.2e-6, 0.75, 1.5], rtol=1e-6)
    np.testing.assert_allclose(found.model_variances, variance[:, 0, 0], rtol=1e-9)
    assert found.turnoff == mean[-1]
    assert found.turnoff_error == pytest.approx(5000 / 0.75)


def test_reference_ramp_without_brighter_fatter():
    # Spec 7.1: 20 pairs, 1000 e/s, gain 0.75, noise 3 e, above 2000 adu, 3 lags; in images.
    rng = np.random.default_rng(6)
    rows = []
    options = PairOptions(max_lag=3)
    for t in range(1, 97, 5):
        flux = 1000 * t
        images = (
            (rng.normal(flux, math.sqrt(flux + 9), (150, 200)) / 0.75).astype(np.float32)
            for _ in range(2)
        )
        rows.append(measure_pair(*images, None, (4.0, 4.0), options))
    means, variances = (np.array([getattr(r, k) for r in rows]) for k in ("mean", "variance"))
    covariances = np.array([r.covariances for r in rows])
    weights = np.array([r.sqrt_weights for r in rows])
    means[4], variances[9] = np.nan, 0.9 * variances[9]
    covariances[9, 0, 0] *= 0.9
    good = np.array([r.good for r in rows])
    for kind in FITS:
        settings = FitOptions(kind, lags=3, min_mean=2000.0)
        found = fit_ptc(means, variances, covariances, weights, good, None, settings)
        assert found.reason == ""
        # The faintest pair has 1333 adu; NaN and 0.9 times the variance are found.
        assert np.flatnonzero(~found.used).tolist() == [0, 4, 9]
        # Five errors; with a free a00, b00 and noise 30,000 pixels give the gain to 0.5 % or so.
        assert abs(found.gain - 0.75) < 5 * found.gain_error < 0.08
        assert found.turnoff == means[-1]
        if "FULL" in kind:
            # No brighter-fatter effect, no covariances.
            assert (np.abs(found.a) / found.a_error).max() < 4.5
            assert np.abs(found.model_variances[5:] / variances[5:] - 1)[[0, 1, 2, 3]].max() < 0.05


def test_images_with_a_prescribed_spectrum():
    # Spec 7.2 at a quarter of its pixels: Gaussian fields whose covariances are those that the
    # differential equation gives, mode by mode, by quadrature.
    rng = np.random.default_rng(7)
    shape, gain, noise, b, lags = (256, 512), 1.5, 7.0, -1e-6, 4
    a = np.zeros((lags, lags))
    a[:2, :2] = [[-3.29e-6, 4.16e-7], [1.75e-7, 1.2e-7]]
    whole = np.zeros(shape)
    for i in range(lags):
        for j in range(lags):
            for x in {i, -i}:
                for y in {j, -j}:
                    whole[y, x] = a[i, j]
    modes = scipy.fft.rfft2(whole).real
    nodes, shares = np.polynomial.legendre.leggauss(12)
    rows = []
    for flux in np.geomspace(500, 110_000, 40):
        s = flux * (nodes + 1) / 2
        growth = 2 * modes[..., None] * (flux - s) + b * modes[..., None] * (flux**2 - s**2)
        root = np.sqrt(flux / 2 * (np.exp(growth) @ shares)).astype(np.float32)

        def frame(flux=flux, root=root):
            white = scipy.fft.rfft2(rng.standard_normal(shape, np.float32))
            light = scipy.fft.irfft2(white * root, shape) + flux
            return ((light + rng.normal(0, noise, shape)) / gain).astype(np.float32)

        rows.append(measure_pair(frame(), frame(), None, options=PairOptions(max_lag=lags)))
    columns = [
        np.array([getattr(r, k) for r in rows])
        for k in ("mean", "variance", "covariances", "sqrt_weights")
    ]
    found = fit_ptc(*columns, options=FitOptions("FULLCOVARIANCE", lags=lags))
    assert found.used.all()
    # Expected for 131,000 pixels: gain 0.16 %, noise 1.6 %, a00 3.5 %, and a01, a10 to 4e-8.
    assert found.gain_error / gain < 0.002
    assert found.noise_error / noise < 0.02
    assert found.a_error[0, 0] < 0.04 * 3.29e-6
    assert abs(found.gain - gain) < 4 * found.gain_error
    assert abs(found.noise - noise) < 4 * found.noise_error
    pulls = (found.a - a) / found.a_error
    assert np.abs(pulls).max() < 4.5
    # Not a transposition: a01 - a10 is 2.4e-7.
    assert found.a[0, 1] - found.a[1, 0] > 1e-7
    # Bartlett: correlations of 5 % make chi2 larger by twice the sum of their squares, 1 %.
    assert found.chi2 / found.dof == pytest.approx(1.005, abs=5 * math.sqrt(2 / found.dof))
    # Equation 16 has neither neighbours nor b: this is its known bias.
    simple = fit_ptc(*columns, options=FitOptions("EXPAPPROXIMATION"))
    assert simple.gain == pytest.approx(gain * 1.003, rel=0.005)


@pytest.mark.parametrize("kind", FITS)
def test_outliers_and_turnoff(kind):
    rng = np.random.default_rng(8)
    means, measured, weights, _ = table(rng, lags=3, pixels=1_000_000)
    shuffled = rng.permutation(40)
    measured[12] *= 0.9
    measured[20] *= 1.3
    # The last four pairs are on the way down: saturation makes pixels equal.
    measured[36:] *= np.array([0.93, 0.7, 0.3, 0.01])[:, None, None]
    weights[36:] /= np.array([0.93, 0.7, 0.3, 0.01])[:, None, None]
    found = fit(means[shuffled], measured[shuffled], weights[shuffled], fit_type=kind, lags=3)
    assert found.reason == ""
    assert sorted(np.flatnonzero(~found.used)) == sorted(
        np.flatnonzero(np.isin(shuffled, [12, 20, 36, 37, 38, 39]))
    )
    assert found.turnoff == means[35]
    assert found.turnoff_error == 0.5 * (means[36] - means[34])
    assert found.gain == pytest.approx(1.5, rel=0.006)


def test_a_variance_that_is_too_low_is_not_trusted_more():
    # A point with a hundredth of its variance has a hundred times the weight of the others.
    rng = np.random.default_rng(9)
    means, measured, weights, _ = table(rng, lags=1)
    measured[5] *= 0.01
    weights[5] *= 100
    found = fit(means, measured, weights)
    assert np.flatnonzero(~found.used).tolist() == [5]


def test_pairs_above_a_gap_are_left_out():
    mean = np.append(np.linspace(1000, 40_000, 30), [52_000, 53_000, 70_000])
    variance = exp_approximation(mean, -2e-6, 1.0, 50.0)
    variance[30:32] *= 1.2
    error = np.full(33, 1e-3)
    good = np.ones(33, bool)
    # The last pair is on the curve, but 30,000 above the next one below that is. Gaps are in
    # electrons over the median of mean/variance, 1.04.
    chosen = select_pairs(mean, variance, error, good)
    assert np.flatnonzero(~chosen.used).tolist() == [30, 31, 32]
    assert chosen.turnoff == 40_000
    near = select_pairs(mean, variance, error, good, SelectionOptions(largest_gap=34_000))
    assert np.flatnonzero(~near.used).tolist() == [30, 31]
    # A pair that nobody wanted makes no gap.
    good[30:32] = False
    unwanted = select_pairs(mean, variance, error, good)
    assert unwanted.used.tolist() == good.tolist()


def test_no_iterations_leave_nothing_out():
    rng = np.random.default_rng(10)
    means, measured, weights, _ = table(rng, lags=1)
    measured[7] *= 0.5
    assert fit(means, measured, weights, iterations=0).used.all()


def test_limits_are_inclusive_and_p_values_count():
    rng = np.random.default_rng(11)
    means, measured, weights, _ = table(rng, lags=1)
    p = np.full(40, 0.5)
    p[10] = 0.001
    options = FitOptions(min_mean=means[3], max_mean=means[30])
    found = fit_ptc(means, measured[:, 0, 0].copy(), measured, weights, None, p, options)
    assert np.flatnonzero(found.used).tolist() == [*range(3, 10), *range(11, 31)]
    assert found.turnoff == means[30]


@pytest.mark.parametrize("kind", FITS)
def test_bad_amplifiers(kind):
    rng = np.random.default_rng(12)
    means, measured, weights, _ = table(rng, lags=3)
    nan = np.full_like(measured, np.nan)
    for case in (
        (means, nan, weights),
        (np.full(40, np.nan), measured, weights),
        (means[:2], measured[:2], weights[:2]),
        (means[:0], measured[:0], weights[:0]),
        (means[:4], measured[:4], 0 * weights[:4]),
    ):
        found = fit(*case, fit_type=kind, lags=3)
        assert found.reason
        assert math.isnan(found.gain)
        assert math.isnan(found.turnoff)
        assert np.isnan(found.a).all()
        assert not found.used.any()
        assert found.used.shape == found.model_variances.shape == case[0].shape
        assert found.a.shape == ((3, 3) if "FULL" in kind else (1, 1))
    negative = fit(means, -measured, weights, fit_type=kind, lags=3)
    assert negative.reason


def test_nan_at_one_lag_does_not_matter():
    rng = np.random.default_rng(13)
    means, measured, weights, a = table(rng, lags=3)
    measured[10, 2, 1], weights[11, 0, 2] = np.nan, np.nan
    found = fit(means, measured, weights, fit_type="FULLCOVARIANCE", lags=3)
    assert found.dof == 40 * 9 - 2 - 28
    assert (np.abs(found.a - a) / found.a_error).max() < 5


def test_long_range_covariances_are_subtracted_from_the_fit():
    rng = np.random.default_rng(14)
    means, measured, weights, _ = table(rng, lags=10, pixels=1_000_000)
    # Light that flickers from row to row, say, by 1e-4 of its mean.
    extra = 1e-8 * (means**2)[:, None, None]
    plain, mended = (
        [
            fit(means, table, weights, fit_type="FULLCOVARIANCE", lags=4, subtract_long_range=also)
            for table in (measured, measured + extra)
        ]
        for also in (False, True)
    )
    assert np.median(plain[1].a - plain[0].a) == pytest.approx(1e-8, rel=0.2)
    # A surface holds a constant. The weights come from the variance before the subtraction, and are
    # 1e-3 different at most; that is a part of the error of 5e-9 of such a size.
    np.testing.assert_allclose(mended[1].a, mended[0].a, atol=1e-10)


def test_noise_of_a_negative_square():
    assert noise_from_square(-4.0, 20.0) == (2.0, 5.0)
    assert noise_from_square(0.0, 1.0)[0] == 0.0


def test_input_is_checked():
    rng = np.random.default_rng(15)
    means, measured, weights, _ = table(rng, lags=2)
    with pytest.raises(ValueError, match="3 lags of 2"):
        fit(means, measured, weights, fit_type="FULLCOVARIANCE", lags=3)
    with pytest.raises(ValueError, match="CUBIC"):
        fit(means, measured, weights, fit_type="CUBIC")
    with pytest.raises(ValueError, match="means of"):
        fit(means[1:], measured, weights)
    with pytest.raises(ValueError, match="weights of"):
        fit(means, measured, weights[1:])
    with pytest.raises(ValueError, match="degree"):
        fit_covariances(means, measured, weights, (-3e-6, 1.5, 49.0), True, 3)
    with pytest.raises(ValueError, match="4 or more"):
        fit_covariances(means[:3], measured[:3], weights[:3], (-3e-6, 1.5, 49.0))


def test_results_do_not_depend_on_the_order():
    rng = np.random.default_rng(16)
    means, measured, weights, _ = table(rng, lags=2)
    order = rng.permutation(40)
    for kind in FITS:
        one = fit(means, measured, weights, fit_type=kind, lags=2)
        other = fit(means[order], measured[order], weights[order], fit_type=kind, lags=2)
        # Sums in another order; the minimum is found to about 1e-6 of an error.
        assert other.gain == pytest.approx(one.gain, abs=1e-4 * one.gain_error)
        np.testing.assert_array_equal(other.used, one.used[order])
    assert replace(one, reason="x").reason == "x"
