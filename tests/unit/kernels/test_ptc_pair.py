"""One pair of flats: covariances against direct sums, gain and errors against known noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from cpflow.kernels.ptc_covariance import lag_covariances
from cpflow.kernels.ptc_gain import pair_gain
from cpflow.kernels.ptc_gaussianity import gaussianity
from cpflow.kernels.ptc_pair import PairOptions, measure_pair

GAIN, NOISE = 1.5, 7.0
# f(5.5)**2 of spec 0.3.
CLIP2 = 1.0000011847


def flats(rng, flux, shape=(400, 509), ratio=1.0, pattern=1.0):
    """Return two flats in adu: Poisson light and read noise, in electrons over the gain."""
    return tuple(
        ((rng.poisson(f * pattern, shape) + rng.normal(0, NOISE, shape)) / GAIN).astype(np.float32)
        for f in (flux, flux * ratio)
    )


def direct_covariances(image, weight, lags):
    """Sum over all pairs of pixels, one at a time as in spec 1.3."""
    values, pixels = np.zeros((lags, lags)), np.zeros((lags, lags), int)
    image = np.where(weight, image, 0.0)
    rows, columns = image.shape

    def one(dx, dy):
        if dy < 0:
            dx, dy = -dx, -dy
        x0, x1 = max(dx, 0), columns + min(dx, 0)
        here = np.s_[: rows - dy, x0 - dx : x1 - dx]
        there = np.s_[dy:, x0:x1]
        n = np.sum(weight[here] & weight[there])
        a, b = image[there] * weight[here], image[here] * weight[there]
        return (image[here] * image[there]).sum() / n - a.sum() * b.sum() / n**2, n

    for dx in range(lags):
        for dy in range(lags):
            found = [one(dx, dy)] if dx == 0 or dy == 0 else [one(dx, dy), one(dx, -dy)]
            values[dx, dy] = np.mean([c for c, _ in found])
            pixels[dx, dy] = sum(n for _, n in found)
    return values, pixels


@pytest.mark.parametrize(("shape", "lags"), [((61, 47), 5), ((32, 64), 32), ((7, 9), 1)])
def test_covariances_are_direct_sums(shape, lags):
    rng = np.random.default_rng(1)
    # A gradient and a large mean, so that neither the padding nor the subtraction is trivial.
    image = 100.0 + rng.normal(0, 10, shape) + np.arange(shape[1])
    weight = rng.random(shape) < 0.8
    image[~weight] = np.nan
    if lags == 32:
        # So many lags need all pixels: the largest ones have one row of pairs only.
        weight[:], image = True, np.nan_to_num(image, nan=100.0)
    found = lag_covariances(image, weight, lags)
    values, pixels = direct_covariances(image, weight, lags)
    np.testing.assert_array_equal(found.pixels, pixels)
    # Rounding of float64, seen relative to the largest sum, mean**2 over a few thousand pixels.
    np.testing.assert_allclose(found.values, values, rtol=0, atol=1e-10 * 100.0**2)


def test_covariances_do_not_know_left_from_right():
    rng = np.random.default_rng(2)
    image = rng.normal(size=(40, 50))
    weight = rng.random(image.shape) < 0.9
    plain = lag_covariances(image, weight, 4)
    for turn in (np.s_[::-1], np.s_[:, ::-1]):
        flipped = lag_covariances(image[turn], weight[turn], 4)
        np.testing.assert_allclose(flipped.values, plain.values, atol=1e-13)
        np.testing.assert_array_equal(flipped.pixels, plain.pixels)
    transposed = lag_covariances(image.T, weight.T, 4)
    np.testing.assert_allclose(transposed.values, plain.values.T, atol=1e-13)


def test_first_axis_is_lag_in_x():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(300, 301))
    along_row = noise[:, 1:] + 0.5 * noise[:, :-1]
    found = lag_covariances(along_row, np.ones(along_row.shape, bool), 2).values
    # Covariance 0.5 with the neighbour in the same row; errors are 1.25/sqrt(90000) = 0.004.
    assert found[1, 0] == pytest.approx(0.5, abs=0.02)
    assert found[0, 1] == pytest.approx(0.0, abs=0.02)


def test_a_lag_without_pixels_is_nan():
    weight = np.zeros((20, 20), bool)
    weight[:, ::2] = True
    found = lag_covariances(np.ones((20, 20)), weight, 3)
    assert found.pixels[1].tolist() == [0, 0, 0]
    assert np.isnan(found.values[1]).all()
    assert np.isfinite(found.values[2]).all()


def test_lags_have_to_fit():
    with pytest.raises(ValueError, match="lags"):
        lag_covariances(np.ones((5, 9)), np.ones((5, 9), bool), 6)
    with pytest.raises(ValueError, match="weights"):
        lag_covariances(np.ones((5, 9)), np.ones((9, 5), bool), 2)


@pytest.mark.parametrize("flux", [2000.0, 30_000.0])
@pytest.mark.parametrize("ratio", [1.0, 1.003, 1.05])
def test_mean_variance_and_gain_of_poisson_light(flux, ratio):
    rng = np.random.default_rng(int(flux * ratio))
    # Light that is uneven by 20 % in each pixel: the difference does not see it.
    pattern = 1 + 0.2 * np.linspace(-1, 1, 509)
    first, second = flats(rng, flux, ratio=ratio, pattern=pattern)
    found = measure_pair(first, second, None, (NOISE / GAIN, math.nan))
    n, mean = first.size, flux * (1 + ratio) / 2 / GAIN
    assert found.good
    assert found.n_pixels == n
    assert found.mean == pytest.approx(mean, abs=5 * math.sqrt(mean / GAIN / n))
    assert found.delta == pytest.approx(
        flux * (ratio - 1) / GAIN, abs=5 * math.sqrt(2 * mean / GAIN / n)
    )
    # The symmetric difference has (mu2**2 V1 + mu1**2 V2)/mu**2, V = mu/g + noise**2/g**2.
    mu1, mu2 = flux / GAIN, flux * ratio / GAIN
    v1, v2 = (mu / GAIN + NOISE**2 / GAIN**2 for mu in (mu1, mu2))
    variance = 0.5 * (mu2**2 * v1 + mu1**2 * v2) / mean**2
    assert found.variance == pytest.approx(variance, rel=5 * math.sqrt(2 / n))
    assert found.covariances[0, 0] == pytest.approx(found.variance, rel=1e-5)
    # The 1/(2 g**2) of the published formula makes the gain too low by 1/(2 flux).
    assert found.gain == pytest.approx(GAIN * (1 - 0.5 / flux), rel=5 * math.sqrt(2 / n))
    assert found.row_mean_variance == pytest.approx(
        2 * variance / 509, rel=5 * math.sqrt(2 / first.shape[0])
    )


def test_unequal_light_without_correction_would_be_wrong():
    # The figure of spec 1.4, -12 % at 30,000 electrons and 0.3 %, is what is not seen here.
    rng = np.random.default_rng(4)
    first, second = (x.astype(float) for x in flats(rng, 30_000, ratio=1.003))
    ratio = np.mean((first - second) ** 2 / (first + second))
    assert pair_gain(ratio, first.mean(), NOISE / GAIN) == pytest.approx(GAIN * 0.88, rel=0.01)


def test_covariances_of_white_noise_are_zero_with_unit_pulls():
    rng = np.random.default_rng(5)
    options = PairOptions(max_lag=11)
    pulls, variances = [], []
    for _ in range(10):
        found = measure_pair(*flats(rng, 20_000, (300, 400)), None, options=options)
        pulls.append((found.covariances * found.sqrt_weights).reshape(-1)[1:])
        truth = 20_000 / GAIN**2 + NOISE**2 / GAIN**2
        variances.append((found.covariances[0, 0] - truth) * found.sqrt_weights[0, 0])
        np.testing.assert_allclose(found.pixels[:2, 0], [300 * 400, 300 * 399], rtol=1e-5)
        np.testing.assert_allclose(found.pixels[1, 1], 2 * 299 * 399, rtol=1e-5)
    pulls = np.array(pulls)
    # 1200 pulls: their mean has the error 0.029, their width 0.020. Means of the two images are
    # taken from the data, which takes about 1/n of the variance, 1e-5: nothing here.
    assert abs(pulls.mean()) < 5 / math.sqrt(pulls.size)
    assert pulls.std() == pytest.approx(1, abs=5 / math.sqrt(2 * pulls.size))
    assert np.abs(variances).max() < 4.5


def test_correlated_noise_is_recovered():
    rng = np.random.default_rng(6)
    shape = (400, 500)
    # White noise through a filter whose autocorrelation is known.
    kernel = np.zeros((3, 3))
    kernel[0, 0], kernel[0, 1], kernel[1, 0], kernel[2, 2] = 1, 0.1, 0.2, 0.05
    truth = np.zeros((4, 4))
    for i in range(3):
        for j in range(3):
            one = (kernel[j:, i:] * kernel[: 3 - j, : 3 - i]).sum()
            other = (kernel[j:, : 3 - i] * kernel[: 3 - j, i:]).sum()
            truth[i, j] = 0.5 * (one + other)

    def frame():
        white = rng.normal(0, 100, (shape[0] + 2, shape[1] + 2))
        out = np.full(shape, 20_000.0)
        for (y, x), k in np.ndenumerate(kernel):
            out += k * white[y : y + shape[0], x : x + shape[1]]
        return out.astype(np.float32)

    found = measure_pair(frame(), frame(), None, options=PairOptions(max_lag=4))
    # Bartlett: correlations make the error of a covariance larger by at most
    # sqrt(2 sum of rho**2) = 1.5 here.
    assert (np.abs(found.covariances - 1e4 * truth) * found.sqrt_weights).max() < 5 * 1.5


def test_clip_correction_has_two_powers():
    rng = np.random.default_rng(7)
    first, second = flats(rng, 10_000, (150, 200))
    found = measure_pair(first, second, None, options=PairOptions(max_lag=3))
    mu1, mu2 = first.mean(dtype=float), second.mean(dtype=float)
    mean = 0.5 * (mu1 + mu2)
    difference = (mu2 * first.astype(float) - mu1 * second) / mean
    weight = np.ones(first.shape, bool)
    expected = 0.5 * direct_covariances(difference, weight, 3)[0] * CLIP2**2
    expected[0, 0] /= CLIP2
    # No pixel of 30,000 is beyond 5.5 sigma. Clipped means are sums in another order.
    np.testing.assert_allclose(found.covariances, expected, rtol=1e-9, atol=1e-6)
    errors2 = expected[0, 0] ** 2 / CLIP2**2 / found.pixels
    errors2[0, 0] *= 2
    np.testing.assert_allclose(found.sqrt_weights, errors2**-0.5, rtol=1e-8)


def test_masks_of_both_exposures_are_joined_and_cosmic_rays_are_clipped():
    rng = np.random.default_rng(8)
    first, second = flats(rng, 1000)
    good = rng.random(first.shape) < 0.95
    clean = measure_pair(first, second, good, (NOISE / GAIN,) * 2)
    # One exposure has pixels of its own that are not finite; another one cosmic rays.
    first[3, :50], second[5, 7] = np.nan, np.inf
    first[100, 100:103] = 60_000
    first[~good] = -1e9
    found = measure_pair(first, second, good, (NOISE / GAIN,) * 2)
    lost = good[3, :50].sum() + good[5, 7]
    assert found.n_pixels == clean.n_pixels - lost == good.sum() - lost
    assert found.pixels[0, 0] == clean.pixels[0, 0] - lost - good[100, 100:103].sum()
    # 54 pixels of 190,000 are other ones.
    limit = 5 * math.sqrt(2 * 54) / clean.n_pixels
    assert found.gain == pytest.approx(clean.gain, rel=limit)
    assert found.variance == pytest.approx(clean.variance, rel=limit)


def test_last_row_counts():
    # Q2: all rows but the last are equal in both exposures.
    first = np.full((200, 100), 1000, np.float32)
    second = first.copy()
    rng = np.random.default_rng(9)
    second += rng.normal(0, 1, second.shape).astype(np.float32)
    base = measure_pair(first, second, options=PairOptions(max_lag=1, iterations=1, clip=1e3))
    second[-1] += 1
    more = measure_pair(first, second, options=PairOptions(max_lag=1, iterations=1, clip=1e3))
    # One of 200 row means of width 0.1 moves by 1: the variance becomes 0.01 + 1/200.
    assert more.row_mean_variance - base.row_mean_variance == pytest.approx(1 / 200, rel=0.3)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (np.nan, 100.0, "0 good pixels"),
        (-100.0, 300.0, "means of"),
        (150.0, -250.0, "means of"),
        (100.0, 100.0, "do not differ"),
    ],
)
def test_bad_pairs_have_a_reason(first, second, reason):
    images = [np.full((200, 100), value, np.float32) for value in (first, second)]
    found = measure_pair(*images, options=PairOptions(max_lag=3))
    assert not found.good
    assert reason in found.reason
    assert math.isnan(found.mean)
    assert math.isnan(found.gain)
    assert np.isnan(found.covariances).all()
    assert found.covariances.shape == found.sqrt_weights.shape == found.pixels.shape == (3, 3)
    assert found.p_value == 0


def test_masked_and_lagless_pairs_are_bad():
    rng = np.random.default_rng(10)
    first, second = flats(rng, 1000, (200, 200))
    nothing = measure_pair(first, second, np.zeros(first.shape, bool))
    assert not nothing.good
    assert nothing.n_pixels == 0
    columns = np.zeros(first.shape, bool)
    columns[:, ::2] = True
    sparse = measure_pair(first, second, columns, options=PairOptions(max_lag=2))
    assert "without a single pair" in sparse.reason
    with pytest.raises(ValueError, match="mask of"):
        measure_pair(first, second, columns[1:])
    with pytest.raises(ValueError, match="shapes"):
        measure_pair(first, second[1:])
    with pytest.raises(ValueError, match="positive"):
        PairOptions(max_lag=0)


def test_gains_solve_their_equations():
    g, mean, noise = 1.7, 3000.0, 5.0
    ratio = 1 / g + (noise**2 - 1 / (2 * g**2)) / mean
    assert pair_gain(ratio, mean, noise, "FULL") == pytest.approx(g, rel=1e-12)
    g0 = 1 / ratio
    simple = 1 / (ratio - (noise**2 - 1 / (2 * g0**2)) / mean)
    assert pair_gain(ratio, mean, noise, "SIMPLE") == pytest.approx(simple, rel=1e-12)
    # The term that differs has a factor (g/g0)**2 of about 1.03, and is 1e-4 of the whole.
    assert pair_gain(ratio, mean, noise, "SIMPLE") == pytest.approx(g, rel=1e-5)
    assert pair_gain(ratio, mean, noise, "NONE") == g0
    assert pair_gain(ratio, mean, math.nan) == g0
    for impossible in (math.nan, 0.0, -1.0):
        assert math.isnan(pair_gain(impossible, mean, noise))
    # All of the ratio is read noise.
    assert math.isnan(pair_gain(1.0, 10.0, 5.0, "SIMPLE"))
    assert math.isnan(pair_gain(1.0, 10.0, 5.0, "FULL"))
    with pytest.raises(ValueError, match="HALF"):
        pair_gain(ratio, mean, noise, "HALF")


@pytest.mark.parametrize("correction", ["NONE", "SIMPLE", "FULL"])
def test_reference_gain_of_a_faint_pair(correction):
    # Spec 7.1: 100 electrons, gain 0.75, without read noise here; asserted to 0.04.
    rng = np.random.default_rng(11)
    images = [(rng.poisson(100, (400, 509)) / 0.75).astype(np.float32) for _ in range(2)]
    options = PairOptions(max_lag=1, gain_correction=correction)
    found = measure_pair(*images, None, (0.0, 0.0), options)
    # The published term makes it 1/(2*100) too low; sqrt(2/n) = 0.3 %.
    assert found.gain == pytest.approx(0.75 * (1 if correction == "NONE" else 0.995), rel=0.016)


def test_normal_differences_pass_and_others_fail():
    rng = np.random.default_rng(12)
    options = PairOptions(max_lag=1, histogram=True)
    p_values = []
    for _ in range(20):
        first, second = flats(rng, 20_000, (120, 120), ratio=1.01)
        found = measure_pair(first, second, None, options=options)
        p_values.append(found.p_value)
        # Variance of the difference; 14,400 pixels, weights of a binned fit lose little.
        assert found.histogram_variance == pytest.approx(
            2 * found.variance, rel=6 * math.sqrt(2 / 14_400)
        )
        # 97 degrees of freedom less the empty bins, which have almost no chi2.
        assert 0.2 < found.histogram_chi2 < 1.6
    # Parameters are fitted, so that the probabilities are too high rather than too low.
    assert min(p_values) > 0.01
    # Light that jumps between two levels from row to row.
    first[::2] += 300
    assert measure_pair(first, second, None, options=options).p_value < 1e-3


def test_the_probability_is_that_of_scipy():
    rng = np.random.default_rng(13)
    values = rng.normal(3, 10, 5000)
    values[7] = np.nan
    found = gaussianity(values, 60.0)
    clean = values[np.isfinite(values)]
    # The same test with the moments of the values, which differ by less than an error from the
    # fitted ones: 0.14 and 0.1 make the distance uncertain by 0.006 of 0.01.
    counts, edges = np.histogram(clean, 100, (-60, 60))
    fitted, _ = scipy.optimize.curve_fit(
        lambda x, a, m, s: a * np.exp(-0.5 * ((x - m) / s) ** 2),
        0.5 * (edges[1:] + edges[:-1]),
        counts,
        (counts.max(), 0, 9),
        sigma=np.sqrt(np.maximum(counts, 1)),
    )
    assert found.variance == pytest.approx(fitted[2] ** 2, rel=1e-4)
    exact = scipy.stats.kstest(clean, "norm", (fitted[1], abs(fitted[2]))).pvalue
    # Asymptotic with Stephens' correction: a few times 1e-3 for thousands of values.
    assert found.p_value == pytest.approx(exact, abs=0.005)


def test_no_test_without_values():
    for values in (np.full(200, np.nan), np.ones(200), np.arange(50.0), np.array([])):
        found = gaussianity(values, 10.0)
        assert found.p_value == 0
        assert math.isnan(found.variance)
    with pytest.raises(ValueError, match="bins"):
        gaussianity(np.arange(200.0), 10.0, bins=3)
