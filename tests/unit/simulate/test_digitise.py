import numpy as np
import pytest

from cpflow.simulate.digitise import Digitise, counts_beyond_16_bits, digitise


@pytest.mark.parametrize(("wide", "dtype", "top"), [(True, np.int32, 262143), (False, "u2", 65535)])
def test_counts_are_rounded_and_clipped(wide, dtype, top):
    counts = np.array([-3.0, 0.4, 10.6, 11.4, 1e6], np.float32)
    stored = digitise(counts, wide)
    assert stored.dtype == dtype
    assert stored.tolist() == [0, 0, 11, 11, top]
    assert digitise(counts, wide, 9).tolist() == [0, 0, 9, 9, 9]


def test_rounding_adds_a_twelfth_to_the_variance_and_leaves_the_mean():
    counts = np.random.default_rng(1).normal(1000.3, 1.0, 400_000).astype(np.float32)
    stored = digitise(counts, True).astype(float)
    n = counts.size
    assert stored.mean() == pytest.approx(1000.3, abs=5 * np.sqrt(13 / 12 / n))
    assert stored.var() == pytest.approx(1 + 1 / 12, abs=5 * np.sqrt(2 / n) * 13 / 12)


def test_the_saturation_level_decides_the_pixel_type(latiss, quad):
    auto = Digitise()
    assert counts_beyond_16_bits(auto, latiss.camera.detectors[0])
    assert not counts_beyond_16_bits(auto, quad.camera.detectors[0])
    assert counts_beyond_16_bits(Digitise(type="int32"), quad.camera.detectors[0])
