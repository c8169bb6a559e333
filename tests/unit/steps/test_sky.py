"""Sky frames, step by step: against whole frames in numpy, and the same for any rows."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import whole_frames as whole
import xarray as xr

from cpflow.errors import DataError, ProductError, RawError
from cpflow.kernels.planes import BAD, SAT
from cpflow.stack import Context, Failure, Frame
from cpflow.stack.geometry import split_array
from cpflow.steps.options import Sky
from cpflow.steps.sky import SKY_BINS, CombineBins, MeasureBins, MeasureSuperpixels, bins_of
from cpflow.steps.sky_levels import refine_levels, superpixel_weights
from cpflow.steps.sky_scale import (
    SKY_LEVELS,
    SUPERPIXELS,
    SkyLevel,
    Superpixels,
    focal_plane,
    focal_planes,
    solve_sky,
)
from cpflow.steps.sky_subtraction import (
    SKY,
    SKY_SCALE,
    MeasureSkyScale,
    SkyFrame,
    SubtractSky,
    fit_level,
    sky_frame,
)

ROWS, COLUMNS = 64, 80
# Two detectors side by side, 1.6 x 1.28 mm each, with a gap of 0.1 mm.
LEFT = whole.four_amplifiers(centre_mm=(-0.85, 0.0), reference_pixel=(79.5, 63.5))
RIGHT = whole.four_amplifiers(number=1, centre_mm=(0.85, 0.0), reference_pixel=(79.5, 63.5))
SHAPE = LEFT.shape
OPTIONS = Sky(superpixel_mm=1.0, bin_size=10, detection_sigma=1.5, background_bin_size=64)


def slope(detector):
    """A sky that changes linearly over the focal plane."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    x = (x - 79.5) * 0.01 + detector.centre_mm[0]
    y = (y - 63.5) * 0.01 + detector.centre_mm[1]
    return 1000 * (1 + 0.02 * x - 0.03 * y)


def image_of(detector, seed=0, noise=5.0, stars=True):
    rng = np.random.default_rng(seed + 100 * detector.id)
    image = slope(detector) + rng.normal(0, noise, SHAPE)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    if stars:
        for row, column in ((30, 40), (90, 120), (63, 79)):
            image += 500 * np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / 1.8**2)
    return image.astype(np.float32)


def frame(detector, image, mask=None, rows=range(ROWS), variance=25.0):
    def cut(plane):
        return None if plane is None else split_array(detector, plane, rows)

    planes = np.full(SHAPE, variance, np.float32)
    return Frame(cut(image), rows, cut(mask), cut(planes), trimmed=True)


def context(detector, measured=None, shared=None):
    return Context(detector, whole.exposure(), measured or {}, shared or {})


