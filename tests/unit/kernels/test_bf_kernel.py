"""Brighter-fatter kernels from covariances whose area coefficients are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import convolve2d
from scipy.sparse import diags, identity, kron
from scipy.sparse.linalg import spsolve

from cpflow.kernels.bf_area import kernel_from_area
from cpflow.kernels.bf_kernel import (
    AmplifierCovariances,
    average_kernels,
    image_kernel,
    solve_bf_kernel,
)
from cpflow.kernels.bf_validity import kernel_fault
from cpflow.kernels.poisson import laplacian, solve_poisson
from cpflow.kernels.weighted_statistics import (
    robust_line,
    weighted_clipped_mean,
    weighted_median,
)
from cpflow.simulate import brighter_fatter as truth

AREA = truth.area_quadrant(truth.BrighterFatter())
GAIN, NOISE = 1.5, 7.0


def padded(area, side):
    out = np.zeros((side, side))
    out[: len(area), : len(area)] = area
    return out


def mirrored(quadrant):
    full = np.concatenate([quadrant[:0:-1], quadrant])
    return np.concatenate([full[:, :0:-1], full], axis=1)


def lowest_order(flux, area=AREA, gain=GAIN, noise=NOISE):
    """Eq. 20 of Astier et al. without what grows faster than F**2, adu**2."""
    covariance = area * flux[:, None, None] ** 2
    covariance[:, 0, 0] += flux + noise**2
    return covariance / gain**2


def noise_of(flux, pixels, side, gain=GAIN, noise=NOISE):
    """Spec 1.3 step 10: V**2/N, twice for the variance; off the axes two directions."""
    errors = np.repeat((flux + noise**2) / gain**2 / np.sqrt(pixels), side**2)
    errors = errors.reshape(-1, side, side)
    errors[:, 0, 0] *= np.sqrt(2)
    errors[:, 1:, 1:] /= np.sqrt(2)
    return errors


def amplifier(flux=None, *, area=AREA, gain=GAIN, noise=NOISE, rng=None, pixels=5e5, errors=False):
    flux = np.geomspace(1e3, 8e4, 20) if flux is None else flux
    covariances = lowest_order(flux, area, gain, noise)
    sigma = noise_of(flux, pixels, len(area), gain, noise)
    if rng is not None:
        covariances = covariances + sigma * rng.standard_normal(sigma.shape)
    used = np.ones(len(flux), bool)
    return AmplifierCovariances(
        covariances, flux / gain, gain, noise, used, sigma if errors else None, a_matrix=area
    )


@pytest.mark.parametrize("shape", [(7, 7), (21, 21), (5, 12)])
def test_poisson_problem_against_a_sparse_solution(shape):
    rng = np.random.default_rng(1)
    source = rng.normal(size=(3, *shape)) * 1e-6
    solved = solve_poisson(source)
    second = [diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(n, n)) for n in shape]
    operator = kron(second[0], identity(shape[1])) + kron(identity(shape[0]), second[1])
    for one, right in zip(solved, source, strict=True):
        expected = spsolve(operator.tocsc(), right.ravel()).reshape(shape)
        np.testing.assert_allclose(one, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_allclose(laplacian(solved), source, rtol=0, atol=1e-12 * 1e-6)


def test_fitted_matrix_gives_the_simulations_kernel_back():
    """The simulation solves on 17 x 17 pixels: 8 lags."""
    amp = replace(amplifier(), a_matrix=padded(AREA, 8))
    found = solve_bf_kernel(amp, method="a_matrix")
    expected = truth.solve_kernel(AREA)
    atol = 1e-10 * np.abs(expected).max()
    np.testing.assert_allclose(image_kernel(found.kernel), expected, rtol=0, atol=atol)
    # The lags along x are larger in one direction: this kernel is not its own transpose.
    assert np.abs(found.kernel - expected).max() > 1e5 * atol
    back = truth.area_coefficients(image_kernel(found.kernel))
    np.testing.assert_allclose(back[:5, :5], AREA, rtol=0, atol=1e-10 * -AREA[0, 0])
    assert found.total == pytest.approx(0, abs=1e-18)
    assert found.valid
    assert found.reason == ""
    assert np.isnan(found.kernel_errors).all()


def test_image_kernel_convolves_columns_with_columns():
    """A lag along x of an image is a lag along its second axis."""
    kernel = np.zeros((7, 7))
    kernel[3 + 2, 3] = -1.0
    image = np.zeros((15, 15))
    image[7, 7] = 1.0
    turned = image_kernel(kernel)
    assert turned.flags.c_contiguous
    assert convolve2d(image, turned, mode="same")[7, 9] == -1.0


def test_golden_kernel():
    """Spec 7.4: the input of the reference's unit test, pairs of equal weight, no read noise."""
    means = np.arange(2000.0, 10_001.0, 1000.0)
    shape = np.array([[0.0, 0.5, 0.1], [0.2, 0.1, 0.05], [0.025, 0.015, 0.01]])
    covariances = 0.01 * means[:, None, None] * shape
    covariances[:, 0, 0] = 0.99 * means
    amp = AmplifierCovariances(covariances, means, 1.0, 0.0, np.ones(len(means), bool))
    found = solve_bf_kernel(amp, weighted=False)
    golden = [
        [-14.69026, -1.133505, 0.4503290, 0.1800528],
        [-3.063261, -0.5052904, 0.3057352, 0.1349411],
        [-0.8388018, -0.2734281, 0.0713119, 0.0539764],
        [-0.2809139, -0.1424269, -0.0153656, 0.0096527],
    ]
    # Seven digits of the largest.
    np.testing.assert_allclose(found.kernel[3:, 3:] * 1e7, golden, rtol=0, atol=1e-5)
    assert found.pre_kernel[3, 3] == pytest.approx(5.036750e-6, rel=1e-6)
    assert not found.valid
    assert "above zero" in found.reason
    plain = solve_bf_kernel(amp, weighted=False, force_zero_sum=False)
    assert plain.pre_kernel[3, 3] == pytest.approx(2.143298e-6, rel=1e-6)
    assert plain.kernel[3, 3] * 1e7 == pytest.approx(-0.5421283, abs=1e-6)
    assert plain.kernel[3, 4] * 1e7 == pytest.approx(5.780995, abs=1e-5)
    assert plain.kernel[4, 3] * 1e7 == pytest.approx(3.851239, abs=1e-5)
    assert found.total == pytest.approx(2.143298e-6 - 5.036750e-6, rel=1e-5)


