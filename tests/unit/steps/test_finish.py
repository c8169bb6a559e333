"""Filling and statistics of a combined image."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from cpflow.camera import Amplifier, Box, Detector, Source
from cpflow.errors import ProductError
from cpflow.kernels.planes import BAD
from cpflow.products import BIAS
from cpflow.steps.finish import fill_without_data, finish_image


def detector():
    return Detector(
        0,
        "two",
        (4, 10),
        tuple(
            Amplifier(name, (4, 5), Source(1, Box(0, 0, 5, 4)), Box(0, 0, 5, 4), Box(x, 0, 5, 4))
            for name, x in (("A", 0), ("B", 5))
        ),
    )


def test_pixels_without_data_take_the_medians_and_are_bad():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(4, 10)).astype(np.float32)
    variance = rng.uniform(1, 2, (4, 10)).astype(np.float32)
    mask = np.zeros((4, 10), np.uint16)
    image[0, 0] = np.nan
    variance[3, 7] = np.nan
    good = np.isfinite(image) & np.isfinite(variance)
    expected = np.median(image[good]), np.median(variance[good])
    before = image.copy()
    assert fill_without_data(image, variance, mask) == 2
    for where in ((0, 0), (3, 7)):
        assert (image[where], variance[where], mask[where]) == (*expected, BAD)
    np.testing.assert_array_equal(image[good], before[good])
    assert not mask[good].any()


def test_without_any_data_there_is_no_product():
    nan = np.full((4, 10), np.nan, np.float32)
    with pytest.raises(ProductError, match="no pixel"):
        fill_without_data(nan.copy(), nan.copy(), np.zeros((4, 10), np.uint16))


def test_statistics_are_per_amplifier():
    image = np.arange(40, dtype=np.float32).reshape(4, 10)
    mask = np.zeros((4, 10), np.uint16)
    mask[1, 6:8] = BAD
    product = xr.Dataset(
        {
            "image": (("y", "x"), image, {"units": "adu"}),
            "variance": (("y", "x"), np.ones_like(image), {"units": "adu2"}),
            "mask": (("y", "x"), mask, {"units": "1"}),
        }
    )
    out = finish_image(product, detector(), (0.0, 50.0, 100.0))
    np.testing.assert_array_equal(out["n_bad"], [0, 2])
    np.testing.assert_array_equal(
        out["distribution"],
        [np.percentile(image[:, :5], (0, 50, 100)), np.percentile(image[:, 5:], (0, 50, 100))],
    )
    assert list(out["amp"].values) == ["A", "B"]
    BIAS.check(out, values=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop_vars("mask"), "'mask' is missing"),
        (lambda d: d.rename(x="column"), "dimensions"),
        (lambda d: d.assign(image=d["image"].astype("float64")), "dtype"),
        (lambda d: d.assign(image=d["image"].assign_attrs(units="volt")), "units"),
        (lambda d: d.assign(image=d["image"].where(d["image"] > 3)), "units|finite"),
    ],
)
def test_a_product_that_breaks_its_specification_is_refused(change, message):
    image = np.arange(40, dtype=np.float32).reshape(4, 10)
    product = xr.Dataset(
        {
            "image": (("y", "x"), image, {"units": "adu"}),
            "variance": (("y", "x"), np.ones_like(image), {"units": "adu2"}),
            "mask": (("y", "x"), np.zeros((4, 10), np.uint16), {"units": "1"}),
        }
    )
    BIAS.check(product, values=True)
    with pytest.raises(ProductError, match=message):
        BIAS.check(change(product), values=True)
