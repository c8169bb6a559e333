"""ISR on one frame: each correction against what it should do, and the same for any rows."""

from __future__ import annotations

import numpy as np
import pytest
import reference

from cpflow.camera import Amplifier, Box, Detector, Source
from cpflow.errors import RawError
from cpflow.exposure import Exposure
from cpflow.kernels.planes import BAD, INTRP, SAT, SUSPECT, UNMASKEDNAN
from cpflow.stack import Context, Frame
from cpflow.stack.geometry import assemble_array, split_array
from cpflow.steps.electronics import RemoveSignature
from cpflow.steps.light import CorrectLight
from cpflow.steps.options import Isr, Overscan, ParallelOverscan
from cpflow.steps.readout import MeasureReadout
from cpflow.steps.repair import Repair
from cpflow.timespan import Timespan

ROWS, COLUMNS, PRESCAN, OVERSCAN, PARALLEL = 30, 24, 2, 12, 8
EXPOSURE = Exposure("X", 1, "X1", 20210101, 1, Timespan.at(1), "bias")


def detector(**changes):
    """Two by two outputs with prescan, serial and parallel overscan."""
    amplifiers = []
    for name, x, y in (("LL", 0, 0), ("LR", 1, 0), ("UL", 0, 1), ("UR", 1, 1)):
        values = {
            "name": name,
            "raw": (ROWS + PARALLEL, PRESCAN + COLUMNS + OVERSCAN),
            "source": Source(1, Box(0, 0, PRESCAN + COLUMNS + OVERSCAN, ROWS + PARALLEL)),
            "imaging": Box(PRESCAN, 0, COLUMNS, ROWS),
            "detector_box": Box(x * COLUMNS, y * ROWS, COLUMNS, ROWS),
            "serial_overscan": Box(PRESCAN + COLUMNS, 0, OVERSCAN, ROWS),
            "parallel_overscan": Box(PRESCAN, ROWS, COLUMNS, PARALLEL),
            "flip_x": x == 1,
            "flip_y": y == 1,
            "gain": 2.0,
            "read_noise": 10.0,
            "saturation": 50000.0,
            **changes,
        }
        amplifiers.append(Amplifier(**values))
    return Detector(0, "four", (2 * ROWS, 2 * COLUMNS), tuple(amplifiers))


def raw_frame(seed=0, noise=5.0):
    rng = np.random.default_rng(seed)
    shape = (4, ROWS + PARALLEL, PRESCAN + COLUMNS + OVERSCAN)
    level = rng.uniform(900, 1100, (4, 1, 1)) + rng.normal(0, 3, (4, ROWS + PARALLEL, 1))
    return np.round(rng.normal(level, noise, shape)).astype(np.uint16)


def measured(raw, options, camera=None, **context):
    camera = camera or detector()
    readout = MeasureReadout(options)(Frame(raw, range(raw.shape[1])), Context(camera, EXPOSURE))
    return Context(camera, EXPOSURE, {"readout": readout}, **context)


def processed(raw, options, rows=None, **context):
    where = measured(raw, options, **context)
    rows = rows or range(ROWS)
    return apply_all(Frame(raw[:, rows.start : rows.stop], rows), options, where)


def apply_all(frame, options, where):
    for operation in (RemoveSignature(options), CorrectLight(options), Repair(options)):
        frame = operation(frame, where)
    return frame


def test_overscan_is_subtracted_row_by_row_and_the_frame_trimmed():
    raw = raw_frame()
    out = processed(raw, Isr())
    assert out.trimmed
    assert out.mask is None
    for a in range(4):
        level = reference.median_per_row(raw[a, :ROWS, PRESCAN + COLUMNS :])
        expected = raw[a, :ROWS, PRESCAN : PRESCAN + COLUMNS] - level[:, None]
        np.testing.assert_array_equal(out.image[a], expected.astype(np.float32))