@pytest.mark.parametrize("method", ["average", "quadratic"])
@pytest.mark.parametrize("errors", [True, False])
def test_covariances_of_lowest_order_give_the_kernel_within_errors(method, errors):
    rng = np.random.default_rng(7)
    expected, _, pre_kernel, _, _ = kernel_from_area(AREA)
    deviations, centres = [], []
    turns = 120
    for _ in range(turns):
        found = solve_bf_kernel(amplifier(rng=rng, errors=errors), method=method)
        assert found.valid
        pulls = (found.pre_kernel - pre_kernel)[5:10, 5:10] / found.pre_kernel_errors[5:10, 5:10]
        # The errors of neighbours in the kernel are strongly correlated: one element of it.
        deviations.append(pulls.ravel())
        centres.append(((found.kernel - expected) / found.kernel_errors)[5, 5])
    # Noise that the scatter of 20 pairs has to tell makes t of 19 degrees of freedom, 6 % wider; as
    # a median deviation tells it, about twice that. The width of n pulls scatters by 1/sqrt(2n).
    allowed = 0.02 if errors else (0.08 if method == "average" else 0.16)
    lags = np.array(deviations)[:, 1:]
    assert np.std(lags) == pytest.approx(1, abs=allowed + 5 / np.sqrt(2 * lags.size))
    assert np.std(centres) == pytest.approx(1, abs=allowed + 5 / np.sqrt(2 * turns))
    assert abs(np.mean(centres)) < 5 / np.sqrt(turns)
    assert abs(np.mean(lags)) < 5 * 1.2 / np.sqrt(lags.size)
    # Nothing of the forced centre's own measurement is left in it.
    assert found.pre_kernel.sum() == pytest.approx(0, abs=1e-18)


