import numpy as np
import pytest
from astropy.io import fits

from cpflow.simulate.fits_writer import write_raw

PIXELS = np.random.default_rng(1).normal(10_000, 9, (40, 70)).astype(np.int32)
HEADERS = {0: [("OBSTYPE", "BIAS", "type")], 1: [("EXTNAME", "Segment10", "")]}


def assert_checksums_hold(path):
    with fits.open(path, disable_image_compression=True) as hdus:
        for hdu in hdus:
            assert hdu.verify_datasum() == 1
            assert hdu.verify_checksum() == 1


@pytest.mark.parametrize("compress", ["none", "rice"])
@pytest.mark.parametrize("pixels", [PIXELS, PIXELS.astype(np.uint16)])
def test_pixels_and_cards_come_back_and_checksums_hold(tmp_path, compress, pixels):
    path = tmp_path / "raw.fits"
    write_raw(path, {1: pixels, 2: pixels[::-1]}, HEADERS, compress=compress)
    with fits.open(path) as hdus:
        assert hdus[0].header["OBSTYPE"] == "BIAS"
        assert hdus[1].header["EXTNAME"] == "Segment10"
        assert np.array_equal(hdus[1].data, pixels)
        assert np.array_equal(hdus[2].data, pixels[::-1])
        assert isinstance(hdus[1], fits.CompImageHDU) == (compress == "rice")
    assert_checksums_hold(path)


def test_rice_tiles_are_single_rows(tmp_path):
    path = tmp_path / "raw.fits.fz"
    write_raw(path, {1: PIXELS}, HEADERS, compress="rice")
    with fits.open(path, disable_image_compression=True) as hdus:
        header = hdus[1].header
        assert (header["ZTILE1"], header["ZTILE2"], header["ZCMPTYPE"]) == (70, 1, "RICE_1")


def test_pixels_of_hdu_0_stay_there_unless_compressed(tmp_path):
    path = tmp_path / "raw.fits"
    for compress, hdu in (("none", 0), ("rice", 1)):
        write_raw(path, {0: PIXELS}, {0: HEADERS[0]}, compress=compress)
        with fits.open(path) as hdus:
            assert np.array_equal(hdus[hdu].data, PIXELS)
            assert hdus[hdu].header["OBSTYPE"] == "BIAS"
        assert_checksums_hold(path)


def test_equal_content_gives_equal_bytes(tmp_path):
    for compress in ("none", "rice"):
        for name in ("a", "b"):
            write_raw(tmp_path / name, {1: PIXELS}, HEADERS, compress=compress, when="2021")
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError):
        write_raw(tmp_path / "raw.fits", {1: PIXELS}, {0: [("BAD\nKEY", 1, "")]})
    assert list(tmp_path.iterdir()) == []