def objects_of(image, good, options):
    """Spec 4.10 step 1 in numpy: three turns of background and detection, then what is no sky."""
    known, background = good.copy(), np.zeros(SHAPE)
    variance = np.full(SHAPE, 25.0)
    for _ in range(options.detection_iterations):
        size = min(options.background_bin_size, 32)
        counts = tuple(-(-n // size) for n in SHAPE)
        values, _, _, centres = whole.bins(image - background, counts, known)
        background = background + whole.spline_through(values, centres, SHAPE)
        found, edge = whole.detected(
            image - background, variance, good, options.detection_sigma,
            options.detection_threshold, options.detection_grow,
        )  # fmt: skip
        known = good & ~found & ~edge
    size = min(options.replacement_bin_size, 16)
    values, _, _, centres = whole.bins(image, tuple(-(-n // size) for n in SHAPE), known)
    assert np.isfinite(values).all(), "no bin of this test is empty"
    filled = np.where(good & ~found, image, whole.spline_through(values, centres, SHAPE))
    return filled, known, edge


def superpixels_of(detector, filled, good, origin, size, shape):
    """Sums and counts of superpixels by the place of each pixel's centre in the focal plane."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    x = np.floor(((x - 79.5) * 0.01 + detector.centre_mm[0] - origin[0]) / size + 1.5 + 1e-9)
    y = np.floor(((y - 63.5) * 0.01 + detector.centre_mm[1] - origin[1]) / size + 1.5 + 1e-9)
    sums, counts = np.zeros(shape), np.zeros(shape)
    for j in range(shape[0]):
        for i in range(shape[1]):
            part = filled[(x == i) & (y == j) & good]
            if part.size:
                mean, _, n = whole.clipped_mean_of(part)
                sums[j, i], counts[j, i] = mean * n, n
    return sums, counts


def test_superpixels_agree_with_numpy():
    plane = focal_plane([LEFT, RIGHT], OPTIONS)
    # 3.3 x 1.28 mm: ceil(extent) + 2.
    assert plane.grid.shape == (4, 6)
    assert plane.full_count == pytest.approx(1e4)
    for detector in (LEFT, RIGHT):
        image = image_of(detector)
        mask = np.zeros(SHAPE, np.uint16)
        mask[100:104, 20:60] = BAD
        mask[63, 79] = SAT
        image[mask == BAD] = 6e4
        got = MeasureSuperpixels(OPTIONS, plane)(frame(detector, image, mask), context(detector))
        filled, known, edge = objects_of(image, mask == 0, OPTIONS)
        left_out = np.unpackbits(got.left_out, axis=-1, count=SHAPE[1]).astype(bool)
        np.testing.assert_array_equal(left_out, ~known)
        good = (mask == 0) & ~edge
        sums, counts = superpixels_of(detector, filled, good, (-1.65, -0.64), 1.0, (4, 6))
        np.testing.assert_array_equal(got.counts, counts)
        np.testing.assert_allclose(got.sums, sums, rtol=1e-6)


def measured(detector, plane, seed=0, image=None):
    image = image_of(detector, seed) if image is None else image
    found = MeasureSuperpixels(OPTIONS, plane)(frame(detector, image), context(detector))
    return {SUPERPIXELS: found}


def test_the_model_has_the_slope_of_the_sky_and_the_scale_its_level():
    plane = focal_plane([LEFT, RIGHT], OPTIONS)
    values = [
        [measured(d, plane, image=image_of(d, noise=0.01, stars=False))] for d in (LEFT, RIGHT)
    ]
    solved = solve_sky(plane, OPTIONS, [[7], [7]], values)[7]
    # The sky at the centres of superpixels, of which all but those around it are measured.
    y, x = np.mgrid[:4, :6]
    true = 1000 * (1 + 0.02 * (x - 1 - 1.65) - 0.03 * (y - 1 - 0.64))
    np.testing.assert_allclose(solved.levels, true, rtol=2e-4)
    assert solved.scale == pytest.approx(1000, rel=1e-2)
    off = OPTIONS.model_copy(update={"refinements": 0})
    plain = solve_sky(plane, off, [[7], [7]], values)[7]
    assert np.abs(plain.levels / true - 1).max() > 5e-3, "the reference's model is not the sky"


def test_exposures_that_failed_or_see_nothing_have_no_part():
    plane = focal_plane([LEFT, RIGHT], OPTIONS)
    good = measured(LEFT, plane)
    failed = {SUPERPIXELS: Failure(2, RawError("no"))}
    nothing = {SUPERPIXELS: Superpixels(np.zeros((4, 6)), np.zeros((4, 6), int), np.zeros(0, int))}
    solved = solve_sky(plane, OPTIONS, [[1, 2, 3], [1, 2, 3]], [[good, failed, nothing]] * 2)
    assert set(solved) == {1, 3}
    assert solved[3] is None
    part = good[SUPERPIXELS]
    seen = part.counts >= 0.1 * 1e4 / 2  # both detectors have it, so it counts twice
    assert solved[1].scale == pytest.approx(part.sums[seen].sum() / part.counts[seen].sum())
    filled = OPTIONS.model_copy(update={"scale_from": "filled"})
    other = solve_sky(plane, filled, [[1]], [[good]])[1]
    assert other.scale == pytest.approx(np.median(other.levels))


def test_weights_are_the_means_of_a_bilinear_model():
    plane = focal_plane([LEFT, RIGHT], OPTIONS)
    weights = superpixel_weights(plane.placements.values(), plane.grid)
    rng = np.random.default_rng(3)
    levels = rng.normal(0, 1, plane.grid.shape)
    sums, counts = np.zeros((2, *plane.grid.shape))
    for placed in plane.placements.values():
        y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
        at = plane.grid.to_grid(placed.to_focal_plane(np.stack([x, y], axis=-1))).reshape(-1, 2)
        for u, v in at:
            i, j = int(u), int(v)
            a, b = u - i, v - j
            value = (1 - b) * ((1 - a) * levels[j, i] + a * levels[j, i + 1]) + b * (
                (1 - a) * levels[j + 1, i] + a * levels[j + 1, i + 1]
            )
            cell = int(v + 0.5 + 1e-9), int(u + 0.5 + 1e-9)
            sums[cell] += value
            counts[cell] += 1
    seen = counts > 0
    expected = sums[seen] / counts[seen]
    np.testing.assert_allclose((weights @ levels.ravel()).reshape(sums.shape)[seen], expected)
    # The levels come back from the means: a twist of a quarter covered is the slowest, 0.75^n.
    means = np.where(seen, (weights @ np.ones(weights.shape[0])).reshape(sums.shape), np.nan)
    np.testing.assert_allclose(refine_levels(means, weights, "LINEAR", 20), 1, rtol=1e-12)


def test_bins_agree_with_numpy():
    plane = focal_plane([LEFT], OPTIONS)
    image = image_of(LEFT)
    found = measured(LEFT, plane, image=image)
    solved = solve_sky(plane, OPTIONS, [[1]], [[found]])
    got = MeasureBins(OPTIONS, plane)(
        frame(LEFT, image), context(LEFT, found, {SKY_LEVELS: solved})
    )
    assert got.shape == bins_of(SHAPE, 10) == (13, 16)
    # The model at the centres of 2 x 3 bins, bilinear, and linear between and beyond them.
    levels, counts = solved[1].levels, (2, 3)
    centres = [(np.array(e[1:]) + e[:-1]) / 2 - 0.5 for e in map(whole.edges, SHAPE, counts)]
    coarse = np.empty(counts)
    for j, y in enumerate((centres[0] - 63.5) * 0.01 + 0.64 + 1):
        for i, x in enumerate((centres[1] - 79.5) * 0.01 + 0.8 + 1):
            a, b = x - int(x), y - int(y)
            box = levels[int(y) : int(y) + 2, int(x) : int(x) + 2]
            coarse[j, i] = np.array([1 - b, b]) @ box @ np.array([1 - a, a])
    rows = np.stack([np.interp(np.arange(160), centres[1], line) for line in coarse])
    inside = slice(int(centres[1][0]) + 1, int(centres[1][-1]))
    slope_y = (rows[1] - rows[0]) / (centres[0][1] - centres[0][0])
    model = rows[0] + (np.arange(128)[:, None] - centres[0][0]) * slope_y
    left = np.unpackbits(found[SUPERPIXELS].left_out, axis=-1, count=160).astype(bool)
    rest = (image - model) / solved[1].scale
    expected, _, pixels, _ = whole.bins(rest, (13, 16), ~left)
    expected[pixels < 0.1 * 10 * 10] = np.nan
    columns = slice(-(-inside.start // 10), inside.stop // 10)
    assert np.isfinite(expected).mean() > 0.5
    # float32 pixels of 1 are rounded to 6e-8 before the model is taken off.
    np.testing.assert_allclose(got[:, columns], expected[:, columns], atol=2e-6)


def test_an_exposure_without_a_level_cannot_be_used():
    plane = focal_plane([LEFT], OPTIONS)
    found = measured(LEFT, plane)
    dark = SkyLevel(np.zeros(plane.grid.shape), 0.0)
    for solved in ({1: None}, {}, {1: dark}):
        with pytest.raises(RawError, match="level of its sky cannot be told"):
            MeasureBins(OPTIONS, plane)(
                frame(LEFT, image_of(LEFT)), context(LEFT, found, {SKY_LEVELS: solved})
            )
    blind = frame(LEFT, image_of(LEFT), np.full(SHAPE, BAD, np.uint16))
    with pytest.raises(RawError, match="cannot be told from objects"):
        MeasureSuperpixels(OPTIONS, plane)(blind, context(LEFT))


def test_the_mean_of_bins_ignores_empty_ones_and_fills_what_is_left():
    rng = np.random.default_rng(5)
    stack = rng.normal(0, 0.01, (9, 4, 5)).astype(np.float32)
    stack[2, 1, 1] = 5.0
    stack[:4, 0, 0] = np.nan
    stack[:, 3, 3] = np.nan
    stack[1:, 2, 2] = np.nan
    values = [{SKY_BINS: bins} for bins in stack]
    values.insert(3, None)
    got = {n: CombineBins(OPTIONS, n)(values, [], {}) for n in ("sky", "variance", "n_used")}
    with np.errstate(all="ignore"):
        mean, variance, used = reference.clipped_mean(stack)
    known = np.isfinite(mean)
    assert not known[3, 3]
    assert used[1, 1] == 8
    np.testing.assert_array_equal(got["n_used"], np.where(known, used, 0))
    np.testing.assert_allclose(got["sky"][known], mean[known], rtol=1e-6)
    assert got["sky"][3, 3] == np.median(got["sky"][known])
    several = used > 1
    np.testing.assert_allclose(got["variance"][several], variance[several], rtol=1e-5)
    assert np.isfinite(got["variance"]).all()
    with pytest.raises(DataError, match="objects leave nothing"):
        CombineBins(OPTIONS, "sky")([{SKY_BINS: np.full((2, 2), np.nan, np.float32)}], [], {})


def test_small_cameras_and_those_without_sizes_have_superpixels_as_large_as_they_are():
    small = focal_plane([LEFT], Sky())
    assert small.grid.shape == (3, 3)
    np.testing.assert_allclose(small.grid.size, [1.6, 1.28])
    assert small.full_count == pytest.approx(160 * 128)
    unknown = whole.four_amplifiers(pixel_size_mm=0.0)
    without = focal_plane([unknown], Sky())
    assert without.grid.shape == (3, 3)
    np.testing.assert_allclose(without.grid.size, [160, 128])
    assert without.full_count == pytest.approx(160 * 128)
    other = whole.four_amplifiers(number=1, pixel_size_mm=0.0)
    assert focal_planes([unknown, other], Sky()) == [(0,), (1,)]
    assert focal_planes([LEFT, RIGHT], Sky()) == [(0, 1)]
    red = whole.four_amplifiers(number=2, type="E2V")
    assert focal_planes([LEFT, RIGHT, red], Sky(by_type=True)) == [(0, 1), (2,)]


def product(values):
    sky = xr.DataArray(
        values.astype(np.float32), dims=("bin_y", "bin_x"),
        attrs={"units": "1", "rows": SHAPE[0], "columns": SHAPE[1], "bin_size": 10},
    )  # fmt: skip
    return xr.Dataset({"sky": sky})


def test_subtraction_agrees_with_numpy_and_does_not_depend_on_rows():
    rng = np.random.default_rng(6)
    bins = rng.normal(0, 0.02, (13, 16)).astype(np.float32)
    known = sky_frame(product(bins))
    image = (image_of(LEFT) / slope(LEFT) * 900).astype(np.float32)
    where = context(LEFT, {}, {SKY: known})
    scale = MeasureSkyScale()(frame(LEFT, image), where)
    centres = [(np.array(e[1:]) + e[:-1]) / 2 - 0.5 for e in map(whole.edges, SHAPE, bins.shape)]
    model = whole.spline_through(bins.astype(float), centres, SHAPE)
    boxes, _, _, _ = whole.bins(image, (4, 4), np.ones(SHAPE, bool))
    means = 1 + model.reshape(4, 32, 4, 40).mean(axis=(1, 3))
    y, x = boxes.ravel(), means.ravel()
    for _ in range(3):
        residual = y - x * (x @ y) / (x @ x)
        low, middle, high = np.percentile(residual, [25, 50, 75])
        keep = np.abs(residual - middle) <= 3 * 0.741301109252802 * (high - low)
        y, x = y[keep], x[keep]
    assert scale == pytest.approx((x @ y) / (x @ x), rel=1e-6)
    where = context(LEFT, {SKY_SCALE: scale}, {SKY: known})
    out = SubtractSky()(frame(LEFT, image), where)
    expected = split_array(LEFT, image - scale * model, range(ROWS))
    np.testing.assert_allclose(out.image, expected, rtol=1e-6)
    for first, stop in ((0, 1), (1, 33), (33, 64)):
        part = SubtractSky()(frame(LEFT, image, rows=range(first, stop)), where)
        np.testing.assert_array_equal(part.image, out.image[:, first:stop])


def test_the_structure_goes_and_the_level_stays():
    bins = np.outer(np.linspace(-0.03, 0.03, 13), np.ones(16))
    known = SkyFrame(bins, SHAPE)
    image = (500 * (1 + known.evaluate())).astype(np.float32)
    scale = MeasureSkyScale()(frame(LEFT, image), context(LEFT, {}, {SKY: known}))
    assert scale == pytest.approx(500, rel=1e-5)
    out = SubtractSky()(frame(LEFT, image), context(LEFT, {SKY_SCALE: scale}, {SKY: known}))
    np.testing.assert_allclose(out.image, 500, rtol=1e-5)


def test_without_a_sky_frame_nothing_happens_and_a_wrong_one_is_refused():
    image = image_of(LEFT)
    assert MeasureSkyScale()(frame(LEFT, image), context(LEFT)) == 0
    out = SubtractSky()(frame(LEFT, image), context(LEFT, {SKY_SCALE: 0.0}))
    np.testing.assert_array_equal(out.image, frame(LEFT, image).image)
    other = SkyFrame(np.zeros((2, 2)), (10, 10))
    with pytest.raises(ProductError, match="sky frame is for"):
        MeasureSkyScale()(frame(LEFT, image), context(LEFT, {}, {SKY: other}))
    known = SkyFrame(np.zeros((13, 16)), SHAPE)
    full = frame(LEFT, image, np.full(SHAPE, SAT, np.uint16))
    with pytest.raises(RawError, match="too few pixels"):
        MeasureSkyScale()(full, context(LEFT, {}, {SKY: known}))


def test_a_level_is_fitted_without_outliers():
    model = np.array([1.0, 1.1, 0.9, 1.05, 0.95, 1.0, np.nan])
    samples = 200 * model + np.array([0.1, -0.1, 0.1, -0.1, 0.1, 50.0, 0])
    # The five good ones are off by 0.1 at most.
    assert fit_level(samples, model) == pytest.approx(200, abs=0.1)
    assert fit_level(np.array([3.0]), np.array([1.5])) == 2.0
    assert fit_level(np.array([5.0, 5.0]), np.array([1.0, 1.0])) == 5.0
    assert np.isnan(fit_level(np.array([np.nan]), np.array([1.0])))
