import numpy as np
import pytest

from cpflow.kernels.ptc_models import full_covariance
from cpflow.simulate.brighter_fatter import (
    BrighterFatter,
    area_coefficients,
    area_quadrant,
    collect,
    solve_kernel,
)
from cpflow.simulate.seeds import stream
from cpflow.simulate.stars import Catalogue, render

MODEL = BrighterFatter()
KERNEL = solve_kernel(area_quadrant(MODEL))
AREA = area_coefficients(KERNEL)


def mirrored(quadrant):
    """Quadrant [x, y] to a whole matrix [x, y] with its centre in the middle."""
    half = np.concatenate([quadrant[:0:-1], quadrant])
    return np.concatenate([half[:, :0:-1], half], axis=1)


def convolved(a, b):
    """Full two-dimensional convolution of two quadrants, as a quadrant of the size of the first."""
    n = 4 * a.shape[0]
    whole = []
    for quadrant in (a, b):
        grid = np.zeros((n, n))
        m = mirrored(quadrant)
        r = quadrant.shape[0] - 1
        for i in range(-r, r + 1):
            for j in range(-r, r + 1):
                grid[i % n, j % n] = m[i + r, j + r]
        whole.append(np.fft.fft2(grid))
    return np.fft.ifft2(whole[0] * whole[1]).real[: a.shape[0], : a.shape[1]]


def equation_20(a, b, electrons):
    """Astier et al. 2019, equation 20, in electrons and without noise; [lag x, lag y]."""
    shape, f = a.shape, electrons
    # Room for the products, which reach three times as far.
    a, b = (np.pad(q, (0, 2 * shape[0])) for q in (a, b))
    c, aa = a * b, convolved(a, a)
    model = a * f + 2 / 3 * (aa + c) * f**2
    model += (convolved(aa, a) / 3 + 5 / 6 * convolved(a, c)) * f**3
    model *= f
    model[0, 0] += f
    return model[: shape[0], : shape[1]]


def covariances(image, lags):
    """Plain covariances [lag x, lag y], the two diagonals averaged."""
    d = image - image.mean()
    rows, columns = d.shape
    out = np.empty((lags, lags))
    for i in range(lags):
        for j in range(lags):
            up = (d[: rows - j, : columns - i] * d[j:, i:]).mean()
            down = (d[j:, : columns - i] * d[: rows - j, i:]).mean()
            out[i, j] = (up + down) / 2
    return out


def test_area_coefficients_sum_to_zero_and_are_those_asked_for():
    assert mirrored(AREA).sum() == pytest.approx(0, abs=1e-15)
    wanted = area_quadrant(MODEL)
    assert AREA[:5, :5] == pytest.approx(wanted, rel=1e-9, abs=1e-15)
    assert AREA[0, 1] == pytest.approx(4.2e-7)
    assert AREA[1, 0] == pytest.approx(1.75e-7)
    # Truncating the kernel leaves a little at its rim, which the truth says.
    assert np.abs(AREA[9:]).max() < 3e-9


def test_equation_20_has_the_golden_values_of_the_reference():
    # Reference, electro-optical 7.2: r = 2, gain 1.5, noise [[49, 1], [0.5, 0]].
    a = np.array([[-3e-6, 4e-7], [2e-7, 1e-7]])
    noise = np.array([[49, 1], [0.5, 0]])
    b = np.array([[-2e-6, 1e-6], [3e-6, -1e-6]])
    for factor, expected in (
        (0, [[30961.752818, 1040.801244], [536.522862, 279.044280]]),
        (1, [[31832.988818, 1158.305244], [651.542862, 287.090280]]),
    ):
        model = (equation_20(a, factor * b, 1.5 * 60_000) + noise) / 1.5**2
        assert model == pytest.approx(np.array(expected), rel=1e-7)


