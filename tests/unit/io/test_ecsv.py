"""Curated tables in the layout that LATISS publishes."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from cpflow.errors import ProductError
from cpflow.io.ecsv_crosstalk import read_crosstalk, write_crosstalk
from cpflow.io.ecsv_defects import defects_product, read_defects, write_defects
from cpflow.products import CROSSTALK, DEFECTS

WHERE = {"instrument": "LATISS", "detector": 0}
SHAPE = (4000, 4072)
AMPS = ("A", "B", "C")

# The layout of 2019: ECSV 0.9, units, an ordered header.
PUBLISHED = """# %ECSV 0.9
# ---
# datatype:
# - name: x0
#   unit: pix
#   datatype: int32
#   description: X coordinate of bottom left corner of box
# - name: y0
#   unit: pix
#   datatype: int32
# - name: width
#   unit: pix
#   datatype: int32
# - name: height
#   unit: pix
#   datatype: int32
# meta: !!omap
# - OBSTYPE: defects
# - INSTRUME: LATISS
# - DETECTOR: 0
# - CALIBDATE: '2018-01-01T00:00:00'
# - DEFECTS_SCHEMA: Simple
# - CALIB_CREATION_TIME: 00:56:26
# schema: astropy-2.0
x0 y0 width height
3562 0 509 2000
7 3 1 1
"""


def matrix(values):
    return json.dumps(np.asarray(values).ravel().tolist(), separators=(",", ":"))


def published_crosstalk(coefficients, errors, valid, *, units="adu", shape=(3, 3)):
    """The layout of 2023: one row, a flat matrix in each column, NaN on the diagonal."""
    size = len(np.ravel(coefficients))
    return f"""# %ECSV 1.0
