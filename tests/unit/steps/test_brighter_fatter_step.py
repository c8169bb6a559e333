"""The brighter-fatter step: bands and whole frames, against scipy on the assembled detector."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from scipy.signal import convolve2d

from cpflow.camera import Amplifier, Box, Detector, Source
from cpflow.errors import ProductError
from cpflow.exposure import Exposure
from cpflow.kernels.planes import BAD, EDGE, INTRP, NO_DATA, SAT, SUSPECT, UNMASKEDNAN
from cpflow.stack import Context, Frame
from cpflow.stack.geometry import assemble_array, split_array
from cpflow.steps.brighter_fatter import (
    BRIGHTER_FATTER,
    KERNEL,
    Convergence,
    CorrectBrighterFatter,
    MeasureConvergence,
    brighter_fatter_passes,
)
from cpflow.steps.options import Isr
from cpflow.timespan import Timespan

ROWS, COLUMNS = 60, 35
HEIGHT, WIDTH = 2 * ROWS, 2 * COLUMNS
GAINS = np.array([2.0, 1.5, 1.0, 0.5])
EXPOSURE = Exposure("X", 7, "X7", 20210101, 7, Timespan.at(7), "science")
METHODS = ("coulton", "flux_conserving")


def detector(rows=ROWS, columns=COLUMNS):
    """Two by two outputs, one read from each corner."""
    amplifiers = tuple(
        Amplifier(
            name=f"{x}{y}",
            raw=(rows, columns),
            source=Source(1, Box(0, 0, columns, rows)),
            imaging=Box(0, 0, columns, rows),
            detector_box=Box(x * columns, y * rows, columns, rows),
            flip_x=x == 1,
            flip_y=y == 1,
            gain=float(GAINS[2 * y + x]),
        )
        for y in (0, 1)
        for x in (0, 1)
    )
    return Detector(0, "four", (2 * rows, 2 * columns), amplifiers)


def lopsided(side=7, size=3e-7, seed=1):
    """A kernel without any symmetry, indexed [y, x]."""
    return np.random.default_rng(seed).normal(-size, 0.7 * size, (side, side))


def scene(seed=2):
    """Electrons (y, x): shot noise, and stars where amplifiers and halves meet."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mean = np.full((HEIGHT, WIDTH), 2e4)
    for v, u in ((60, 35), (20, 34), (100, 10), (61, 50), (3, 60)):
        mean += 6e4 * np.exp(-((y - v) ** 2 + (x - u) ** 2) / 2 / 1.8**2)
    return rng.poisson(mean).astype(np.float32)


def flags():
    """Bad, saturated and other pixels, all over: 1.5 % and two runs across amplifiers."""
    rng = np.random.default_rng(3)
    mask = np.zeros((HEIGHT, WIDTH), np.uint16)
    for plane in (BAD, SAT, NO_DATA, SUSPECT):
        mask[rng.random(mask.shape) < 0.005] |= plane
    mask[59:62, 30:42] |= SAT
    mask[30, :9] |= BAD
    return mask


def frame_of(electrons, mask=None, units="electron", rows=range(ROWS)):
    image = split_array(detector(), electrons, rows).astype(np.float32)
    if units == "adu":
        image /= GAINS.astype(np.float32)[:, None, None]
    bits = None if mask is None else split_array(detector(), mask, rows)
    return Frame(image, rows, bits, trimmed=True, units=units)


def measured(frame, kernel, options, **shared):
    context = Context(detector(), EXPOSURE, shared={KERNEL: kernel, **shared})
    return MeasureConvergence(options)(frame, context)


def corrected(frame, kernel, options, done, **shared):
    context = Context(detector(), EXPOSURE, {BRIGHTER_FATTER: done}, {KERNEL: kernel, **shared})
    return CorrectBrighterFatter(options)(frame, context)


def options_of(method="coulton", **changes):
    values = {"brighter_fatter_iterations": 3, "brighter_fatter_threshold": 1.0, **changes}
    return Isr(brighter_fatter=True, brighter_fatter_method=method, **values)


def classical(image, kernel, passes):
    """Spec 2.14 in float64, all at once."""
    half = kernel.shape[0] // 2 + 1
    correction = np.zeros(image.shape)
    for _ in range(passes):
        t = image + correction
        phi = convolve2d(t, kernel, "same")
        (ty, tx), (py, px) = np.gradient(t), np.gradient(phi)
        second = np.zeros(image.shape)
        second[1:-1] += phi[2:] - 2 * phi[1:-1] + phi[:-2]
        second[:, 1:-1] += phi[:, 2:] - 2 * phi[:, 1:-1] + phi[:, :-2]
        correction = np.zeros(image.shape)
        inside = np.s_[half:-half, half:-half]
        correction[inside] = 0.5 * (ty * py + tx * px + t * second)[inside]
    return correction


