"""Defects as FITS tables: there and back, and as regions."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from cpflow.errors import ProductError
from cpflow.io.ecsv_defects import defects_product, read_defects
from cpflow.io.fits_defects import read_boxes, write_defects_fits

BOXES = np.array([[3, 5, 2, 7], [0, 0, 1, 1], [40, 90, 10, 10]])
OWNER = {"instrument": "LATISS", "detector": 0, "shape": (100, 50)}


def test_boxes_come_back_as_they_were(tmp_path):
    path = tmp_path / "defects.fits"
    product = defects_product(BOXES, instrument="LATISS", detector=0)
    write_defects_fits(path, product, {"RUN": "u/me/defects"})
    with fits.open(path) as hdus:
        assert hdus[1].columns.names == ["x0", "y0", "width", "height"]
        assert hdus[0].header["OBSTYPE"] == "defects"
    again = read_defects(path, **OWNER)
    for i, name in enumerate(("x0", "y0", "width", "height")):
        np.testing.assert_array_equal(again[name], BOXES[:, i])
        assert again[name].attrs["units"] == "pixel"


def test_none_is_a_list_too(tmp_path):
    path = tmp_path / "none.fits"
    empty = defects_product(np.empty((0, 4), np.int64), instrument="LATISS", detector=0)
    write_defects_fits(path, empty, {})
    assert read_defects(path, **OWNER).sizes["box"] == 0


def test_regions_count_from_one_and_turn_by_right_angles(tmp_path):
    path = tmp_path / "regions.fits"
    Table(
        {
            "X": [1.0, 11.0, 20.5, 31.0],
            "Y": [1.0, 6.0, 7.0, 52.5],
            "SHAPE": ["POINT", "BOX", "BOX", "ROTBOX"],
            "R": [[0.0, 0.0], [3.0, 5.0], [4.0, 1.0], [2.0, 3.0]],
            "ROTANG": [0.0, 0.0, 0.0, 90.0],
        }
    ).write(path)
    boxes, _ = read_boxes(path)
    expected = [
        [0, 0, 1, 1],  # the first pixel
        [9, 3, 3, 5],  # columns 10 to 12 and rows 4 to 8, counted from 1
        [18, 6, 4, 1],  # columns 19 to 22
        [29, 51, 3, 2],  # turned: 3 wide, 2 high
    ]
    np.testing.assert_array_equal(boxes, expected)


@pytest.mark.parametrize(
    ("shape", "angle", "match"), [("CIRCLE", 0.0, "shape CIRCLE"), ("ROTBOX", 45.0, "45.0 degrees")]
)
def test_other_regions_are_refused_by_number(tmp_path, shape, angle, match):
    path = tmp_path / "odd.fits"
    Table({"X": [5.0], "Y": [5.0], "SHAPE": [shape], "R": [[2.0, 2.0]], "ROTANG": [angle]}).write(
        path
    )
    with pytest.raises(ProductError, match=f"region 1 .*{match}"):
        read_boxes(path)


def test_files_of_others_and_no_tables_are_refused(tmp_path):
    path = tmp_path / "defects.fits"
    product = defects_product(BOXES, instrument="LATISS", detector=3)
    write_defects_fits(path, product, {})
    with pytest.raises(ProductError, match="DETECTOR is 3"):
        read_defects(path, **OWNER)
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "image.fits")
    with pytest.raises(ProductError, match="no FITS file with a table"):
        read_boxes(tmp_path / "image.fits")
    Table({"a": [1]}).write(tmp_path / "other.fits")
    with pytest.raises(ProductError, match="columns a"):
        read_boxes(tmp_path / "other.fits")