# ---
# datatype:
# - {{name: CT_COEFFS, datatype: string, subtype: 'float64[{size}]'}}
# - {{name: CT_ERRORS, datatype: string, subtype: 'float64[{size}]'}}
# - {{name: CT_VALID, datatype: string, subtype: 'bool[{size}]'}}
# meta:
#   CALIBCLS: lsst.ip.isr.crosstalk.CrosstalkCalib
#   CROSSTALK_RATIOS_UNITS: {units}
#   CROSSTALK_SHAPE: [{shape[0]}, {shape[1]}]
#   DETECTOR: 0
#   INSTRUME: LATISS
#   OBSTYPE: CROSSTALK
# schema: astropy-2.0
CT_COEFFS CT_ERRORS CT_VALID
{matrix(coefficients)} {matrix(errors)} {matrix(valid)}
"""


@pytest.fixture
def write(tmp_path):
    def written(text, name="20180101T000000.ecsv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return written


def read(path, shape=SHAPE, **other):
    return read_defects(path, shape=shape, **{**WHERE, **other})


class TestDefects:
    def test_the_published_layout(self, write):
        product = read(write(PUBLISHED))
        DEFECTS.check(product)
        assert product["x0"].values.tolist() == [3562, 7]
        assert product["height"].values.tolist() == [2000, 1]
        assert product["x0"].dtype == np.int32

    def test_a_table_without_boxes_is_a_product_without_defects(self, write):
        empty = PUBLISHED.replace("3562 0 509 2000\n7 3 1 1\n", "")
        product = read(write(empty))
        DEFECTS.check(product)
        assert product.sizes["box"] == 0

    def test_written_and_read_is_the_same(self, tmp_path):
        boxes = np.array([[0, 0, 4072, 1], [4071, 3999, 1, 1]])
        product = defects_product(boxes, **WHERE)
        path = tmp_path / "a.ecsv"
        write_defects(path, product, {"CALIBDATE": "2021-01-01T00:00:00"})
        assert read(path).identical(product)
        assert "unit: pix" in path.read_text()
        assert [p.name for p in tmp_path.iterdir()] == ["a.ecsv"], "no temporary file is left"

    def test_what_reaches_beyond_the_detector_is_cut_and_said(self, write, caplog):
        with caplog.at_level(logging.WARNING, "cpflow"):
            product = read(write(PUBLISHED), shape=(1000, 4000))
        assert product["width"].values.tolist() == [438, 1]
        assert product["height"].values.tolist() == [1000, 1]
        assert "1 boxes reach beyond" in caplog.text

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("7 3 1 1", "9000 3 1 1", "box 2 .* has no pixel"),
            ("7 3 1 1", "-5 3 2 1", "box 2"),
            ("7 3 1 1", "7 3 0 1", "box 2"),
            ("7 3 1 1", "7 3 1", "not a sound ECSV table"),
            ("7 3 1 1", "7 3 1 x", "not a sound ECSV table"),
            ("INSTRUME: LATISS", "INSTRUME: DECam", "INSTRUME is 'DECam', expected 'LATISS'"),
            ("DETECTOR: 0", "DETECTOR: 3", "DETECTOR is 3"),
            ("OBSTYPE: defects", "OBSTYPE: CROSSTALK", "OBSTYPE is 'CROSSTALK'"),
            ("x0", "xx", "no column x0"),
            ("# %ECSV 0.9", "nonsense", "not a sound ECSV table"),
        ],
    )
    def test_errors_name_file_and_reason(self, write, old, new, message):
        path = write(PUBLISHED.replace(old, new))
        with pytest.raises(ProductError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)

    def test_a_missing_or_binary_file_is_an_error(self, tmp_path):
        with pytest.raises(ProductError, match="not a sound"):
            read(tmp_path / "missing.ecsv")
        (tmp_path / "a.ecsv").write_bytes(bytes(range(256)))
        with pytest.raises(ProductError, match="not a sound"):
            read(tmp_path / "a.ecsv")

    def test_fractions_are_no_pixels(self, write):
        text = PUBLISHED.replace("int32", "float64").replace("7 3 1 1", "7.5 3 1 1")
        with pytest.raises(ProductError, match="not of integers"):
            read(write(text))


class TestCrosstalk:
    rng = np.random.default_rng(1)
    coefficients = rng.normal(0, 1e-4, (3, 3))
    errors = np.where(np.eye(3), np.nan, 1e-5)
    valid = ~np.eye(3, dtype=bool)

    def text(self, **options):
        return published_crosstalk(self.coefficients, self.errors, self.valid, **options)

    def test_the_published_layout_is_source_by_target(self, write):
        product = read_crosstalk(write(self.text()), amplifiers=AMPS, **WHERE)
        CROSSTALK.check(product)
        np.testing.assert_array_equal(product["coefficients"], self.coefficients)
        np.testing.assert_array_equal(product["errors"], self.errors)
        np.testing.assert_array_equal(product["valid"], self.valid)
        # Row by row: the second number of the row belongs to source A, target B.
        one = product["coefficients"].sel(source_amp="A", target_amp="B")
        assert float(one) == self.coefficients.ravel()[1]
        assert product["coefficients"].attrs["units"] == "adu/adu"

    def test_electrons_are_kept_apart_from_counts(self, write):
        product = read_crosstalk(write(self.text(units="electrons")), amplifiers=AMPS, **WHERE)
        assert product["coefficients"].attrs["units"] == "electron/electron"
        with pytest.raises(ProductError, match="'volts'"):
            read_crosstalk(write(self.text(units="volts")), amplifiers=AMPS, **WHERE)

    def test_written_and_read_is_the_same_with_quadratic_terms(self, tmp_path, write):
        product = read_crosstalk(write(self.text()), amplifiers=AMPS, **WHERE)
        dims = product["coefficients"].dims
        product["quadratic"] = (dims, self.coefficients * 1e-6, {"units": "1/adu"})
        product["counts"] = (dims, np.arange(9).reshape(3, 3), {"units": "1"})
        CROSSTALK.check(product)
        write_crosstalk(tmp_path / "b.ecsv", product, {"CALIBDATE": "2021-01-01T00:00:00"})
        again = read_crosstalk(tmp_path / "b.ecsv", amplifiers=AMPS, **WHERE)
        assert again.identical(product)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda text: text.replace("[3, 3]", "[2, 2]"), "2 x 2"),
            (lambda text: text.replace("CT_VALID", "CT_OTHER"), "no column CT_VALID"),
            (lambda text: text + text.splitlines()[-1] + "\n", "2 rows"),
            (lambda text: text.replace("LATISS", "LSSTCam"), "INSTRUME"),
        ],
    )
    def test_errors(self, write, change, message):
        path = write(change(self.text()))
        with pytest.raises(ProductError, match=message):
            read_crosstalk(path, amplifiers=AMPS, **WHERE)

    def test_another_number_of_amplifiers_is_refused(self, write):
        with pytest.raises(ProductError, match="the detector has 16"):
            read_crosstalk(write(self.text()), amplifiers=[str(i) for i in range(16)], **WHERE)