def test_read_noise_is_subtracted_and_faint_pairs_stay():
    rng = np.random.default_rng(8)
    flux = np.geomspace(300, 5e4, 40)
    values = []
    for _ in range(100):
        amp = amplifier(flux, noise=30.0, rng=rng, errors=True)
        found = solve_bf_kernel(amp, force_zero_sum=False)
        assert found.used[0].all()
        values.append((found.pre_kernel[5, 5] + AREA[0, 0]) / found.pre_kernel_errors[5, 5])
    assert abs(np.mean(values)) < 5 / np.sqrt(len(values))
    # Without subtraction each pair would be wrong by noise**2/F**2.
    matrix = np.zeros((5, 5))
    matrix[0, 0], matrix[0, 1] = 900.0, 50.0
    exact = amplifier(flux, noise=30.0)
    exact.covariances[:, 0, 1] += 50.0 / GAIN**2
    for noisy in (replace(exact, noise_matrix=matrix), replace(exact, noise_matrix=matrix[:2, :2])):
        found = solve_bf_kernel(noisy, force_zero_sum=False)
        np.testing.assert_allclose(
            found.pre_kernel[1:-1, 1:-1], -mirrored(AREA), rtol=0, atol=1e-10 * -AREA[0, 0]
        )


def test_quadratic_fit_takes_a_constant_covariance_away():
    """What electronics add to all pairs alike, and what one bad pair has, do not matter."""
    amp = amplifier(np.geomspace(2e3, 8e4, 15))
    amp.covariances[:, 0, 1] += 3.0
    found = solve_bf_kernel(amp, method="quadratic")
    expected = kernel_from_area(AREA)[0]
    np.testing.assert_allclose(found.kernel, expected, rtol=0, atol=1e-8 * np.abs(expected).max())
    assert np.abs(solve_bf_kernel(amp).kernel / expected - 1).max() > 1e-3
    few = replace(amp, mask=np.arange(15) < 2)
    assert solve_bf_kernel(few, method="quadratic").reason == "fewer than three pairs usable"


def test_covariance_model_is_taken_at_the_nearest_flux():
    flux = np.array([5e3, 2e4, 3e4, 6e4])
    amp = amplifier(flux)
    model = lowest_order(flux) + (AREA**2 * flux[:, None, None] ** 3) / GAIN**2
    amp = replace(amp, model=model, mask=np.array([True, False, True, True]))
    found = solve_bf_kernel(amp, method="covariance_model", model_flux=2.2e4, force_zero_sum=False)
    expected = -mirrored(AREA + AREA**2 * 3e4)
    np.testing.assert_allclose(found.pre_kernel[1:-1, 1:-1], expected, rtol=1e-9, atol=1e-16)