def test_overscan_left_of_the_imaging_columns_is_read_from_the_imaging_side():
    camera = detector(
        imaging=Box(OVERSCAN, 0, COLUMNS, ROWS), serial_overscan=Box(0, 0, OVERSCAN, ROWS)
    )
    raw = raw_frame()
    raw[:, :, OVERSCAN - 1] += 500  # next to the imaging columns
    options = Isr(overscan=Overscan(fit_type="MEAN", leading=1))
    readout = MeasureReadout(options)(Frame(raw, range(raw.shape[1])), Context(camera, EXPOSURE))
    for a in range(4):
        assert readout.mean[a] == pytest.approx(raw[a, :ROWS, : OVERSCAN - 1].mean())


def test_a_camera_without_overscan_keeps_its_counts():
    raw = raw_frame()
    camera = detector(serial_overscan=Box(0, 0, 0, 0))
    out = processed(raw, Isr(), camera=camera)
    np.testing.assert_array_equal(out.image, raw[:, :ROWS, PRESCAN : PRESCAN + COLUMNS])
    off = processed(raw, Isr(overscan=Overscan(enabled=False)))
    np.testing.assert_array_equal(off.image, out.image)


def test_parallel_overscan_takes_out_columns():
    raw = raw_frame(noise=0.0).astype(np.int32)
    columns = np.arange(COLUMNS) % 5
    raw[:, :, PRESCAN : PRESCAN + COLUMNS] += columns.astype(np.int32)
    options = Isr(
        parallel_overscan=ParallelOverscan(
            enabled=True, leading=1, trailing=1, smoothing_rejection=False
        )
    )
    out = processed(raw, options)
    # Rounded rows: what is left of the levels is at most the rounding of the serial median.
    assert np.abs(out.image).max() <= 0.5
    without = processed(raw, Isr())
    assert np.abs(without.image).max() >= 4


@pytest.mark.parametrize("stage", ["raw", "overscan_subtracted"])
def test_saturation_is_tested_at_or_above_the_level(stage):
    raw = raw_frame(noise=0.0).astype(np.int32)
    raw[:] = 1000
    raw[1, 4, PRESCAN + 6] = 1500
    raw[1, 4, PRESCAN + 7] = 1499
    level = 1500.0 if stage == "raw" else 500.0
    camera = detector(saturation=level, suspect=level - 1)
    options = Isr(saturation_stage=stage, interpolate=False, widen_saturation_trails=False)
    out = processed(raw, options, camera=camera)
    assert out.mask[1, 4, 6] == SAT | SUSPECT
    assert out.mask[1, 4, 7] == SUSPECT
    assert np.count_nonzero(out.mask) == 2


def test_saturation_is_grown_and_interpolated_across_amplifiers_and_halves():
    raw = raw_frame(noise=0.0).astype(np.int32)
    raw[:] = 1000
    # LL's last column and last row meet LR, UL and UR.
    raw[0, ROWS - 1, PRESCAN + COLUMNS - 1] = 60000
    out = processed(raw, Isr())
    mask = assemble_array(detector(), out.mask)
    y, x = ROWS - 1, COLUMNS - 1
    expected = np.zeros_like(mask)
    for dy, dx in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)):
        expected[y + dy, x + dx] |= INTRP
    expected[y, x] |= SAT
    np.testing.assert_array_equal(mask, expected)
    image = assemble_array(detector(), out.image)
    np.testing.assert_allclose(image, 0, atol=1e-3)


def test_trails_of_saturation_are_widened_along_detector_rows():
    raw = raw_frame(noise=0.0).astype(np.int32)
    raw[:] = 1000
    raw[0, 7, PRESCAN + COLUMNS - 3 : PRESCAN + COLUMNS] = 60000
    raw[1, 7, PRESCAN + COLUMNS - 3 : PRESCAN + COLUMNS] = 60000  # six in a row, across the edge
    out = processed(raw, Isr(interpolate=False))
    mask = assemble_array(detector(), out.mask)
    np.testing.assert_array_equal(np.flatnonzero(mask[7]), np.arange(COLUMNS - 4, COLUMNS + 4))


@pytest.mark.parametrize("box", [(0, 0, 3, 4), (20, 25, 9, 11), (47, 59, 1, 1), (0, 29, 48, 2)])
def test_defects_are_painted_where_they_are_in_the_detector(box):
    x0, y0, width, height = box
    out = processed(raw_frame(), Isr(interpolate=False), shared={"defects": np.array([box])})
    expected = np.zeros((2 * ROWS, 2 * COLUMNS), np.uint16)
    expected[y0 : y0 + height, x0 : x0 + width] = BAD
    np.testing.assert_array_equal(assemble_array(detector(), out.mask), expected)
    ignored = processed(raw_frame(), Isr(interpolate=False), shared={"defects": np.empty((0, 4))})
    assert ignored.mask is None