@pytest.mark.parametrize("height", [1, 7, 23, ROWS])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("passes", "side"), [(3, 7), (1, 21)])
def test_bands_give_the_bits_of_the_whole_frame(method, height, passes, side):
    """One pass with a large kernel: a band of one row with its halo is just as high as it."""
    electrons, mask = scene(), flags()
    electrons[40, 40] = np.nan
    kernel = lopsided(side, 3e-7 * (7 / side) ** 2)
    options = options_of(method, brighter_fatter_iterations=passes)
    done = measured(frame_of(electrons, mask, "adu"), kernel, options)
    assert done.iterations == passes
    whole = corrected(frame_of(electrons, mask, "adu"), kernel, options, done)
    assert np.nanmax(np.abs(whole.image - frame_of(electrons, mask, "adu").image)) > 50
    assert np.count_nonzero(np.isnan(whole.image)) == 1
    halo = CorrectBrighterFatter(options).halo
    starts = range(0, ROWS, height) if height > 1 else (0, 1, 30, 58, 59)
    for first in starts:
        rows = range(first, min(first + height, ROWS))
        wide = range(max(0, rows.start - halo), min(ROWS, rows.stop + halo))
        part = corrected(frame_of(electrons, mask, "adu", wide), kernel, options, done)
        inner = slice(rows.start - wide.start, rows.stop - wide.start)
        for name in ("image", "mask"):
            np.testing.assert_array_equal(
                getattr(part, name)[:, inner], getattr(whole, name)[:, rows.start : rows.stop], name
            )


@pytest.mark.parametrize("units", ["electron", "adu"])
def test_the_classical_formula_on_the_assembled_detector(units):
    """With single bad pixels, which take the reference's weights of their neighbours (2.13)."""
    electrons = scene().astype(np.float64)
    mask = np.zeros(electrons.shape, np.uint16)
    clean = electrons.copy()
    for plane, y, x in ((BAD, 20, 30), (SAT, 59, 33), (NO_DATA, 60, 37), (BAD, 80, 36)):
        mask[y, x] = plane
        n = clean[y, [x - 2, x - 1, x + 1, x + 2]]
        clean[y, x] = n @ [-0.2737, 0.7737, 0.7737, -0.2737]
        electrons[y, x] = 3e6
    electrons[40, 20] = np.nan  # flagged by nothing yet
    clean[40, 20] = clean[40, [18, 19, 21, 22]] @ [-0.2737, 0.7737, 0.7737, -0.2737]
    kernel, options = lopsided(), options_of()
    done = measured(frame_of(electrons, mask, units), kernel, options)
    assert (done.iterations, done.converged) == (3, False)
    out = corrected(frame_of(electrons, mask, units), kernel, options, done)
    added = classical(clean, kernel, 3)
    gains = GAINS[:, None, None] if units == "adu" else 1.0
    expected = split_array(detector(), electrons + added, range(ROWS)) / gains
    before = split_array(detector(), electrons, range(ROWS)) / gains
    assert np.nanmax(np.abs(expected - before)) > 100
    # Weights have four decimals: 5e-5 of four values of 8e4 electrons at most are 16 electrons at
    # a bad pixel, and a hundredth of that, the effect itself, around it. Elsewhere rounding.
    near = binary_dilation(mask != 0, iterations=9)
    near[31:50, 11:30] = True
    near = split_array(detector(), near, range(ROWS))
    difference = np.where(np.isnan(expected), 0, out.image - expected) * gains
    assert np.abs(difference[near]).max() < 0.2
    np.testing.assert_allclose(out.image[~near], expected[~near], rtol=4 * 2**-24, atol=1e-4)
    assert np.isnan(out.image).sum() == np.isnan(expected).sum() == 1
    assert out.units == units


def test_the_change_of_the_last_pass_is_reported():
    kernel, clean = lopsided(), scene()
    changes = []
    for passes in (1, 2, 3, 4):
        first = classical(clean.astype(float), kernel, passes)
        before = classical(clean.astype(float), kernel, passes - 1)
        changes.append(np.abs(first - before).sum())
    assert changes[0] > 1e5 > changes[1] > changes[2] > changes[3]
    threshold = (changes[1] + changes[2]) / 2
    options = options_of(brighter_fatter_iterations=10, brighter_fatter_threshold=threshold)
    done = measured(frame_of(clean), kernel, options)
    assert (done.iterations, done.converged) == (3, True)
    # Corrections are rounded to 2**-15 to 2**-12 electrons, at 8400 pixels; signs are random.
    assert done.change == pytest.approx(changes[2], rel=1e-3)


def test_no_end_of_the_passes_is_said_with_the_exposure(caplog):
    options = options_of(brighter_fatter_iterations=2, brighter_fatter_threshold=1e-6)
    with caplog.at_level(logging.WARNING):
        done = measured(frame_of(scene()), lopsided(), options)
    assert (done.iterations, done.converged) == (2, False)
    assert "exposure 7" in caplog.text
    item = {BRIGHTER_FATTER: done}
    good = {BRIGHTER_FATTER: Convergence(4, 0.1, True)}
    np.testing.assert_array_equal(brighter_fatter_passes([item, None, good], [], {}), [-2, 0, 4])


