"""Filling and statistics of a combined image."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from cpflow.camera import Amplifier, Box, Detector, Source
from cpflow.errors import ProductError
from cpflow.kernels.planes import BAD, INTRP, NO_DATA
from cpflow.products import BIAS
from cpflow.steps.finish import bin_good_pixels, fill_without_data, finish_image


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


def simple_block_means(image, mask, factor):
    """Independent: one block at a time, in float64."""
    rows, columns = -(-image.shape[0] // factor), -(-image.shape[1] // factor)
    out = np.full((rows, columns), np.nan)
    for j, i in np.ndindex(rows, columns):
        block = np.s_[j * factor : (j + 1) * factor, i * factor : (i + 1) * factor]
        values = image[block][(mask[block] & (BAD | NO_DATA)) == 0]
        if len(values):
            out[j, i] = values.astype(np.float64).mean()
    return out


# More rows than the 512 that are binned at once, borders that are no multiple of a block, and a
# detector smaller than one block.
@pytest.mark.parametrize("shape", [(1030, 70), (512, 64), (250, 254), (5, 3)])
@pytest.mark.parametrize("factor", [8, 64])
def test_binned_images_are_plain_means_of_good_pixels(shape, factor):
    rng = np.random.default_rng(3)
    image = rng.normal(1000, 30, shape).astype(np.float32)
    mask = rng.choice(np.array([0, 0, BAD, NO_DATA, INTRP], np.uint16), shape)
    image[(mask & BAD) != 0] = 1e6
    image[(mask & NO_DATA) != 0] = 0
    mask[:8, :8] |= np.uint16(BAD)
    before = image.copy(), mask.copy()
    binned = bin_good_pixels(image, mask, factor)
    assert binned.dtype == np.float32
    # Half a step of float32.
    np.testing.assert_allclose(binned, simple_block_means(image, mask, factor), rtol=6e-8)
    assert np.isnan(binned[0, 0]) == (factor == 8 or shape == (5, 3))
    for now, then in zip((image, mask), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_only_known_binnings():
    with pytest.raises(ValueError, match="not by 16"):
        bin_good_pixels(np.zeros((4, 4), np.float32), np.zeros((4, 4), np.uint16), 16)


def test_a_finished_image_has_binned_ones_without_what_was_filled():
    image = np.full((4, 10), 7, np.float32)
    image[0, :5] = np.nan
    image[3] = 9
    product = xr.Dataset(
        {
            "image": (("y", "x"), image, {"units": "adu"}),
            "variance": (("y", "x"), np.ones_like(image), {"units": "adu2"}),
            "mask": (("y", "x"), np.zeros((4, 10), np.uint16), {"units": "1"}),
        }
    )
    out = finish_image(product, detector(), (50.0,))
    assert (out["image_bin8"].dims, out["image_bin64"].dims) == (("y8", "x8"), ("y64", "x64"))
    assert out["image_bin8"].attrs["units"] == "adu"
    # 8 columns: 3 good pixels in the first row, 16 of the middle ones, 8 of the last.
    np.testing.assert_allclose(
        out["image_bin8"], [[(19 * 7 + 8 * 9) / 27, (6 * 7 + 2 * 9) / 8]], rtol=6e-8
    )
    np.testing.assert_allclose(out["image_bin64"], [[(25 * 7 + 10 * 9) / 35]], rtol=6e-8)
    BIAS.check(out, values=True)
