"""A hundred sound biases, darks and flats raise no alarm: thresholds hold statistically."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.exposure import Exposure
from cpflow.io.instrument import load_instrument, scaled
from cpflow.kernels.truncation import row_level_variance
from cpflow.stack import Context, Frame, Planes
from cpflow.steps.readout import Readout
from cpflow.timespan import Timespan
from cpflow.verify import BiasLimits, DarkLimits, FlatLimits, Residuals
from cpflow.verify.dark import InspectDark, JudgeDark
from cpflow.verify.flat import JudgeFlat
from cpflow.verify.residuals import CONSTRUCTION, RESIDUAL, MeasureResidual
from cpflow.verify.subtracted import JudgeSubtracted

RUNS, BUILT, COUNT = 100, 12, 6
OPTIONS = Residuals()
DETECTOR = scaled(load_instrument("latiss"), 16).camera.detectors[0]
SHAPE = (len(DETECTOR.amplifiers), *DETECTOR.imaging_shape)
NOISE = np.array([a.read_noise for a in DETECTOR.amplifiers])
GAIN = np.array([a.gain for a in DETECTOR.amplifiers])
LEVEL = row_level_variance("MEDIAN_PER_ROW", DETECTOR.amplifiers[0].serial_overscan.width)
DARK_TIME, RATE, FLUX = 100.0, 0.03, 20_000.0


def exposures(kind):
    return [
        Exposure(
            "LATISS", 10 + i, f"e{i}", 20210121, i,
            Timespan(i * 10**12, i * 10**12 + 10**9), kind, dark_time=DARK_TIME,
        )
        for i in range(BUILT + COUNT)
    ]  # fmt: skip


def readout(rng):
    """Overscans of so many pixels say the read noise with so much error."""
    box = DETECTOR.amplifiers[0].serial_overscan
    error = 1 / np.sqrt(2 * box.width * box.height)
    noise = NOISE / GAIN * (1 + rng.normal(0, error, len(NOISE)))
    zeros = np.zeros((len(NOISE), SHAPE[1]))
    return Readout(
        zeros, zeros, zeros[:, 0], noise, np.zeros(len(NOISE), bool), np.full(len(NOISE), LEVEL)
    )


def observed(rng, light):
    """Electrons, with read noise, and what the subtraction of a row's level leaves in it."""
    image = rng.normal(0, 1, SHAPE) * NOISE[:, None, None]
    image += rng.normal(0, np.sqrt(LEVEL), (*SHAPE[:2], 1)) * NOISE[:, None, None]
    if light is not None:
        image += rng.poisson(np.broadcast_to(light, SHAPE))
    return image


def candidate(images, scale):
    """The plain mean of images over `scale`, with its variance, in electrons."""
    stack = np.stack(images) / scale
    return stack.mean(axis=0), stack.var(axis=0, ddof=1) / len(stack)


def measured(kind, image, variance, planes, record, rng, known):
    frame = Frame(
        image.astype(np.float32),
        range(SHAPE[1]),
        np.zeros(SHAPE, np.uint16),
        variance.astype(np.float32),
        trimmed=True,
        units="electron",
    )
    shared = {kind: planes, CONSTRUCTION: known}
    context = Context(DETECTOR, record, {"readout": readout(rng)}, shared, True)
    return {RESIDUAL: MeasureResidual(OPTIONS, kind, kind)(frame, context)}


def run(kind, seed):
    """One run: a candidate from the first exposures, verified with all of them."""
    rng = np.random.default_rng([seed, len(kind)])
    records = exposures(kind)
    pattern = rng.normal(0, 3, SHAPE)
    hot = rng.random(SHAPE) < 1e-3
    rate = np.where(hot, 5.0, RATE)
    response = 1 + rng.normal(0, 0.008, SHAPE)
    light = {"bias": None, "dark": rate * DARK_TIME, "flat": FLUX * response}[kind]
    fixed = pattern if kind == "bias" else 0.0
    images = [observed(rng, light) + fixed for _ in records]
    scale = {"bias": 1.0, "dark": DARK_TIME, "flat": FLUX}[kind]
    mean, error = candidate(images[:BUILT], scale)
    units = {"bias": "electron", "dark": "electron/s", "flat": "1"}[kind]
    planes = Planes(
        mean.astype(np.float32), range(SHAPE[1]), error.astype(np.float32),
        np.zeros(SHAPE, np.uint16), {"units": units},
    )  # fmt: skip
    known = frozenset(record.exposure for record in records[:BUILT])
    found = []
    for image, record in zip(images, records, strict=True):
        left = image / mean if kind == "flat" else image - mean * scale
        variance = np.square(NOISE)[:, None, None] + (0 if light is None else light)
        variance = variance / mean**2 if kind == "flat" else np.broadcast_to(variance, SHAPE)
        found.append(measured(kind, left, variance + 0.0, planes, record, rng, known))
    return records, found, mean, error


def table(kind, seed):
    records, found, mean, error = run(kind, seed)
    if kind == "bias":
        return JudgeSubtracted(BiasLimits(), OPTIONS, DETECTOR)(found, records, {})
    if kind == "dark":
        judge = JudgeDark(JudgeSubtracted(DarkLimits(), OPTIONS, DETECTOR))
        inspected = InspectDark(OPTIONS, DETECTOR)
        good = np.ones(SHAPE[1:], bool)
        amplifiers = tuple(
            inspected._amplifier(mean[a].astype(np.float32), error[a], good)
            for a in range(SHAPE[0])
        )
        return judge(found, records, {"inspected": amplifiers})
    levels = {r.exposure: [FLUX] for r in records}
    return JudgeFlat(FlatLimits(), DETECTOR)(found, records, {"detector_levels": levels})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bias", "dark", "flat"])
def test_a_hundred_sound_runs_raise_no_alarm(kind):
    alarms = []
    for seed in range(RUNS):
        rows = table(kind, seed)
        bad = (rows["severity"] == "required") & (rows["verdict"] != "pass")
        alarms += [(seed, t, a, v) for t, a, v in zip(
            rows["test"][bad], rows["amp"][bad], rows["value"][bad], strict=True
        )]  # fmt: skip
    assert alarms == []