@pytest.mark.parametrize("grow", [0, 1, 2])
def test_borders_are_edge_and_what_was_bridged_grows(grow):
    electrons, mask = scene(), flags()
    mask[70, 20] |= INTRP
    electrons[45, 45] = np.nan
    kernel, options = lopsided(), options_of(brighter_fatter_grow=grow)
    done = measured(frame_of(electrons, mask), kernel, options)
    out = corrected(frame_of(electrons, mask), kernel, options, done)
    expected = mask.copy()
    expected[45, 45] |= UNMASKEDNAN
    y, x = np.mgrid[-grow : grow + 1, -grow : grow + 1]
    diamond = np.abs(y) + np.abs(x) <= grow
    for plane in (BAD, SAT, NO_DATA, UNMASKEDNAN):
        expected[binary_dilation((expected & plane) != 0, diamond)] |= plane
    # Half a kernel is three pixels, and the derivatives take one more: the first four.
    border = np.ones(mask.shape, bool)
    border[4:-4, 4:-4] = False
    expected[border] |= EDGE
    np.testing.assert_array_equal(assemble_array(detector(), out.mask), expected)
    image = assemble_array(detector(), out.image)
    np.testing.assert_array_equal(image[border], electrons[border])
    assert (image[~border] != electrons[~border]).mean() > 0.9


def test_what_is_not_a_number_is_not_flagged_if_that_is_off():
    electrons = scene()
    electrons[45, 45] = np.nan
    kernel, options = lopsided(), options_of(nan_mask=False)
    done = measured(frame_of(electrons), kernel, options)
    out = corrected(frame_of(electrons), kernel, options, done)
    assert np.count_nonzero(np.isnan(out.image)) == 1
    assert not (out.mask & UNMASKEDNAN).any()


def test_adu_take_measured_gains_where_there_are_some():
    electrons = scene()
    kernel, options = lopsided(), options_of()
    used = np.array([2.2, 1.4, 0.9, 0.6])
    adu = (split_array(detector(), electrons, range(ROWS)) / used[:, None, None]).astype(np.float32)

    def frame():
        return Frame(adu.copy(), range(ROWS), trimmed=True)

    done = measured(frame(), kernel, options, gains=used)
    out = corrected(frame(), kernel, options, done, gains=used)
    added = split_array(detector(), classical(electrons.astype(float), kernel, 3), range(ROWS))
    found = (out.image - adu) * used[:, None, None]
    # The sum is rounded to 2**-24 of 4e5 adu at most (2 ** -5.4 of an electron).
    np.testing.assert_allclose(found, added, rtol=1e-5, atol=0.03)
    camera = corrected(frame(), kernel, options, done)
    assert np.abs(camera.image - out.image).max() > 1, "the camera's gains are others"


def test_bad_rows_do_not_spoil_what_is_around_them():
    electrons, mask = scene(), np.zeros((HEIGHT, WIDTH), np.uint16)
    mask[80] = BAD
    electrons[80] = np.nan
    kernel, options = lopsided(), options_of()
    done = measured(frame_of(electrons, mask), kernel, options)
    out = assemble_array(
        detector(), corrected(frame_of(electrons, mask), kernel, options, done).image
    )
    assert np.isnan(out[80]).all()
    assert np.isfinite(np.delete(out, 80, axis=0)).all()


@pytest.mark.parametrize("shape", [(23, 23), (9, 9)])
def test_a_kernel_that_is_too_large_is_refused(shape):
    camera = detector() if shape[0] > 21 else detector(4, 8)
    frame = Frame(np.ones((4, *camera.imaging_shape), np.float32), range(camera.imaging_shape[0]))
    context = Context(camera, EXPOSURE, shared={KERNEL: np.zeros(shape)})
    with pytest.raises(ProductError, match=f"kernel has {shape[0]} x {shape[1]} pixels"):
        MeasureConvergence(options_of())(frame, context)


@pytest.mark.parametrize("method", METHODS)
def test_rows_without_a_good_pixel_leave_their_neighbours_alone(method):
    """They are bridged by the level of the image: as zero they would be a cliff."""
    level = np.full((HEIGHT, WIDTH), 5e4, np.float32)
    mask = np.zeros((HEIGHT, WIDTH), np.uint16)
    mask[:5] = BAD
    kernel = np.full((7, 7), -1e-7)
    kernel[3, 3] = -8e-7
    options = options_of(method)
    frame = frame_of(level, mask)
    done = measured(frame, kernel, options)
    assert done.level == pytest.approx(5e4)
    out = assemble_array(detector(), corrected(frame, kernel, options, done).image)
    # Even light moves nowhere; the outermost rows, within reach of the border, aside.
    np.testing.assert_allclose(out[5:-5, 5:-5], 5e4, rtol=1e-4)