def test_detector_pools_every_pair_with_its_weight():
    rng = np.random.default_rng(9)
    amps = [
        amplifier(np.geomspace(2e3, 8e4, 9), gain=1.2, rng=rng, pixels=2e5, errors=True),
        amplifier(np.geomspace(1e3, 5e4, 14), gain=1.7, rng=rng, pixels=1e6, errors=True),
        amplifier(area=3 * AREA, rng=rng, errors=True),
        amplifier(gain=np.nan),
    ]
    found = solve_bf_kernel(amps, ignored=[2])
    assert [int(used.sum()) for used in found.used] == [9, 14, 0, 0]
    numerator, denominator = np.zeros((5, 5)), np.zeros((5, 5))
    for amp in amps[:2]:
        for pair, mean in enumerate(amp.means):
            f = mean * amp.gain
            a = amp.gain**2 * amp.covariances[pair]
            a[0, 0] -= f + NOISE**2
            weight = (f**2 / (amp.gain**2 * amp.covariance_errors[pair])) ** 2
            numerator += weight * a / f**2
            denominator += weight
    area = numerator / denominator
    expected = -mirrored(area)
    expected[4, 4] -= expected.sum()
    np.testing.assert_allclose(found.pre_kernel[1:-1, 1:-1], expected, rtol=1e-10, atol=1e-18)
    np.testing.assert_allclose(found.pre_kernel_errors[6:-1, 5], denominator[1:, 0] ** -0.5)
    assert found.pre_kernel.sum() == pytest.approx(0, abs=1e-18)
    assert found.valid
    # The centre follows from 2 or 4 copies of all others.
    copies = np.full((5, 5), 4.0)
    copies[0] = copies[:, 0] = 2.0
    copies[0, 0] = 0.0
    centre = np.sqrt((copies**2 / denominator).sum())
    assert found.pre_kernel_errors[5, 5] == pytest.approx(centre)
    assert np.abs(solve_bf_kernel(amps).kernel - found.kernel).max() > found.kernel_errors.max()


def test_detector_from_fitted_matrices_and_from_kernels():
    amps = [replace(amplifier(), a_matrix=f * AREA) for f in (0.9, 1.0, 1.1, 1.0, 5.0)]
    found = solve_bf_kernel(amps, method="a_matrix")
    expected = kernel_from_area(AREA)[0]
    np.testing.assert_allclose(found.kernel, expected, rtol=1e-9)
    assert np.isfinite(found.kernel_errors).all()
    weights = [replace(amp, a_errors=np.full((5, 5), 1e-8 * (i + 1))) for i, amp in enumerate(amps)]
    found = solve_bf_kernel(weights[:2], method="a_matrix")
    np.testing.assert_allclose(found.kernel, (4 * 0.9 + 1.0) / 5 * expected, rtol=1e-9)
    single = [solve_bf_kernel(amp, method="a_matrix").kernel for amp in amps]
    valid = np.array([True, True, True, False, True])
    np.testing.assert_allclose(average_kernels(np.stack(single), valid, [4]), expected, rtol=1e-9)
    assert np.isnan(average_kernels(np.stack(single), valid, range(5))).all()


def test_flats_of_the_simulation_have_the_covariances_that_the_kernel_says():
    """From pixels: spec 7.4's flats by collecting charge, and eq. 20 up to its last order."""
    rng = np.random.default_rng(10)
    flux, size, side, flats = 2e4, 512, 5, 24
    kernel = truth.solve_kernel(AREA)
    area = truth.area_coefficients(kernel)
    full = mirrored(area)
    second = convolve2d(full, full)
    third = convolve2d(second, full)
    c2, c3 = len(second) // 2, len(third) // 2
    effective = area + 2 / 3 * flux * second[c2 : c2 + len(area), c2 : c2 + len(area)]
    effective += flux**2 / 3 * third[c3 : c3 + len(area), c3 : c3 + len(area)]
    sums = np.zeros((side, side))
    half = size // 2
    for _ in range(flats):
        image = truth.collect(np.full((size, size), flux, np.float32), kernel, 0.0, rng)
        part = image[16:-16, 16:-16].astype(float)
        part -= part.mean()
        spectrum = np.abs(np.fft.fft2(part, (2 * half, 2 * half))) ** 2
        power = np.fft.ifft2(spectrum).real / part.size
        sums += 0.5 * (power[:side, :side] + np.roll(power[::-1], 1, axis=0)[:side, :side]).T
    lags = np.arange(side)
    inner = size - 32
    # The transform holds the products of the pixels that exist: the fewer, the larger the lag.
    covariances = sums / flats / np.outer(1 - lags / inner, 1 - lags / inner)
    errors = noise_of(np.array([flux]), inner**2 * flats, side, 1.0, 0.0)
    amp = AmplifierCovariances(
        covariances[None], np.array([flux]), 1.0, 0.0, np.ones(1, bool), errors
    )
    found = solve_bf_kernel(amp, force_zero_sum=False)
    measured = -found.pre_kernel[5:-1, 5:-1]
    pulls = (measured - effective[:side, :side]) / found.pre_kernel_errors[5:-1, 5:-1]
    # 25 independent numbers, 5 sigma.
    assert np.abs(pulls).max() < 5
    assert np.std(pulls) == pytest.approx(1, abs=5 / np.sqrt(50))
    # Columns and rows are not mixed up: a01 is 2.4 times a10.
    assert measured[0, 1] - measured[1, 0] > 5 * found.pre_kernel_errors[5, 6]


