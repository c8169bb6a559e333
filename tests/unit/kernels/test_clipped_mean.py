"""The clipped mean against the reference's output, exact arithmetic, and its own promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cpflow.kernels.clipped_mean import Combined, clipped_mean
from cpflow.kernels.planes import BAD, CR, INTRP, NO_DATA, SAT

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "clipped_mean_afw.npz"
CASES = sorted(name[4:] for name in np.load(GOLDEN).files if name.startswith("in__"))
FACTOR = Fraction(0.741301109252802)


def rule(values, clip=3.0, passes=3):
    """Spec 3.3 in numpy, float64, one pixel at a time: mean, variance of the mean, kept."""
    x = np.asarray(values, np.float64)
    good = np.isfinite(x)
    n = int(good.sum())
    if n == 0:
        return np.nan, np.nan, good
    q25, centre, q75 = np.percentile(x[good], [25, 50, 75])
    width = clip * 0.741301109252802 * (q75 - q25)
    for turn in range(passes):
        if turn > 0:
            centre, width = mean, clip * stdev if m > 1 else 0.0  # noqa: F821
        keep = good & (np.abs(np.where(good, x, 0) - centre) <= width)
        m = int(keep.sum())
        mean = x[keep].mean() if m else np.nan
        stdev = x[keep].std(ddof=1) if m > 1 else np.nan
    return mean, stdev**2 / m if m else np.nan, keep


def exact_rule(values, clip=3, passes=3):
    """The same in rational numbers, without any rounding: mean, sample variance, kept, margin.

    Squares are compared instead of square roots. The margin is the smallest relative distance of a
    value from the edge of an interval: where it is zero, rounding may decide.
    """
    x = sorted(Fraction(float(v)) for v in values)
    n = len(x)

    def quantile(fraction):
        position = fraction * (n - 1)
        rank = position.numerator // position.denominator
        low, high = x[rank], x[min(rank + 1, n - 1)]
        return low + (high - low) * (position - rank)

    centre = quantile(Fraction(1, 2))
    square = (clip * FACTOR * (quantile(Fraction(3, 4)) - quantile(Fraction(1, 4)))) ** 2
    margin = Fraction(1)
    for turn in range(passes):
        if turn > 0:
            centre, square = mean, clip**2 * variance if m > 1 else Fraction(0)  # noqa: F821
        for v in x:
            apart = (v - centre) ** 2
            if square and apart:
                margin = min(margin, abs(apart - square) / square)
        kept = [v for v in x if (v - centre) ** 2 <= square]
        m = len(kept)
        if m == 0:
            return None, None, 0, margin
        mean = sum(kept, Fraction(0)) / m
        variance = sum(((v - mean) ** 2 for v in kept), Fraction(0)) / (m - 1) if m > 1 else None
    return mean, variance, m, margin


def as_pixels(values) -> np.ndarray:
    return np.asarray(values, np.float32).reshape(-1, 1)


def identical(a: Combined, b: Combined) -> None:
    for name in ("image", "variance", "mask", "good", "used"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def close_to_float64(got, exact, values) -> None:
    """Allow the rounding of the result to float32, half a step, and that of float64 sums.

    A sum of n numbers of size d, in float64, is wrong by less than n*d*2**-53 each step; 1e-12 of
    the largest value is more than that for n < 1000.
    """
    step = float(np.spacing(np.float32(abs(exact))))
    assert abs(float(got) - float(exact)) <= 0.5 * step + 1e-12 * np.abs(values).max()


@pytest.mark.parametrize("case", CASES)
def test_reference_output(case: str) -> None:
    """27 stacks and what the reference library made of them: its decisions, and 4 ulp."""
    data = np.load(GOLDEN)
    stack, image, variance = (data[f"{part}__{case}"] for part in ("in", "out", "var"))
    ours = clipped_mean(stack)
    np.testing.assert_array_equal(np.isnan(ours.image), np.isnan(image))
    # 4 ulp of float32: the agreed limit, for the reference rounds its intermediate results.
    np.testing.assert_array_max_ulp(ours.image, image, 4)
    # Where one valid sample leaves the reference without a variance, ours has none either, unless
    # it is given the inputs'.
    np.testing.assert_array_equal(np.isnan(ours.variance), np.isnan(variance))
    known = np.isfinite(variance)
    np.testing.assert_array_max_ulp(ours.variance[known], variance[known], 4)


@pytest.mark.parametrize(
    ("values", "mean", "stdev", "variance"),
    [
        ([10, 11, 12, 13, 100], 11.5, 1.29099445, 0.41666667),
        ([*range(10, 19), 60, 61], 14.0, 2.73861279, 0.83333333),
        ([0, 0, 0, 0, 1], 0, 0, 0),
        ([1, 2], 1.5, 0.70710678, 0.25),
        ([1, 2, 3, np.nan, 4, 1000], 2.5, 1.29099445, 0.41666667),
        (
            [9.5, 10.1, 9.9, 10.3, 10, 9.8, 10.2, 14, 9.7, 10.4, 3, 10.05],
            9.995,
            0.27733853,
            0.00769167,
        ),
    ],
)
def test_vectors_of_the_specification(values, mean, stdev, variance) -> None:
    """Spec 3.3, printed with 8 digits: half a unit of the last one, and a float32 step."""
    ours = clipped_mean(as_pixels(values))
    assert ours.image[0] == pytest.approx(mean, abs=5e-9, rel=6e-8)
    assert ours.variance[0] == pytest.approx(variance, abs=5e-9, rel=6e-8)
    assert np.sqrt(ours.variance[0] * ours.used[0]) == pytest.approx(stdev, abs=5e-9, rel=6e-8)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 19, 20, 21, 33, 50, 64, 101, 310])
@pytest.mark.parametrize("kind", ["clean", "hits", "masked", "counts", "wide"])
def test_every_pixel_follows_the_rule(n: int, kind: str) -> None:
    rng = np.random.default_rng(n)
    stack = rng.normal(1000, 5, (n, 150)).astype(np.float32)
    if kind == "hits":
        stack[rng.random(stack.shape) < 0.1] += 300
        stack[rng.random(stack.shape) < 0.1] -= 1e6
    elif kind == "masked":
        stack[rng.random(stack.shape) < 0.4] = np.nan
        stack[rng.random(stack.shape) < 0.05] = np.inf
    elif kind == "counts":
        stack = np.round(stack / 4).astype(np.float32)
    elif kind == "wide":
        stack = np.float32(10) ** rng.uniform(-30, 30, stack.shape).astype(np.float32)
    ours = clipped_mean(stack)
    for pixel in range(stack.shape[1]):
        mean, variance, kept = rule(stack[:, pixel])
        assert ours.used[pixel] == kept.sum()
        assert ours.good[pixel] == np.isfinite(stack[:, pixel]).sum()
        if np.isnan(mean):
            assert np.isnan(ours.image[pixel])
            continue
        close_to_float64(ours.image[pixel], mean, stack[kept, pixel])
        if kept.sum() > 1 and variance < 1e38:
            # Squares: twice the relative error, from the same sums.
            assert ours.variance[pixel] == pytest.approx(variance, rel=1.2e-7)
        elif kept.sum() <= 1:
            assert np.isnan(ours.variance[pixel])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(-40, 40), min_size=1, max_size=30),
    st.sampled_from([3.0, 2.0, 1.0, 0.5]),
    st.integers(1, 4),
)
def test_decisions_are_those_of_exact_arithmetic(values, clip, passes) -> None:
    """Small integers, full of ties, and narrow intervals, which can drop the median itself."""
    mean, variance, kept, margin = exact_rule(values, Fraction(clip), passes)
    assume(margin > Fraction(1, 10**12))
    ours = clipped_mean(as_pixels(values), clip=clip, iterations=passes)
    assert ours.used[0] == kept
    if kept == 0:
        assert np.isnan(ours.image[0])
        return
    close_to_float64(ours.image[0], mean, np.abs(values))
    if kept > 1:
        # n*2**-53 of the squares, and the rounding to float32.
        assert float(ours.variance[0]) == pytest.approx(float(variance / kept), rel=1e-7, abs=1e-12)


def test_survivors_far_from_the_median_keep_their_digits() -> None:
    """Pass 1 keeps three zeros, the median among them, and pass 2 only what is far away.

    Around the median the sums of squares, 1.4e15, lose what is below a tenth, and 100 is what
    they differ by.
    """
    far = [12_345_677.0 + i for i in (0, 1, 3, 4, 6, 7, 7, 8, 11)]
    values = [-1.2 * far[0]] * 7 + [0.0] * 3 + far
    mean, variance, kept, _ = exact_rule(values, Fraction(0.7), 2)
    assert kept == 9
    around_zero = (np.sum(np.square(far)) - np.sum(far) * (np.sum(far) / 9)) / 8
    assert around_zero != pytest.approx(float(variance), rel=1e-4)
    ours = clipped_mean(as_pixels(values), clip=0.7, iterations=2)
    assert ours.used[0] == 9
    assert ours.image[0] == np.float32(float(mean))
    assert ours.variance[0] == np.float32(float(variance / 9))


stacks = st.tuples(st.integers(1, 40), st.integers(1, 300), st.integers(0, 2**32 - 1))


def random_stack(n: int, pixels: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    stack = rng.normal(0, 3, (n, pixels)).astype(np.float32)
    stack[rng.random(stack.shape) < 0.03] += 1000
    stack[rng.random(stack.shape) < 0.01 * (seed % 3)] = np.nan
    mask = rng.choice([0, SAT, CR, BAD, CR | INTRP], stack.shape, p=[0.9, *[0.025] * 4])
    return stack, mask.astype(np.uint16), rng.uniform(1, 2, stack.shape).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(stacks, st.randoms(use_true_random=False))
def test_the_order_of_exposures_does_not_matter(shape, random) -> None:
    stack, mask, _ = random_stack(*shape)
    order = list(range(len(stack)))
    random.shuffle(order)
    identical(
        clipped_mean(stack, mask, excluded=CR),
        clipped_mean(stack[order], mask[order], excluded=CR),
    )


@settings(max_examples=40, deadline=None)
@given(stacks, st.data())
def test_chunks_do_not_matter(shape, data) -> None:
    """Any piece of the stack, on any boundary, gives the same bits as the whole."""
    stack, mask, variance = random_stack(*shape)
    first = data.draw(st.integers(0, stack.shape[1] - 1))
    piece = slice(first, data.draw(st.integers(first + 1, stack.shape[1])))
    whole = clipped_mean(stack, mask, excluded=CR, variance=variance)
    part = clipped_mean(stack[:, piece], mask[:, piece], excluded=CR, variance=variance[:, piece])
    for name in ("image", "variance", "mask", "good", "used"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[piece])


def test_neighbours_do_not_matter() -> None:
    """A block with outliers and masked pixels takes other code than a clean one: the same bits."""
    rng = np.random.default_rng(8)
    for n in (5, 12, 25, 60):
        clean = rng.normal(100, 3, (n, 256)).astype(np.float32)
        alone = clipped_mean(clean)
        for column in (0, 77, 255):
            disturbed = clean.copy()
            disturbed[: n // 2, column] = np.nan
            disturbed[n // 2 :, (column + 1) % 256] = 1e9
            mixed = clipped_mean(disturbed)
            same = np.ones(256, bool)
            same[[column, (column + 1) % 256]] = False
            for name in ("image", "variance", "used", "good"):
                np.testing.assert_array_equal(
                    getattr(mixed, name)[same], getattr(alone, name)[same]
                )


def test_shape_and_memory_order_do_not_matter() -> None:
    stack, mask, _ = random_stack(9, 240, 4)
    flat = clipped_mean(stack, mask, excluded=CR)
    cube = clipped_mean(stack.reshape(9, 2, 12, 10), mask.reshape(9, 2, 12, 10), excluded=CR)
    assert cube.image.shape == (2, 12, 10)
    np.testing.assert_array_equal(cube.image.ravel(), flat.image)
    identical(clipped_mean(np.asfortranarray(stack), np.asfortranarray(mask), excluded=CR), flat)
    identical(clipped_mean(stack.astype(np.float64), mask, excluded=CR), flat)
    single = clipped_mean(stack[:, 7], mask[:, 7], excluded=CR)
    assert single.image.shape == ()
    assert single.image[()] == flat.image[7]


def test_threads_do_not_matter() -> None:
    stack, mask, _ = random_stack(20, 4000, 6)
    whole = clipped_mean(stack, mask, excluded=CR)
    pieces = [slice(i, i + 500) for i in range(0, 4000, 500)]
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda p: clipped_mean(stack[:, p], mask[:, p], excluded=CR), pieces))
    np.testing.assert_array_equal(np.concatenate([p.image for p in parts]), whole.image)


@settings(max_examples=30, deadline=None)
@given(stacks)
def test_an_excluded_pixel_is_as_good_as_a_nan(shape) -> None:
    stack, mask, _ = random_stack(*shape)
    excluded = clipped_mean(stack, mask, excluded=CR | SAT)
    without = clipped_mean(np.where(mask & (CR | SAT), np.nan, stack))
    for name in ("image", "variance", "good", "used"):
        np.testing.assert_array_equal(getattr(excluded, name), getattr(without, name))


def test_the_mask_is_that_of_all_good_inputs() -> None:
    """Clipped inputs count, excluded and infinite ones do not; no good input says so."""
    stack = np.array([[1, 1, 1], [2, 2, np.nan], [3, 3, 3], [2, 2, 2], [900, 2, 2]], np.float32)
    mask = np.zeros(stack.shape, np.uint16)
    mask[4, 0] = SAT  # clipped
    mask[1, 1] = CR | INTRP  # excluded
    mask[1, 2] = SAT  # not finite
    mask[:, 2] |= np.uint16(BAD)
    ours = clipped_mean(stack, mask, excluded=CR)
    assert ours.used[0] == 4
    np.testing.assert_array_equal(ours.mask, [SAT, 0, BAD])
    none = clipped_mean(stack, np.full_like(mask, CR | SAT), excluded=CR, no_good_pixels=NO_DATA)
    assert np.all(np.isnan(none.image))
    assert np.all(np.isnan(none.variance))
    np.testing.assert_array_equal(none.mask, NO_DATA)
    np.testing.assert_array_equal(none.good, 0)
    np.testing.assert_array_equal(none.used, 0)


def test_a_scale_is_a_float32_reciprocal() -> None:
    """Spec 2.1: pixels are multiplied by float32(1/s)."""
    stack, mask, _ = random_stack(12, 200, 3)
    scale = np.random.default_rng(1).uniform(0.1, 900, 12)
    factor = (1 / scale).astype(np.float32)
    identical(
        clipped_mean(stack, mask, excluded=CR, scale=scale),
        clipped_mean(stack * factor[:, None], mask, excluded=CR),
    )


def test_a_power_of_two_scales_every_bit() -> None:
    stack, _, _ = random_stack(15, 200, 5)
    once, twice = clipped_mean(stack), clipped_mean(stack, scale=np.full(15, 0.5))
    np.testing.assert_array_equal(twice.image, 2 * once.image)
    np.testing.assert_array_equal(twice.variance, 4 * once.variance)
    np.testing.assert_array_equal(twice.used, once.used)


def test_few_exposures_take_the_input_variance() -> None:
    """Spec 3.3: the sum over survivors, over m squared, if there are fewer than 5; strictly."""
    rng = np.random.default_rng(2)
    scale = np.array([1.0, 2.0, 4.0, 0.5, 1.0])
    stack = (rng.normal(50, 2, (5, 300)) * scale[:, None]).astype(np.float32)
    variance = rng.uniform(1, 9, stack.shape).astype(np.float32)
    few = clipped_mean(stack[:4], variance=variance[:4], scale=scale[:4])
    scaled = stack[:4] * (1 / scale[:4]).astype(np.float32)[:, None]
    clipped = 0
    for pixel in range(300):
        *_, kept = rule(scaled[:, pixel])
        wanted = sum(variance[i, pixel] / scale[i] ** 2 for i in range(4) if kept[i])
        assert few.variance[pixel] == pytest.approx(wanted / kept.sum() ** 2, rel=1.2e-7)
        clipped += kept.sum() < 4
    assert clipped > 10
    np.testing.assert_array_equal(
        clipped_mean(stack, variance=variance).variance, clipped_mean(stack).variance
    )
    more = clipped_mean(stack, variance=variance, input_variance_below=6)
    assert np.all(more.variance != clipped_mean(stack).variance)


def test_one_good_input_keeps_its_value_and_variance() -> None:
    stack = np.full((6, 3), np.nan, np.float32)
    stack[2] = [7.5, 0.0, -3.25]
    without = clipped_mean(stack)
    np.testing.assert_array_equal(without.image, stack[2])
    assert np.all(np.isnan(without.variance))
    np.testing.assert_array_equal(without.good, 1)
    np.testing.assert_array_equal(without.used, 1)
    variance = np.arange(18, dtype=np.float32).reshape(6, 3)
    given = clipped_mean(stack, variance=variance, scale=np.full(6, 2.0))
    np.testing.assert_array_equal(given.variance, variance[2] / 4)
    np.testing.assert_array_equal(given.image, stack[2] / 2)


def test_thousands_of_exposures() -> None:
    stack = np.random.default_rng(3).normal(10, 2, (3001, 70)).astype(np.float32)
    stack[::7, 5] += 100
    ours = clipped_mean(stack)
    for pixel in range(0, 70, 5):
        mean, _, kept = rule(stack[:, pixel])
        assert ours.used[pixel] == kept.sum()
        close_to_float64(ours.image[pixel], mean, stack[kept, pixel])


def test_no_pixels() -> None:
    assert clipped_mean(np.empty((4, 0, 7), np.float32)).image.shape == (0, 7)


def test_the_stack_is_left_alone() -> None:
    stack, mask, variance = random_stack(7, 500, 9)
    before = stack.copy(), mask.copy(), variance.copy()
    clipped_mean(stack, mask, excluded=CR, variance=variance, scale=np.full(7, 3.0))
    for array, copy in zip((stack, mask, variance), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stack": np.empty((0, 5))}, "no exposures"),
        ({"mask": np.zeros((3, 4), np.uint16)}, "mask has shape"),
        ({"variance": np.zeros((2, 5))}, "variance has shape"),
        ({"scale": [1, 2]}, "3 finite numbers"),
        ({"scale": [1, 0, 2]}, "3 finite numbers"),
        ({"scale": [1, np.nan, 2]}, "3 finite numbers"),
        ({"clip": -1.0}, "negative"),
        ({"clip": np.nan}, "negative"),
        ({"iterations": -1}, "negative"),
        ({"stack": np.zeros((65536, 1), np.float32)}, "16 bits"),
    ],
)
def test_nonsense_is_refused(change, message) -> None:
    arguments = {"stack": np.zeros((3, 5), np.float32), **change}
    with pytest.raises(ValueError, match=message):
        clipped_mean(**arguments)
