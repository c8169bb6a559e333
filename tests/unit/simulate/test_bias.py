import math
from dataclasses import replace

import numpy as np
import pytest

from cpflow.simulate.bias import (
    Bias,
    draw_drift,
    draw_levels,
    draw_noise,
    draw_pattern,
    read_noise,
)
from cpflow.simulate.geometry import imaging_pixels
from cpflow.simulate.seeds import stream


def test_levels_lie_in_the_range_of_the_camera(latiss):
    detector = latiss.camera.detectors[0]
    for wide, (low, high) in ((True, (8000, 25000)), (False, (900, 1100))):
        levels = draw_levels(Bias(), detector, wide, stream("levels"))
        assert levels.shape == (16,)
        assert ((levels >= low) & (levels < high)).all()
    levels = draw_levels(Bias(level=(5.0, 5.0)), detector, True, stream("levels"))
    assert (levels == 5).all()


def test_read_noise_is_the_camera_s_or_the_default(quad):
    detector = quad.camera.detectors[0]
    first = replace(detector.amplifiers[0], read_noise=math.nan)
    detector = replace(detector, amplifiers=(first, *detector.amplifiers[1:]))
    noise = read_noise(Bias(default_read_noise=7.0), detector)
    assert noise == pytest.approx([7.0, 5.5, 6.0, 4.5])


def test_noise_has_the_wanted_standard_deviation():
    noise = draw_noise((400, 500), 8.0, stream("noise"))
    # The standard error of a normal standard deviation is sigma / sqrt(2 n).
    assert noise.std() == pytest.approx(8.0, abs=5 * 8 / math.sqrt(2 * noise.size))
    assert noise.mean() == pytest.approx(0, abs=5 * 8 / math.sqrt(noise.size))


def test_drift_is_the_sum_of_exposure_settling_and_row_noise():
    model = Bias(drift=100.0, drift_scatter=0.0, exposure_scatter=0.0, row_noise=0.0)
    rows = 200
    expected = 100 * np.exp(-np.arange(rows) / (0.15 * rows))
    assert draw_drift(model, rows, stream("d")) == pytest.approx(expected, rel=1e-6)
    noisy = draw_drift(Bias(drift=0.0, exposure_scatter=0.0, row_noise=2.0), 40_000, stream("d"))
    assert noisy.std() == pytest.approx(2.0, abs=5 * 2 / math.sqrt(2 * noisy.size))
    offsets = [
        draw_drift(Bias(drift=0.0, exposure_scatter=3.0, row_noise=0.0), 2, stream("d", i))
        for i in range(2000)
    ]
    assert np.ptp(offsets, axis=1).max() == 0
    assert np.std(offsets) == pytest.approx(3.0, abs=5 * 3 / math.sqrt(2 * len(offsets)))


def test_pattern_glows_in_the_corner_that_is_read_out_first(quad):
    detector = quad.camera.detectors[0]
    model = Bias(structure=0.0, corner=50.0, column_pattern=0.0, pixel_pattern=0.0)
    pattern = draw_pattern(model, detector, stream("p"))
    for amplifier in detector:
        area = imaging_pixels(pattern, amplifier)
        assert area[0, 0] == pytest.approx(50)
        assert area[16, 20] == pytest.approx(50 * math.exp(-20 * (16 / 64 + 20 / 80)), rel=1e-5)


def test_pattern_columns_and_pixels_scatter_as_asked(latiss):
    detector = latiss.camera.detectors[0]
    model = Bias(structure=0.0, corner=0.0, column_pattern=4.0, pixel_pattern=0.5)
    pattern = draw_pattern(model, detector, stream("p")).astype(float)
    amplifier = imaging_pixels(pattern, detector.amplifiers[3])
    within = (amplifier - amplifier.mean(axis=0)).std(ddof=0)
    assert within == pytest.approx(0.5, rel=5 / math.sqrt(2 * amplifier.size) + 0.5 / 125)
    columns = np.concatenate([imaging_pixels(pattern, a).mean(axis=0) for a in detector])
    assert columns.std() == pytest.approx(4.0, rel=5 / math.sqrt(2 * columns.size))
