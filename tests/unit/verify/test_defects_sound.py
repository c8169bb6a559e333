"""Outliers and the verdicts on them: against plain numpy, and without false alarms."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.exposure import Exposure
from cpflow.io.instrument import load_instrument, scaled
from cpflow.kernels.outliers import outliers, times_found
from cpflow.kernels.planes import BAD
from cpflow.stack import Context, Frame
from cpflow.timespan import Timespan
from cpflow.verify import DefectLimits, Outliers
from cpflow.verify.defects import JudgeDefects, MeasureOutliers


def test_outliers_are_those_of_plain_numpy():
    rng = np.random.default_rng(3)
    pixels = rng.normal(0, 2, (64, 48)).astype(np.float32) + np.arange(48, dtype=np.float32) // 16
    pixels[5, 5] += 40
    pixels[40, 20] -= 40
    usable = np.ones(pixels.shape, bool)
    usable[:3] = False
    usable[60, 40] = False
    pixels[60, 40] = 1e6
    found, spread = outliers(pixels, usable, 8.0, 16)
    flat = pixels.astype(float)
    for y in range(0, 64, 16):
        for x in range(0, 48, 16):
            part = slice(y, y + 16), slice(x, x + 16)
            flat[part] -= np.median(pixels[part][usable[part]])
    kept = flat[usable]
    for _ in range(3):
        kept = kept[np.abs(kept - np.median(kept)) < 5 * kept.std()]
    assert spread == pytest.approx(kept.std(ddof=1), rel=1e-3)
    np.testing.assert_array_equal(found, [5 * 48 + 5, 40 * 48 + 20])
    assert outliers(pixels, np.zeros_like(usable), 8.0, 16)[0].size == 0


def test_times_found_counts_places():
    places = [np.array([1, 3]), np.array([3]), np.array([], int)]
    np.testing.assert_array_equal(times_found(places, 5), [0, 1, 0, 2, 0])


def exposures(kinds):
    return [
        Exposure("LATISS", 10 + i, f"e{i}", 20210121, i, Timespan(i * 10**9, i * 10**9 + 1), kind)
        for i, kind in enumerate(kinds)
    ]


@pytest.mark.slow
def test_a_hundred_sound_runs_raise_no_alarm():
    """Noise, one hot column and hot pixels that are masked, cosmic rays that are not."""
    detector = scaled(load_instrument("latiss"), 16).camera.detectors[0]
    shape = (len(detector.amplifiers), *detector.imaging_shape)
    judge = JudgeDefects(DefectLimits(), Outliers(), detector)
    measure = MeasureOutliers(Outliers())
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        records = exposures(["bias"] * 5 + ["dark"] * 5)
        mask = np.zeros(shape, np.uint16)
        mask[:, :, 4] = mask[:, 30, 20] = BAD
        found = []
        for record in records:
            image = rng.normal(0, 9, shape).astype(np.float32)
            image[(mask & BAD) != 0] += 500
            for a in range(shape[0]):
                y, x = rng.integers(0, shape[1], 3), rng.integers(0, shape[2], 3)
                image[a, y, x] += 2000
            frame = Frame(image, range(shape[1]), mask.copy(), trimmed=True)
            found.append(measure(frame, Context(detector, record)))
        table = judge.rows(found, records).table()
        required = table["severity"] == "required"
        alarms += bool((table["verdict"][required] != "pass").any())
    assert alarms == 0