def test_kernels_that_are_not_physical_are_told_why():
    good = kernel_from_area(AREA)[0]
    assert kernel_fault(good) is None
    centre = 5

    def changed(x, y, value):
        kernel = good.copy()
        kernel[x, y] = value
        return kernel_fault(kernel)

    assert "below the centre" in changed(centre, centre + 1, 2 * good[centre, centre])
    assert "[5, 6]" in changed(centre, centre + 1, 2 * good[centre, centre])
    assert "above zero" in changed(2, 2, -0.03 * good[centre, centre])
    assert changed(2, 2, -0.02 * good[centre, centre]) is None
    assert "not negative" in changed(centre, centre, 0.0)
    assert "not finite" in changed(0, 0, np.nan)
    # One edge pixel among 96 of the frame is at 9.7 standard deviations of it.
    assert "edge is not zero" in changed(0, 0, 0.5 * good[centre, centre])
    with pytest.raises(ValueError, match="odd side"):
        kernel_fault(np.zeros((5, 5)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gain": np.nan}, "the gain is nan"),
        ({"gain": -1.0}, "the gain is -1.0"),
        ({"noise": np.nan}, "the read noise is nan"),
        ({"noise_matrix": np.full((5, 5), np.nan)}, "the noise matrix is not finite"),
        ({"mask": np.zeros(20, bool)}, "no pair of flats usable"),
        ({"means": np.full(20, np.nan)}, "no pair of flats usable"),
        ({"means": np.zeros(20)}, "no pair of flats usable"),
        ({"covariances": np.full((20, 5, 5), np.nan)}, "no pair of flats usable"),
    ],
)
def test_unusable_amplifiers_have_no_kernel(change, reason):
    found = solve_bf_kernel(replace(amplifier(), **change))
    assert not found.valid
    assert found.reason == reason
    assert not found.kernel.any()
    assert not found.used[0].any()
    model = replace(amplifier(), model=lowest_order(np.geomspace(1e3, 8e4, 20)), **change)
    assert not solve_bf_kernel(model, method="covariance_model").valid