@pytest.mark.parametrize("b", [0.0, -1e-6, -8e-6])
def test_covariances_of_flats_follow_astier_equation_20(b):
    level, side, flats = 50_000.0, 512, 4
    expected = np.full((side, side), level, np.float32)
    measured = np.mean(
        [
            covariances(collect(expected, KERNEL, b, stream("flat", i, str(b))), 4)
            for i in range(flats)
        ],
        axis=0,
    )
    model = equation_20(AREA, np.full_like(AREA, b), level)[:4, :4]
    n = flats * side**2
    # Errors of a covariance: v / sqrt(n); both diagonals average to 1 / sqrt(2) of it where both
    # lags differ from zero; a variance has sqrt(2).
    error = np.full((4, 4), model[0, 0] / np.sqrt(2 * n))
    error[0, :] = error[:, 0] = model[0, 0] / np.sqrt(n)
    error[0, 0] *= np.sqrt(2)
    # The series of equation 20 ends at F^4: what it leaves out is of the order (a F)^3 / 3.
    left_out = level * np.abs(AREA[:4, :4] * level) * (2 * abs(AREA[0, 0]) * level) ** 2 / 3
    assert (np.abs(measured - model) < 4 * error + left_out).all()
    # The test can tell: without the effect the lags differ by many errors, and x from y.
    assert measured[0, 1] > 10 * error[0, 1]
    assert measured[0, 1] - measured[1, 0] > 5 * error[0, 1]
    assert level - measured[0, 0] > 20 * error[0, 0]


def astier(level, b):
    """The covariances (electron**2) of Astier's differential equation to the twelfth power."""
    return full_covariance([level], 1.0, AREA, np.zeros_like(AREA), b * AREA, 12)[0]


