from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from cpflow.errors import ProductError
from cpflow.io.fits_product import write_image_fits
from cpflow.kernels.planes import PLANES


@pytest.fixture
def planes():
    rng = np.random.default_rng(1)
    image = rng.normal(0, 1, (12, 17)).astype(np.float32)
    image[2, 3] = np.nan
    variance = rng.uniform(1, 2, (12, 17)).astype(np.float32)
    mask = rng.integers(0, 1 << len(PLANES), (12, 17)).astype(np.uint16)
    return image, variance, mask


def test_planes_and_header_come_back(planes, tmp_path):
    image, variance, mask = planes
    path = tmp_path / "bias.fits"
    header = {
        "OBSTYPE": "bias",
        "BUNIT": "adu",
        "CPP_INPUT_0": 2021012000019,
        "CPP_INPUT_SCALE_0": 1.25,
        "LSST ISR GAIN C10": 1.1,
        "CONFIG": "x" * 300,
        "NOVALUE": None,
        "FLAG": np.bool_(True),
        "COUNT": np.int64(3),
        "NOISE": float("nan"),
        "NAME": "Zürich\nline",
    }
    write_image_fits(path, image, variance, mask, header)
    with fits.open(path, checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE", "MASK", "VARIANCE"]
        for name, plane, dtype in (
            ("IMAGE", image, np.float32),
            ("VARIANCE", variance, np.float32),
            ("MASK", mask, np.int32),
        ):
            assert hdus[name].data.dtype.newbyteorder("=") == dtype
            np.testing.assert_array_equal(hdus[name].data, plane)
        for bit, plane_name in enumerate(PLANES):
            assert hdus["MASK"].header[f"MP_{plane_name}"] == bit
        got = hdus[0].header
        assert got["OBSTYPE"] == "bias"
        assert got["CPP_INPUT_0"] == 2021012000019
        assert got["CPP_INPUT_SCALE_0"] == 1.25
        assert got["LSST ISR GAIN C10"] == 1.1
        assert got["CONFIG"] == "x" * 300
        assert got["NOVALUE"] is None
        assert (got["FLAG"], got["COUNT"]) == (True, 3)
        assert (got["NOISE"], got["NAME"]) == ("nan", "Z?rich line")
        assert "BUNIT" not in got
        assert hdus["IMAGE"].header["BUNIT"] == "adu"
        assert hdus["VARIANCE"].header["BUNIT"] == "adu2"


@pytest.mark.parametrize(
    ("unit", "squared"), [("1", "1"), ("adu/s", "(adu/s)2"), ("electron", "electron2")]
)
def test_the_variance_has_the_square_of_the_unit(unit, squared, planes, tmp_path):
    write_image_fits(tmp_path / "a.fits", *planes, {"BUNIT": unit})
    with fits.open(tmp_path / "a.fits") as hdus:
        assert hdus["VARIANCE"].header["BUNIT"] == squared


def test_variance_and_mask_may_be_left_out(planes, tmp_path):
    write_image_fits(tmp_path / "a.fits", planes[0], None, None, {})
    with fits.open(tmp_path / "a.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE"]


def test_the_same_content_gives_the_same_bytes_and_replaces(planes, tmp_path):
    path = tmp_path / "a.fits"
    path.write_text("old")
    write_image_fits(path, *planes, {"A": 1})
    first = path.read_bytes()
    write_image_fits(path, *planes, {"A": 1})
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["a.fits"]


def test_planes_of_different_shapes_are_refused(planes, tmp_path):
    with pytest.raises(ProductError, match="one shape"):
        write_image_fits(tmp_path / "a.fits", planes[0], planes[1][:-1], None, {})
    with pytest.raises(ProductError, match="one shape"):
        write_image_fits(tmp_path / "a.fits", planes[0][0], None, None, {})
    assert not list(tmp_path.iterdir())


def test_further_images_come_back_with_the_unit(planes, tmp_path):
    small = np.arange(6, dtype=np.float32).reshape(2, 3)
    small[0, 0] = np.nan
    path = tmp_path / "a.fits"
    write_image_fits(
        path,
        *planes,
        {"BUNIT": "adu/s"},
        further={"IMAGE_BIN8": small, "IMAGE_BIN64": small[:1, :1]},
        image_header={"CRPIX1": 1.0, "CUNIT1": "mm"},
    )
    with fits.open(path, checksum=True) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == [
            "IMAGE", "MASK", "VARIANCE", "IMAGE_BIN8", "IMAGE_BIN64"
        ]  # fmt: skip
        np.testing.assert_array_equal(hdus["IMAGE_BIN8"].data, small)
        assert hdus["IMAGE_BIN8"].data.dtype.newbyteorder("=") == np.float32
        assert hdus["IMAGE_BIN64"].data.shape == (1, 1)
        assert hdus["IMAGE_BIN64"].header["BUNIT"] == "adu/s"
        assert (hdus["IMAGE"].header["CRPIX1"], hdus["IMAGE"].header["CUNIT1"]) == (1.0, "mm")
        assert "CRPIX1" not in hdus["IMAGE_BIN8"].header
    for further in ({"MASK": small}, {"LINE": small[0]}):
        with pytest.raises(ProductError, match="one more image"):
            write_image_fits(path, *planes, {}, further=further)


def test_a_keyword_that_fits_cannot_hold_is_named(planes, tmp_path):
    with pytest.raises(ProductError, match="keyword 'BAD=KEY'"):
        write_image_fits(tmp_path / "a.fits", planes[0], None, None, {"BAD=KEY": 1})


def test_nothing_half_written_is_left(planes, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("astropy.io.fits.HDUList.writeto", fail)
    with pytest.raises(OSError, match="No space"):
        write_image_fits(tmp_path / "a.fits", *planes, {})
    assert not list(tmp_path.iterdir())
