import numpy as np
import pytest

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