def test_variance_has_the_right_units():
    raw = raw_frame()
    out = processed(raw, Isr(), want_variance=True)
    np.testing.assert_allclose(out.variance, out.image / 2.0 + (10.0 / 2.0) ** 2, rtol=1e-6)
    empirical = Isr(empirical_read_noise=True)
    out = processed(raw, empirical, want_variance=True)
    noise = measured(raw, empirical).measured["readout"].noise
    np.testing.assert_allclose(out.variance, out.image / 2.0 + noise[:, None, None] ** 2, rtol=1e-5)
    assert processed(raw, Isr()).variance is None
    unknown = processed(raw, Isr(), camera=detector(read_noise=np.nan), want_variance=True)
    np.testing.assert_allclose(
        unknown.variance, unknown.image / 2.0 + noise[:, None, None] ** 2, rtol=1e-5
    )


def test_nan_is_masked_and_interpolated():
    raw = raw_frame().astype(np.float32)
    raw[2, 5, PRESCAN + 6] = np.nan
    out = processed(raw, Isr(overscan=Overscan(enabled=False)))
    assert out.mask[2, 5, 6] == UNMASKEDNAN | INTRP
    assert np.isfinite(out.image).all()
    assert np.count_nonzero(out.mask) == 1


def test_a_whole_bad_row_is_nan_and_says_so():
    defects = np.array([(0, 12, 2 * COLUMNS, 1)])
    out = processed(raw_frame(), Isr(), shared={"defects": defects})
    image = assemble_array(detector(), out.image)
    mask = assemble_array(detector(), out.mask)
    assert np.isnan(image[12]).all()
    assert (mask[12] & UNMASKEDNAN).all()
    assert np.isfinite(np.delete(image, 12, axis=0)).all()


def test_an_amplifier_that_is_all_saturated_is_bad_and_all_of_them_an_error():
    raw = raw_frame().astype(np.int32)
    raw[2, :ROWS, PRESCAN : PRESCAN + COLUMNS] = 60000
    readout = measured(raw, Isr()).measured["readout"]
    np.testing.assert_array_equal(readout.bad, [False, False, True, False])
    out = processed(raw, Isr(interpolate=False))
    assert (out.mask[2] == SAT | BAD).all()
    raw[:] = 60000
    with pytest.raises(RawError, match="saturated"):
        measured(raw, Isr())


@pytest.mark.parametrize("height", [1, 3, 7, 30])
def test_any_choice_of_rows_gives_the_same_bits(height):
    raw = raw_frame(noise=6.0).astype(np.int32)
    rng = np.random.default_rng(8)
    raw[rng.random(raw.shape) < 0.02] = 60000
    options = Isr()
    defects = np.array([(3, 3, 2, 40), (30, 28, 9, 5)])
    context = measured(raw, options, shared={"defects": defects}, want_variance=True)
    halo = Repair(options).halo
    whole = apply_all(Frame(raw[:, :ROWS], range(ROWS)), options, context)
    assert (whole.mask & INTRP).any()
    for first in range(0, ROWS, height):
        rows = range(first, min(first + height, ROWS))
        wide = range(max(0, rows.start - halo), min(ROWS, rows.stop + halo))
        part = apply_all(Frame(raw[:, wide.start : wide.stop], wide), options, context)
        inner = slice(rows.start - wide.start, rows.stop - wide.start)
        for name in ("image", "mask", "variance"):
            np.testing.assert_array_equal(
                getattr(part, name)[:, inner], getattr(whole, name)[:, rows.start : rows.stop], name
            )


def test_split_is_the_inverse_that_these_tests_lean_on():
    image = np.arange(4 * ROWS * COLUMNS).reshape(2 * ROWS, 2 * COLUMNS)
    np.testing.assert_array_equal(
        assemble_array(detector(), split_array(detector(), image, range(ROWS))), image
    )
