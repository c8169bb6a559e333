"""Crosstalk, linearity and gains on small frames, against what the tests put in themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cpflow.camera import Amplifier, Box, Detector, Source
from cpflow.errors import ProductError
from cpflow.exposure import Exposure
from cpflow.kernels.planes import BAD, CROSSTALK
from cpflow.stack import Context, Frame, Planes
from cpflow.stack.geometry import assemble_array, split_array
from cpflow.steps.electronics import RemoveSignature
from cpflow.steps.light import CorrectLight
from cpflow.steps.options import Isr
from cpflow.steps.readout import Readout
from cpflow.steps.tables import CrosstalkMatrix, LinearityOfAmplifier
from cpflow.timespan import Timespan

ROWS, COLUMNS, PRESCAN, OVERSCAN = 20, 24, 2, 4
LEVEL = 1000.0
GAINS = (2.0, 1.5, 1.0, 0.5)
NOISE = (8.0, 9.0, 10.0, 11.0)
EXPOSURE = Exposure("X", 1, "X1", 20210101, 1, Timespan.at(1), "flat", dark_time=3.0)


def detector(**changes):
    """Two by two outputs, one read from each corner."""
    amplifiers = []
    for i, (name, x, y) in enumerate((("LL", 0, 0), ("LR", 1, 0), ("UL", 0, 1), ("UR", 1, 1))):
        values = {
            "name": name,
            "raw": (ROWS, PRESCAN + COLUMNS + OVERSCAN),
            "source": Source(1, Box(0, 0, PRESCAN + COLUMNS + OVERSCAN, ROWS)),
            "imaging": Box(PRESCAN, 0, COLUMNS, ROWS),
            "detector_box": Box(x * COLUMNS, y * ROWS, COLUMNS, ROWS),
            "serial_overscan": Box(PRESCAN + COLUMNS, 0, OVERSCAN, ROWS),
            "flip_x": x == 1,
            "flip_y": y == 1,
            "gain": GAINS[i],
            "read_noise": NOISE[i],
            **changes,
        }
        amplifiers.append(Amplifier(**values))
    return Detector(0, "four", (2 * ROWS, 2 * COLUMNS), tuple(amplifiers))


def corrected(signal, options=None, rows=range(ROWS), camera=None, operations=None, **context):
    """Put a signal in adu above the bias level, shape (amp, rows, columns), through ISR."""
    camera = camera or detector()
    raw = np.zeros((4, ROWS, PRESCAN + COLUMNS + OVERSCAN), np.float32)
    raw[:, :, PRESCAN : PRESCAN + COLUMNS] = signal
    raw += np.float32(LEVEL)
    options = options or Isr()
    readout = Readout(
        np.full((4, ROWS), LEVEL),
        np.zeros((4, COLUMNS)),
        np.full(4, LEVEL),
        np.full(4, 3.0),
        np.zeros(4, bool),
        np.zeros(4),
    )
    where = Context(camera, EXPOSURE, {"readout": readout}, **context)
    frame = Frame(raw[:, rows.start : rows.stop], rows)
    for operation in operations or (RemoveSignature(options),):
        frame = operation(frame, where)
    return frame


def light(seed=0, most=40000.0):
    """A bright signal that is different everywhere, in eighths of adu: raw counts are exact."""
    return np.round(np.random.default_rng(seed).uniform(0, most, (4, ROWS, COLUMNS)) * 8) / 8


def assert_rounded(found, expected, operations):
    """Compare with float64: each operation in float32 rounds by half a unit in the last place.

    So are the terms that are added, of 1000 at most, where they nearly cancel the signal.
    """
    np.testing.assert_allclose(found, expected, rtol=operations * 2**-24, atol=1000 * 2**-24)


def coefficients(seed=1, size=1e-3):
    c = np.random.default_rng(seed).uniform(0.2, 1, (4, 4)) * size
    np.fill_diagonal(c, 0.0)
    return c


def leak(signal, c, q=None, bad=()):
    """Add ghosts in the order of the readout, pixel by pixel, from the assembled detector.

    The k-th pixel that one amplifier reads leaks into the k-th of another: counted from the corner
    of the detector that each reads from, with no use of the package's geometry.
    """
    image = np.zeros((2 * ROWS, 2 * COLUMNS))
    corner = {"LL": (0, 0, 1, 1), "LR": (0, 2 * COLUMNS - 1, 1, -1)}
    corner["UL"] = (2 * ROWS - 1, 0, -1, 1)
    corner["UR"] = (2 * ROWS - 1, 2 * COLUMNS - 1, -1, -1)
    names = ("LL", "LR", "UL", "UR")
    for a, name in enumerate(names):
        y0, x0, dy, dx = corner[name]
        for k in range(ROWS):
            for n in range(COLUMNS):
                image[y0 + k * dy, x0 + n * dx] = signal[a, k, n]
    out = image.copy()
    for t, target in enumerate(names):
        for s, source in enumerate(names):
            if s == t or (s, t) in bad:
                continue
            y, x, dy, dx = corner[target]
            v, u, dv, du = corner[source]
            for k in range(ROWS):
                for n in range(COLUMNS):
                    value = image[v + k * dv, u + n * du]
                    out[y + k * dy, x + n * dx] += c[s, t] * value
                    if q is not None:
                        out[y + k * dy, x + n * dx] += q[s, t] * value**2
    return split_array(detector(), out, range(ROWS))


def matrix(c, q=None, valid=None, units="adu"):
    return CrosstalkMatrix(c, q, np.ones((4, 4), bool) if valid is None else valid, units)


def residual_of_second_order(signal, c):
    """Ghosts are subtracted as those of the image that has them: c J = c (I + c I) at most."""
    return (3 * c.max()) ** 2 * signal.max()


@pytest.mark.parametrize("quadratic", [False, True])
def test_ghosts_are_subtracted_to_rounding(quadratic):
    """The inverse to first order is exact for what leaks from the sources as they are read."""
    seen = light()
    c = coefficients()
    q = coefficients(2, 1e-8) if quadratic else None
    # What is read is `seen`: what was there before the ghosts is `seen` less those of `seen`.
    clean = 2 * seen - leak(seen, c, q)
    out = corrected(seen, shared={"crosstalk": matrix(c, q)})
    # The ghosts are rounded, and the difference.
    assert_rounded(out.image, clean, 2)
    # And what was put in is found up to ghosts of ghosts.
    mixed = leak(seen, c, q)
    out = corrected(mixed, shared={"crosstalk": matrix(c, q)})
    assert np.abs(mixed - seen).max() > 20
    error = np.abs(out.image - seen).max()
    assert error < residual_of_second_order(mixed, c) * (2 if quadratic else 1)


def test_coefficients_for_electrons_are_converted():
    electrons = light() * np.array(GAINS)[:, None, None]
    c, q = coefficients(), coefficients(2, 1e-8)
    seen = electrons / np.array(GAINS)[:, None, None]
    clean = (2 * electrons - leak(electrons, c, q)) / np.array(GAINS)[:, None, None]
    out = corrected(seen, shared={"crosstalk": matrix(c, q, units="electron")})
    assert_rounded(out.image, clean, 2)
    out = corrected(seen, Isr(gain="camera"), shared={"crosstalk": matrix(c, q, units="electron")})
    np.testing.assert_allclose(out.image, clean * np.array(GAINS)[:, None, None], rtol=5e-7)
    # Adu are as they are, whatever the exposures become.
    out = corrected(seen, Isr(gain="camera"), shared={"crosstalk": matrix(c, q)})
    in_adu = (2 * seen - leak(seen, c, q)) * np.array(GAINS)[:, None, None]
    assert_rounded(out.image, in_adu, 4)


def test_a_source_without_a_gain_leaks_as_one_with_the_median_gain():
    """Spec 2.7: its ghosts are real, though the amplifier itself is lost."""
    measured = np.array([2.0, np.nan, 1.0, 0.5])
    gains = np.array([2.0, 1.0, 1.0, 0.5])[:, None, None]
    assert np.nanmedian(measured) == 1.0
    measured *= 3.0
    gains *= 3.0
    seen, c = light(), coefficients()
    clean = (2 * seen * gains - leak(seen * gains, c)) / gains
    shared = {"crosstalk": matrix(c, units="electron"), "gains": measured}
    out = corrected(seen, Isr(gain="ptc"), shared=shared)
    for a in (0, 2, 3):
        assert_rounded(out.image[a] / gains[a], clean[a], 3)
    assert (out.mask[1] & BAD).all()


def test_coefficients_that_are_not_valid_are_not_used():
    seen, c = light(), coefficients()
    valid = np.ones((4, 4), bool)
    valid[0, 1] = valid[3, 2] = False
    wild = np.where(valid, c, 0.3)
    wild[2, 0] = np.nan
    wild[1, 1] = 0.7
    clean = 2 * seen - leak(seen, c, bad=((0, 1), (3, 2), (2, 0)))
    out = corrected(seen, shared={"crosstalk": matrix(wild, valid=valid)})
    assert_rounded(out.image, clean, 2)


def test_crosstalk_can_be_switched_off_and_takes_any_rows():
    seen, c = light(), coefficients()
    shared = {"crosstalk": matrix(c)}
    off = corrected(seen, Isr(crosstalk=False), shared=shared)
    np.testing.assert_array_equal(off.image, corrected(seen).image)
    whole = corrected(seen, shared=shared).image
    for height in (1, 7):
        for first in range(0, ROWS, height):
            rows = range(first, min(first + height, ROWS))
            part = corrected(seen, rows=rows, shared=shared).image
            np.testing.assert_array_equal(part, whole[:, first : rows.stop])


def test_targets_of_bright_sources_are_flagged_crosstalk():
    signal = np.full((4, ROWS, COLUMNS), 100.0)
    signal[0, 3, 5] = 45000.0
    signal[2, 7, 1] = 44999.0
    valid = np.ones((4, 4), bool)
    valid[0, 2] = False
    shared = {"crosstalk": matrix(coefficients(), valid=valid)}
    out = corrected(signal, shared=shared)
    expected = np.zeros((4, ROWS, COLUMNS), np.uint16)
    expected[[1, 3], 3, 5] = CROSSTALK
    np.testing.assert_array_equal(out.mask, expected)
    assert corrected(signal, Isr(crosstalk_mask=None), shared=shared).mask is None
    fewer = corrected(signal, Isr(crosstalk_mask=50000.0), shared=shared)
    assert fewer.mask is None


def spline(nodes, values):
    return np.concatenate([nodes, values]).astype(float)


def test_each_amplifier_has_its_own_linearity():
    from scipy.interpolate import Akima1DInterpolator

    nodes = np.array([0.0, 5e3, 1e4, 2e4, 3e4, 4e4, 5e4])
    values = np.array([0.0, -6.0, 8.0, 30.0, -40.0, -120.0, -60.0])
    table = np.arange(50000, dtype=np.float32)[None] * 1e-3
    linearity = (
        LinearityOfAmplifier("squared", np.array([2e-7]), None),
        LinearityOfAmplifier("polynomial", np.array([1e-7, -3e-12, 1e-17]), None),
        LinearityOfAmplifier("spline", spline(nodes, values), None),
        LinearityOfAmplifier("lookup_table", np.array([0.0, 10.0]), table),
    )
    u = light()
    out = corrected(u, shared={"linearizer": linearity})
    expected = np.stack(
        [
            u[0] + 2e-7 * u[0] ** 2,
            u[1] + 1e-7 * u[1] ** 2 - 3e-12 * u[1] ** 3 + 1e-17 * u[1] ** 4,
            u[2] - Akima1DInterpolator(nodes, values)(u[2]),
            u[3] + 1e-3 * np.floor(u[3] + 10),
        ]
    )
    assert (np.abs(expected - u).max(axis=(1, 2)) > 15).all()
    assert_rounded(out.image, expected, 2)
    off = corrected(light(), Isr(linearize=False), shared={"linearizer": linearity})
    np.testing.assert_array_equal(off.image, corrected(light()).image)


def test_crosstalk_is_subtracted_before_the_signal_is_made_linear():
    c0, c = 2e-6, coefficients()
    linearity = (LinearityOfAmplifier("squared", np.array([c0]), None),) * 4
    seen = light()
    first = 2 * seen - leak(seen, c)
    shared = {"crosstalk": matrix(c), "linearizer": linearity}
    out = corrected(seen, shared=shared)
    assert_rounded(out.image, first + c0 * first**2, 4)
    bent = seen + c0 * seen**2
    other = 2 * bent - leak(bent, c)
    assert np.abs(other - out.image).max() > 1, "the other order is another result"


def test_camera_gains_make_electrons():
    signal = light(most=3000.0)
    out = corrected(signal, Isr(gain="camera"), want_variance=True)
    gains, noise = (np.array(v)[:, None, None] for v in (GAINS, NOISE))
    assert out.units == RemoveSignature(Isr(gain="camera")).units == "electron"
    assert_rounded(out.image, signal * gains, 2)
    # (I / g + (RN / g)^2) adu^2 times g^2.
    adu = corrected(signal, want_variance=True)
    np.testing.assert_allclose(adu.variance, signal / gains + (noise / gains) ** 2, rtol=1e-5)
    np.testing.assert_allclose(out.variance, adu.variance * gains**2, rtol=3e-7)
    np.testing.assert_allclose(out.variance, signal * gains + noise**2, rtol=1e-5)
    assert adu.units == RemoveSignature(Isr()).units == "adu"
    assert out.mask is None


def test_measured_gains_make_electrons_and_one_without_is_bad():
    signal = light(most=3000.0)
    measured = np.array([1.9, 1.4, np.nan, 0.6])
    out = corrected(signal, Isr(gain="ptc"), shared={"gains": measured}, want_variance=True)
    used = np.where(np.isnan(measured), 1.0, measured)[:, None, None]
    assert_rounded(out.image, signal * used, 2)
    # The camera's read noise is in electrons of the camera's gain: in adu it is what was seen.
    noise = (np.array(NOISE) / GAINS)[:, None, None]
    np.testing.assert_allclose(out.variance, (signal / used + noise**2) * used**2, rtol=1e-5)
    expected = np.zeros((4, ROWS, COLUMNS), np.uint16)
    expected[2] = BAD
    np.testing.assert_array_equal(out.mask, expected)
    for gain in (0.0, -1.0, np.inf):
        measured[2] = gain
        out = corrected(signal, Isr(gain="ptc"), shared={"gains": measured})
        np.testing.assert_array_equal(out.mask, expected)
        assert np.isfinite(out.image).all()


def planes(value, units, variance=None):
    image = np.broadcast_to(np.asarray(value, np.float32), (4, ROWS, COLUMNS)).copy()
    spread = None if variance is None else np.full(image.shape, variance, np.float32)
    return Planes(image, range(ROWS), spread, None, {"units": units})


def test_a_bias_in_the_other_unit_is_converted_by_the_gains_or_refused():
    signal = light(most=3000.0)
    gains = np.array(GAINS)[:, None, None]
    pattern = np.round(np.random.default_rng(3).normal(0, 80, (4, ROWS, COLUMNS))) / 8
    in_adu = planes(pattern, "adu", 4.0)
    electrons = np.float32(pattern * gains)
    in_electrons = replace(
        in_adu, image=electrons, variance=np.float32(4.0 * gains**2) * np.ones_like(electrons),
        attrs={"units": "electron"},
    )  # fmt: skip
    base = corrected(signal + pattern, Isr(bias=True), shared={"bias": in_adu}, want_variance=True)
    assert_rounded(base.image, signal, 2)
    plain = corrected(signal, want_variance=True)
    np.testing.assert_allclose(base.variance, plain.variance + 4.0, rtol=1e-5)
    with pytest.raises(ProductError, match=r"(?s)bias.*'electron'.*'adu'"):
        corrected(signal, Isr(bias=True), shared={"bias": in_electrons})
    options = Isr(bias=True, gain="camera")
    for bias in (in_adu, in_electrons):
        out = corrected(signal + pattern, options, shared={"bias": bias}, want_variance=True)
        assert_rounded(out.image, signal * gains, 4)
        np.testing.assert_allclose(out.variance, base.variance * gains**2, rtol=1e-6)
    strange = replace(in_adu, attrs={"units": "adu/s"})
    with pytest.raises(ProductError, match="bias"):
        corrected(signal, options, shared={"bias": strange})


def test_a_dark_in_the_other_unit_is_converted_by_the_gains_or_refused():
    signal = light(most=3000.0)
    gains = np.array(GAINS)[:, None, None]
    rate = light(4, 10.0)
    dark = planes(rate, "adu/s", 4.0)

    def run(options, dark):
        steps = (RemoveSignature(options), CorrectLight(options))
        return corrected(
            signal + 3.0 * rate, options, operations=steps, shared={"dark": dark},
            want_variance=True,
        )  # fmt: skip

    base = run(Isr(dark=True), dark)
    assert_rounded(base.image, signal, 4)
    shot = corrected(signal + 3.0 * rate, want_variance=True).variance
    np.testing.assert_allclose(base.variance, shot + 9 * 4.0, rtol=1e-6)
    out = run(Isr(dark=True, gain="camera"), dark)
    assert_rounded(out.image, signal * gains, 8)
    np.testing.assert_allclose(out.variance, base.variance * gains**2, rtol=1e-6)
    with pytest.raises(ProductError, match="dark"):
        run(Isr(dark=True), replace(dark, attrs={"units": "electron/s"}))


@pytest.mark.parametrize("rows", [range(ROWS), range(5), range(7, 12), range(ROWS - 1, ROWS)])
def test_boxes_of_defects_on_any_rows(rows):
    boxes = np.array(
        [(2, 1, 3, 2), (20, 15, 10, 10), (47, 39, 1, 1), (0, 19, 48, 2), (5, 0, 1, 40)]
    )
    everywhere = np.zeros((2 * ROWS, 2 * COLUMNS), np.uint16)
    for x0, y0, width, height in boxes:
        for y in range(y0, y0 + height):
            for x in range(x0, x0 + width):
                everywhere[y, x] = BAD
    out = corrected(light(), rows=rows, shared={"defects": boxes})
    np.testing.assert_array_equal(out.mask, split_array(detector(), everywhere, rows))
    if len(rows) == ROWS:
        np.testing.assert_array_equal(assemble_array(detector(), out.mask), everywhere)
