"""Fringe frames, step by step: against whole frames in numpy, and the same for any rows."""

from __future__ import annotations

import numpy as np
import pytest
import whole_frames as whole

from cpflow.errors import ConfigurationError, RawError
from cpflow.kernels.planes import BAD, DETECTED, EDGE, NO_DATA
from cpflow.stack import Context, Failure, Frame, Planes
from cpflow.stack.geometry import assemble_array, split_array
from cpflow.steps.fringe_pattern import (
    FIRST_PATTERN,
    OBJECTS,
    SMOOTH_SKY,
    FindObjects,
    FlattenSky,
    MeasureSmoothSky,
    combine_fringes,
    less_one,
    sky_levels,
)
from cpflow.steps.options import Combine, FringePattern

DETECTOR = whole.four_amplifiers()
SHAPE, ROWS = DETECTOR.shape, range(64)
OPTIONS = FringePattern(bin_size=20, degree=3)
STARS = ((30, 40), (90, 120), (63, 79))


def sky(seed=0, level=1000.0, amplitude=0.0, stars=STARS, noise=10.0):
    """A sloping sky with fringes and stars, its variance, and the fringes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    fringes = np.cos(2 * np.pi * (x + 0.5 * y) / 9)
    image = level * (1 + 0.02 * (x / 80 - 1) + amplitude * fringes)
    for row, column in stars:
        image += 400 * np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / 1.8**2)
    image = (image + rng.normal(0, noise, SHAPE)).astype(np.float32)
    return image, np.full(SHAPE, noise**2, np.float32), fringes


def frame(image, variance=None, mask=None, rows=ROWS):
    def cut(plane):
        return None if plane is None else split_array(DETECTOR, plane, rows)

    return Frame(cut(image), rows, cut(mask), cut(variance), trimmed=True)


def context(measured=None, first=None):
    shared = {}
    if first is not None:
        shared[FIRST_PATTERN] = Planes(split_array(DETECTOR, first, ROWS), ROWS)
    return Context(DETECTOR, whole.exposure(), measured or {}, shared)


def found_in(image, variance, mask=None, first=None, options=OPTIONS):
    smooth = MeasureSmoothSky(options)(frame(image, variance, mask), context())
    where = context({SMOOTH_SKY: smooth}, first)
    return smooth, FindObjects(options)(frame(image, variance, mask), where)


def unpacked(found):
    bits = np.unpackbits(found.detected, axis=-1, count=80).astype(bool)
    return assemble_array(DETECTOR, bits)


def test_level_background_and_objects_agree_with_numpy():
    image, variance, _ = sky()
    mask = np.zeros(SHAPE, np.uint16)
    mask[10:14, 20:60] = BAD
    image[10:14, 20:60] = 5e4
    good = mask == 0
    smooth, found = found_in(image, variance, mask)
    level, _, _ = whole.clipped_mean_of(image[good])
    assert smooth.level == pytest.approx(level, rel=1e-6)
    surface = whole.chebyshev_surface(image, good, 20, 3)
    # Both solve the same least squares in float64; the surface comes as float32.
    np.testing.assert_allclose(smooth.surface.evaluate(), surface, rtol=1e-6)
    expected, _ = whole.detected(image - surface, variance, good, 1.0, 5.0, 2.4)
    np.testing.assert_array_equal(unpacked(found), expected)
    for row, column in STARS:
        assert unpacked(found)[row, column]


def test_flat_frames_agree_with_numpy_and_do_not_depend_on_rows():
    image, variance, _ = sky(amplitude=0.01)
    smooth, found = found_in(image, variance)
    surface = whole.chebyshev_surface(image, np.ones(SHAPE, bool), 20, 3)
    where = context({SMOOTH_SKY: smooth, OBJECTS: found})
    out = FlattenSky()(frame(image, variance), where)
    flat = assemble_array(DETECTOR, out.image)
    np.testing.assert_allclose(flat, image - surface + smooth.level, rtol=1e-6)
    np.testing.assert_array_equal(assemble_array(DETECTOR, out.variance), variance)
    objects, edge = whole.detected(image - surface, variance, surface > 0, 1.0, 5.0, 2.4)
    mask = assemble_array(DETECTOR, out.mask)
    np.testing.assert_array_equal((mask & DETECTED) != 0, objects)
    np.testing.assert_array_equal((mask & EDGE) != 0, edge)
    for first, stop in ((0, 1), (1, 30), (30, 64)):
        part = FlattenSky()(frame(image, variance, rows=range(first, stop)), where)
        np.testing.assert_array_equal(part.image, out.image[:, first:stop])
        np.testing.assert_array_equal(part.writable_mask(), out.mask[:, first:stop])


def test_strong_fringes_are_objects_for_the_reference_and_none_over_a_first_pattern():
    image, variance, fringes = sky(amplitude=0.1, stars=STARS[:1])
    _, alone = found_in(image, variance)
    assert unpacked(alone).mean() > 0.3
    first = (1 + 0.1 * fringes).astype(np.float32)
    first[5, 5] = np.nan
    _, over = found_in(image, variance, first=first)
    assert unpacked(over).mean() < 0.03
    assert unpacked(over)[STARS[0]]
    # The background is fitted again without them: fringes do not show in it.
    x = np.arange(SHAPE[1])
    slope = 1000 * (1 + 0.02 * (x / 80 - 1))
    # 63 bins and 10 terms: 10 of sky noise over 400 pixels of a bin, a few times more at corners.
    assert np.abs(over.surface.evaluate() - slope).max() < 5 * 10 / np.sqrt(400) * 3


def test_a_star_in_all_exposures_stays_an_object():
    image, variance, _ = sky(amplitude=0.05)
    stars, _, _ = sky(amplitude=0.05, noise=0.0)
    first = (stars / np.median(stars)).astype(np.float32)
    assert first.max() > 1.3
    _, over = found_in(image, variance, first=first)
    for row, column in STARS:
        assert unpacked(over)[row, column]


def test_a_first_pattern_without_any_data_changes_nothing():
    image, variance, _ = sky()
    _, plain = found_in(image, variance)
    _, over = found_in(image, variance, first=np.full(SHAPE, np.nan, np.float32))
    np.testing.assert_array_equal(over.detected, plain.detected)


def test_exposures_without_a_sky_are_refused():
    image, variance, _ = sky()
    measure = MeasureSmoothSky(OPTIONS)
    with pytest.raises(RawError, match="no pixel is usable"):
        measure(frame(image, variance, np.full(SHAPE, BAD, np.uint16)), context())
    with pytest.raises(RawError, match="no light"):
        measure(frame(image - image.mean(), variance), context())
    edge = np.full(SHAPE, EDGE, np.uint16)
    with pytest.raises(RawError, match="background cannot be fitted"):
        measure(frame(image, variance, edge), context())


def test_levels_leave_out_exposures_that_failed():
    image, variance, _ = sky()
    smooth, _ = found_in(image, variance)
    failure = Failure(2, RawError("no"))
    levels = sky_levels([1, 2], [{SMOOTH_SKY: smooth}, {SMOOTH_SKY: failure}])
    assert levels == {1: smooth.level}


def test_the_sky_itself_is_taken_off_where_there_is_any():
    image = np.array([[1.25, np.nan, 0.0]], np.float32)
    mask = np.array([[0, BAD, NO_DATA]], np.uint16)
    np.testing.assert_array_equal(less_one(image, mask), np.array([[0.25, np.nan, 0]], np.float32))


def test_another_scale_is_refused():
    with pytest.raises(ConfigurationError, match="relative to the sky"):
        combine_fringes(None, OPTIONS, Combine(scale="exposure_time"))
