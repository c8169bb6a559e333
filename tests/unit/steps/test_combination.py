"""Combining rows of exposures: scale, planes, counts, variances, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import reference

from cpflow.errors import ConfigurationError, ProductError, RawError
from cpflow.exposure import Exposure
from cpflow.kernels.planes import BAD, CR, INTRP, NO_DATA, SAT, SUSPECT
from cpflow.stack import BandStack, Frame
from cpflow.steps.combination import CombineBand, check_scale, exposure_scale
from cpflow.steps.focal_plane import Level
from cpflow.steps.options import Combine
from cpflow.timespan import Timespan


def exposure(number, dark_time=None):
    return Exposure(
        "X", number, f"X{number}", 20210101, number, Timespan.at(number), "bias",
        dark_time=dark_time, exposure_time=dark_time,
    )  # fmt: skip


def band(image, mask=None, variance=None, measured=None, dark_times=None):
    count = len(image)
    planes = np.ones_like(image) if variance is None else variance
    reloads = []

    def reload(i):
        reloads.append(i)
        return Frame(image[i], range(image.shape[2]), variance=planes[i])

    stack = BandStack(
        image,
        mask,
        tuple(range(count)),
        tuple(exposure(i, None if dark_times is None else dark_times[i]) for i in range(count)),
        measured or [{}] * count,
        {},
        range(image.shape[2]),
        None,
        reload,
    )
    return stack, reloads


def frames(count, seed=0, shape=(2, 3, 5)):
    rng = np.random.default_rng(seed)
    return rng.normal(100, 5, (count, *shape)).astype(np.float32)


def test_masked_planes_are_left_out_and_others_are_not():
    image = frames(9)
    mask = np.zeros(image.shape, np.uint16)
    mask[0, 0, 0, 0] = SAT
    mask[1, 0, 0, 1] = CR
    mask[2, 0, 0, 2] = SUSPECT
    mask[3, 0, 0, 3] = BAD
    stack, _ = band(image, mask)
    out = CombineBand(Combine(mask=("SAT", "CR")))(stack)
    np.testing.assert_array_equal(out["n_good"][0, 0], [8, 8, 9, 9, 9])
    good = (mask & (SAT | CR)) == 0
    mean, variance, survivors = reference.clipped_mean(image, good)
    np.testing.assert_allclose(out["image"], mean, rtol=1e-7)
    np.testing.assert_allclose(out["variance"], variance, rtol=5e-7)
    np.testing.assert_array_equal(out["n_used"], survivors)
    np.testing.assert_array_equal(out["mask"][0, 0], [0, 0, 0, BAD, 0], "only BAD gets through")
    kept = CombineBand(Combine(mask=("SAT", "CR"), censor_mask=False))(stack)
    assert kept["mask"][0, 0, 2] == SUSPECT
    assert kept["mask"][0, 0, 0] == 0, "an excluded input gives no bits either"


def test_nothing_good_is_nan_and_flagged():
    image = frames(6)
    image[:, 1, 2, 3] = np.nan
    mask = np.zeros(image.shape, np.uint16)
    mask[:, 0, 1, 1] = SAT
    out = CombineBand(Combine())(band(image, mask)[0])
    for where in ((1, 2, 3), (0, 1, 1)):
        assert np.isnan(out["image"][where])
        assert np.isnan(out["variance"][where])
        assert out["mask"][where] == BAD
        assert out["n_good"][where] == 0
    assert np.count_nonzero(np.isnan(out["image"])) == 2


def test_one_good_input_keeps_its_value_and_its_variance():
    """The reference gives NaN variance and then replaces the pixel (spec 3.3, GAP)."""
    image = frames(8)
    mask = np.zeros(image.shape, np.uint16)
    mask[:, 0, 0, 0] = INTRP
    mask[5, 0, 0, 0] = 0
    variance = np.full_like(image, 7.0)
    variance[5] = 11.0
    scaled = Combine(scale="dark_time")
    for options, scale in ((Combine(), 1.0), (scaled, 2.0)):
        stack, reloads = band(image, mask, variance, dark_times=[2.0] * 8)
        out = CombineBand(options)(stack)
        assert out["image"][0, 0, 0] == image[5, 0, 0, 0] / np.float32(scale)
        assert out["variance"][0, 0, 0] == 11.0 / scale**2
        assert out["n_good"][0, 0, 0] == 1
        assert reloads == [5], "only the exposure that is needed is processed again"


def test_few_exposures_average_input_variances():
    image = frames(3)
    variance = np.stack([np.full_like(image[0], v) for v in (1.0, 2.0, 6.0)])
    stack, _ = band(image, variance=variance)
    out = CombineBand(Combine())(stack)
    np.testing.assert_allclose(out["variance"], 1.0, rtol=1e-6)
    one, _ = band(image[:1], variance=variance[2:])
    out = CombineBand(Combine())(one)
    np.testing.assert_array_equal(out["image"], image[0])
    np.testing.assert_array_equal(out["variance"], 6.0)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_other_statistics(statistic):
    image = frames(7)
    image[2, 0, 0, 0] = 1e6
    image[3, 1, 1, 1] = np.nan
    out = CombineBand(Combine(statistic=statistic))(band(image)[0])
    expected = (np.nanmean if statistic == "mean" else np.nanmedian)(
        image.astype(np.float64), axis=0
    )
    np.testing.assert_allclose(out["image"], expected, rtol=1e-6)


def test_each_exposure_is_divided_by_its_scale():
    image = frames(6)
    times = [1.0, 2.0, 4.0, 8.0, 3.0, 5.0]
    for i, time in enumerate(times):
        image[i] *= np.float32(time)
    out = CombineBand(Combine(scale="dark_time"))(band(image, dark_times=times)[0])
    mean, _, _ = reference.clipped_mean(
        np.stack([frame * np.float32(1 / t) for frame, t in zip(image, times, strict=True)])
    )
    np.testing.assert_allclose(out["image"], mean, rtol=2e-7)
    measured = [{"level": Level(time, 1)} for time in times]
    by_mean = CombineBand(Combine(scale="mean"))(band(image, measured=measured)[0])
    np.testing.assert_array_equal(by_mean["image"], out["image"])


@pytest.mark.parametrize("time", [None, 0.0, -1.0, np.nan])
def test_a_time_that_cannot_scale_is_refused(time):
    with pytest.raises(RawError, match="exposure 3"):
        exposure_scale(exposure(3, time), {}, {}, Combine(scale="dark_time"))
    with pytest.raises(ConfigurationError, match="dark_time"):
        check_scale(Combine(scale="dark_time"), [exposure(3, time)])
    check_scale(Combine(), [exposure(3, time)])


def test_no_data_stops_the_product():
    image = frames(6)
    mask = np.zeros(image.shape, np.uint16)
    mask[4, 0, 0, 0] = NO_DATA
    with pytest.raises(ProductError, match="exposures 4"):
        CombineBand(Combine())(band(image, mask)[0])
    CombineBand(Combine(check_no_data=False))(band(image, mask)[0])