def test_one_pair_and_a_pair_with_nan():
    amp = amplifier()
    single = replace(amp, mask=np.arange(20) == 7)
    expected = kernel_from_area(AREA)[0]
    np.testing.assert_allclose(solve_bf_kernel(single).kernel, expected, rtol=1e-8)
    amp.covariances[3, 4, 4] = np.nan
    found = solve_bf_kernel(amp, side=3)
    # It is not among the lags that are wanted.
    assert found.used[0].all()
    assert found.kernel.shape == (7, 7)
    assert not solve_bf_kernel(amp).used[0][3]
    fit = replace(amp, a_matrix=np.full((5, 5), np.nan))
    assert solve_bf_kernel(fit, method="a_matrix").reason == "the fitted matrix is not finite"
    assert solve_bf_kernel([amp], ignored=[0]).reason == "all amplifiers are ignored"


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: solve_bf_kernel([]),
        lambda: solve_bf_kernel(amplifier(), method="median"),
        lambda: solve_bf_kernel(amplifier(), side=6),
        lambda: solve_bf_kernel(amplifier(), side=2),
        lambda: solve_bf_kernel(amplifier(), method="covariance_model"),
        lambda: solve_bf_kernel(replace(amplifier(), a_matrix=None), method="a_matrix"),
        lambda: solve_bf_kernel([amplifier(), amplifier(errors=True)]),
        lambda: replace(amplifier(), means=np.zeros(3)),
        lambda: replace(amplifier(), model=np.zeros((20, 4, 4))),
        lambda: replace(amplifier(), noise_matrix=np.zeros((4, 5))),
        lambda: replace(amplifier(), covariances=np.zeros((20, 5))),
        lambda: solve_poisson(np.zeros(4)),
    ],
)
def test_what_makes_no_sense_is_refused(attempt):
    with pytest.raises(ValueError):
        attempt()


def test_weighted_median_against_its_definition():
    rng = np.random.default_rng(11)
    for n in (1, 2, 5, 40):
        values, weights = rng.normal(size=n), rng.uniform(0.5, 2, n)
        cost = [(weights * np.abs(values - v)).sum() for v in values]
        assert weighted_median(values, weights) == values[np.argmin(cost)]
        assert weighted_median(values, np.ones(n)) == pytest.approx(np.median(values), rel=1e-15)
    assert np.isnan(weighted_median(np.empty(0), np.empty(0)))


def test_weighted_clipped_mean_against_numpy():
    rng = np.random.default_rng(12)
    errors = rng.uniform(0.1, 20, 60)
    values = 3 + errors * rng.normal(size=60)
    values[[4, 9]] = 1e3, np.nan
    found = weighted_clipped_mean(values, errors)
    good = np.arange(60)[~np.isin(np.arange(60), [4, 9])]
    weights = 1 / errors[good] ** 2
    assert found.mean == pytest.approx(np.average(values[good], weights=weights), rel=1e-12)
    assert found.error == pytest.approx(weights.sum() ** -0.5)
    chi2 = (((values[good] - found.mean) / errors[good]) ** 2).sum()
    assert found.scale == pytest.approx(np.sqrt(chi2 / 57))
    assert list(np.flatnonzero(~found.kept)) == [4, 9]
    nothing = weighted_clipped_mean(np.full(3, np.nan), np.ones(3))
    assert np.isnan(nothing.mean)
    one = weighted_clipped_mean(np.array([2.0]), np.array([0.5]))
    assert (one.mean, one.error) == (2.0, 0.5)
    assert np.isnan(one.scale)


def test_robust_line_ignores_an_outlier():
    rng = np.random.default_rng(13)
    x = np.linspace(0, 1e10, 50)
    errors = 1 + x / 1e9
    y = 5 + 2e-9 * x + errors * rng.normal(size=50)
    y[20] += 1e4
    (level, slope), sigma, scale = robust_line(x, y, errors)
    assert abs(level - 5) < 5 * sigma[0]
    assert abs(slope - 2e-9) < 5 * sigma[1]
    # A median deviation of 50 has a relative error of 1.17/sqrt(100).
    assert scale == pytest.approx(1, abs=5 * 0.117)
    design = np.stack([np.ones(50), x / 1e10], axis=1) / errors[:, None]
    plain = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) / 0.95) / [1, 1e10]
    np.testing.assert_allclose(sigma, plain, rtol=1e-9)
    assert np.isnan(robust_line(x[:1], y[:1], errors[:1])[0]).all()
    exact, _, scale = robust_line(x[:2], 3 * x[:2], errors[:2])
    assert exact[1] == pytest.approx(3)
    assert np.isnan(scale)