class Means:
    """In place of a generator: draws that are their means, but for one pixel in one draw."""

    def __init__(self, shape, draw=None, excess=0.0):
        self.shape, self.draw, self.excess = shape, draw, excess
        self.means, self.draws = [], []

    def poisson(self, mean):
        assert mean.shape == self.shape, "a draw is one call in images of at most 64 rows"
        drawn = mean.astype(float)
        if len(self.means) == self.draw:
            drawn[self.shape[0] // 2, self.shape[1] // 2] += self.excess
        self.means.append(mean.astype(float))
        self.draws.append(drawn)
        return drawn


@pytest.mark.parametrize("b", [0.0, -1e-6])
@pytest.mark.parametrize("level", [500.0, 10_000.0, 20_000.0, 60_000.0, 110_000.0])
def test_what_each_draw_leaves_at_the_end_gives_the_covariances_without_noise(level, b):
    # What is drawn stays where it is and only changes the means of later draws, in even light
    # linearly. Then the covariances are exactly the sum over draws of their variance, which is
    # their mean, and the autocorrelation of what one electron more in the draw leaves at the end.
    shape = (64, 64)
    expected = np.full(shape, level, np.float32)
    plain = Means(shape)
    flat = collect(expected, KERNEL, b, plain)
    assert flat == pytest.approx(np.sum(plain.draws, axis=0), rel=1e-6)
    assert flat == pytest.approx(expected, rel=1e-6)
    excess = 0.02 * level
    total = np.zeros((2 * shape[0],) * 2)
    for i, mean in enumerate(plain.means):
        assert np.ptp(mean) < 1e-6 * level
        left = (collect(expected, KERNEL, b, Means(shape, i, excess)) - level) / excess
        total += mean.mean() * np.abs(np.fft.fft2(left, total.shape)) ** 2
    found = np.fft.ifft2(total).real[:4, :4].T
    model = astier(level, b)[:4, :4]
    # The charge is float32: 2**-24 of the level, a few times, over an excess of 0.02 of it is 1e-5
    # of the variance; all that adds to a lag is at most a few of it.
    assert found == pytest.approx(model, rel=0, abs=2e-5 * level)
    assert found[0, 0] == pytest.approx(model[0, 0], rel=2e-5)


class Normal:
    """In place of a generator: normal draws whose deviates do not depend on the means."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def poisson(self, mean):
        return mean + np.sqrt(mean) * self.rng.standard_normal(mean.shape, np.float32)


def test_covariances_of_flats_have_no_bias():
    # The same noise with and without the effect: what is left of the errors is their change by the
    # effect. Moving the charge that was drawn, instead of what is expected, smooths the shot noise:
    # C00 is 4e-4 F too low at 20,000 electrons, C01 and C10 are 1e-4 and 8e-5 F too high.
    level, side = 20_000.0, 1000
    expected = np.full((side, side), level, np.float32)
    plain = np.zeros((2, 2))
    plain[0, 0] = level
    found = []
    for seed in range(24):
        images = (collect(expected, k, 0.0, Normal(seed)) for k in (KERNEL, 0 * KERNEL))
        # The outer boundaries of the image do not move.
        inner = (image[8:-8, 8:-8].astype(float) for image in images)
        with_effect, without = (covariances(image, 2) for image in inner)
        found.append((with_effect - without + plain) / level)
    error = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    bias = np.mean(found, axis=0) - astier(level, 0.0)[:2, :2] / level
    # Such biases are five standard errors or more.
    assert (error[[0, 0, 1], [0, 1, 0]] < np.array([4e-4, 1e-4, 8e-5]) / 5).all()
    # Five standard errors, themselves known to 15 % from 24 flats.
    assert (np.abs(bias) < 5 * 1.15 * error).all()


def test_charge_is_whole_and_not_negative_and_without_a_kernel_it_is_poisson():
    rng = np.random.default_rng(4)
    # Stars of up to ten million electrons in the dark, beyond what the model is meant for.
    expected = np.zeros((100, 80), np.float32)
    expected[rng.integers(0, 100, 200), rng.integers(0, 80, 200)] = 10 ** rng.uniform(0, 7, 200)
    collected = collect(expected, KERNEL, -1e-6, rng)
    assert (collected >= 0).all()
    assert (collected == np.round(collected)).all()
    total = expected.sum(dtype=float)
    assert collected.sum(dtype=float) == pytest.approx(total, abs=5 * np.sqrt(total))
    for mean in (0.3, 25_000.0):
        flat = collect(np.full((500, 500), mean, np.float32), 0 * KERNEL, 0.0, rng).astype(float)
        # The variance of a variance of Poisson numbers is (2 m**2 + m) / n.
        error = np.sqrt(2 * mean**2 + mean) / 500
        assert flat.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean) / 500)
        assert flat.var() == pytest.approx(mean, abs=5 * error)
        assert (flat == np.round(flat)).all()


def test_the_step_does_not_matter():
    level = 60_000.0
    expected = np.full((512, 512), level, np.float32)
    coarse, fine = (
        covariances(collect(expected, KERNEL, 0.0, stream("steps", n), steps=n), 1)[0, 0] / level
        for n in (6, 24)
    )
    assert coarse == pytest.approx(fine, abs=4 * np.sqrt(2 * 2 / 512**2))


def test_charge_is_conserved_and_flats_stay_flat():
    expected = np.full((300, 200), 40_000, np.float32)
    collected = collect(expected, KERNEL, -1e-6, stream("sum"))
    total = collected.sum(dtype=float)
    assert total == pytest.approx(40_000 * 60_000, abs=5 * np.sqrt(40_000 * 60_000))
    border = np.concatenate([collected[0], collected[-1], collected[:, 0], collected[:, -1]])
    assert border.mean() == pytest.approx(40_000, abs=5 * np.sqrt(40_000 / border.size))


def moments(image, half):
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    total = image.sum()
    return (image * x**2).sum() / total, (image * y**2).sum() / total


def test_second_moments_of_a_star_grow_as_the_kernel_says():
    half, sigma, peak = 24, 2.0, 60_000.0
    flux = peak * 2 * np.pi * (sigma**2 + 1 / 12)
    star = render(
        Catalogue(*(np.array([v]) for v in (half, half, flux))), sigma, (2 * half + 1,) * 2
    )
    images = [collect(star, KERNEL, 0.0, stream("star", i)).astype(float) for i in range(100)]
    grown = np.array([moments(image, half) for image in images])
    before = np.array(moments(star.astype(float), half))
    # First order: over the exposure the charge present averages half of the final one. The charge
    # that crosses a boundary moves by one pixel, from |x| to |x| + 1 or back.
    expected = star.astype(float)
    spectrum = np.fft.rfft2(np.pad(expected, 8)) * np.fft.rfft2(KERNEL, [2 * half + 17] * 2)
    potential = np.fft.irfft2(spectrum, [2 * half + 17] * 2)[16:, 16:] / 2
    growth = []
    for axis in (1, 0):
        shift = np.diff(potential, axis=axis)
        low, high = (np.take(expected, range(i, 2 * half + i), axis=axis) for i in (0, 1))
        moved = np.where(shift > 0, low, high) * shift
        position = np.arange(-half, half)
        change = (position + 1) ** 2 - position**2
        along = change[None, :] if axis == 1 else change[:, None]
        growth.append((moved * along).sum() / expected.sum())
    error = grown.std(axis=0) / np.sqrt(len(images))
    increase = grown.mean(axis=0) - before
    # Second order is the square of the peak's relative loss, about 2 %.
    assert increase == pytest.approx(growth, abs=(4 * error + 0.05 * np.array(growth)).max())
    assert (increase > 10 * error).all()
    assert growth[1] > growth[0], "boundaries along y shift more: a[0, 1] > a[1, 0]"
    loss = 1 - np.mean([image[half, half] for image in images]) / star[half, half]
    assert 0.01 < loss < 0.04
