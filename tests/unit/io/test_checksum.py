from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from cpflow.errors import RawError
from cpflow.io.checksum import check_file
from cpflow.io.fits_file import open_fits


def write(path, **options):
    rng = np.random.default_rng(3)
    images = [rng.integers(-(2**31), 2**31, (700, 900), dtype=np.int32) for _ in range(2)]
    hdus = [fits.PrimaryHDU(images[0]), fits.ImageHDU(images[1])]
    fits.HDUList(hdus).writeto(path, checksum=True, **options)
    return path


def flip_bit(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


def test_sums_that_astropy_wrote_hold(tmp_path):
    # Larger than a chunk, so that sums go across several.
    assert check_file(open_fits(write(tmp_path / "a.fits"))).startswith("sha256:")


def test_sums_of_real_files_hold(real_data):
    paths = sorted(real_data.rglob("*.fz"))[::10]
    for path in paths:
        check_file(open_fits(path))


@pytest.mark.parametrize("hdu", [0, 1])
@pytest.mark.parametrize("where", ["first", "last"])
def test_a_changed_pixel_is_found(hdu, where, tmp_path):
    path = write(tmp_path / "a.fits")
    found = open_fits(path).hdus[hdu]
    flip_bit(path, found.offset if where == "first" else found.offset + found.size - 1)
    with pytest.raises(RawError, match=f"checksum mismatch.*HDU {hdu}") as caught:
        check_file(open_fits(path))
    assert caught.value.hint
    assert check_file(open_fits(path), fits=False).startswith("sha256:")


def test_an_edited_header_is_only_warned_of(tmp_path, put_cards, warnings_of):
    path = write(tmp_path / "a.fits")
    put_cards(path, 1, {"OBJECT": "'edited'"})
    check_file(open_fits(path))
    assert len(warnings_of()) == 1
    assert "header of HDU 1 has been edited" in warnings_of()[0]


def test_a_checksum_without_datasum_cannot_tell_and_is_refused(tmp_path, put_cards):
    path = write(tmp_path / "a.fits")
    put_cards(path, 1, {"OBJECT": "'edited'", "DATASUM": None})
    with pytest.raises(RawError, match="HDU 1 does not agree with its CHECKSUM"):
        check_file(open_fits(path))


def test_files_without_sums_are_only_read_for_the_digest(tmp_path):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.zeros((5, 5), np.int16)).writeto(path)
    assert check_file(open_fits(path), sha256=False) == ""
    assert check_file(open_fits(path)).startswith("sha256:")


def test_missing_padding_counts_as_zeros(tmp_path):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.arange(25, dtype=np.int32).reshape(5, 5)).writeto(path, checksum=True)
    path.write_bytes(path.read_bytes()[: 2880 + 100])
    check_file(open_fits(path))
