"""Electro-optical products as FITS tables, read back with astropy alone."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from electro_optical import A00, NOISE, kernel, linearizer, names, ptc

from cpflow.io.fits_kernel import write_kernel
from cpflow.io.fits_linearizer import write_linearizer
from cpflow.io.fits_ptc import write_ptc
from cpflow.io.fits_tables import column, write_tables
from cpflow.io.instrument import load_instrument

# The schema, as spec electro-optical 1.14, 2.6 and 3.3 list it.
PTC_COLUMNS = """
    AMPLIFIER_NAME PTC_FIT_TYPE COV_MATRIX_SIDE COV_MATRIX_SIDE_FULL_COV_FIT BAD_AMPS
    INPUT_EXP_ID_PAIRS INPUT_EXP_PAIR_MJD_START EXP_ID_MASK EXP_ID_ROLLOFF_MASK RAW_EXP_TIMES
    RAW_MEANS RAW_DELTAS RAW_VARS ROW_MEAN_VARIANCE HIST_VARS HIST_CHI2_DOFS KS_PVALUES GAIN
    GAIN_ERR GAIN_UNADJUSTED GAIN_LIST NOISE_LIST NOISE NOISE_ERR OVERSCAN_MEDIAN_LIST
    OVERSCAN_MEDIAN OVERSCAN_MEDIAN_SIGMA PTC_FIT_PARS PTC_FIT_PARS_ERROR PTC_FIT_CHI_SQ PTC_TURNOFF
    PTC_TURNOFF_SAMPLING_ERROR PTC_ROLLOFF PTC_ROLLOFF_ERROR PTC_ROLLOFF_TAU PTC_ROLLOFF_TAU_ERROR
    A_MATRIX B_MATRIX NOISE_MATRIX COVARIANCES COVARIANCES_SQRT_WEIGHTS COVARIANCES_MODEL
    FINAL_MEANS FINAL_VARS FINAL_MODEL_VARS PHOTO_CHARGE PHOTO_CHARGE_DELTAS AMP_OFFSETS
    NPIXEL_COVARIANCES
"""
LINEARIZER_COLUMNS = """
    AMPLIFIER_NAME TYPE COEFFS BBOX_X0 BBOX_Y0 BBOX_DX BBOX_DY INPUT_GAIN INPUT_TURNOFF
    INP_ABSCISSA INP_ORDINATE INP_MASK INP_GROUPING_INDEX INP_NORMALIZATION FIT_PARAMS
    FIT_PARAMS_ERR RED_CHI_SQ FIT_RES FIT_RES_SIGMAD FIT_RES_UNMASKED FIT_RES_MODEL LIN_FIT
    LINEARITY_TURNOFF LINEARITY_MAX_SIGNAL ABS_REF_AMP
"""
KERNEL_COLUMNS = """
    AMPLIFIER EXP_ID_MASK RAW_MEANS RAW_VARIANCES RAW_XCORRS GAIN NOISE MEAN_XCORRS KERNEL VALID
"""


@pytest.fixture
def detector():
    return load_instrument("latiss").camera.detector(0)


@pytest.fixture
def amplifiers(detector):
    return list(detector.amplifier_names)


def read(path, hdu=1):
    """As strict as a reader can be: pytest turns warnings into errors."""
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
    table = Table.read(path, hdu=hdu, mask_invalid=False)
    table.convert_bytestring_to_unicode()
    return table


def test_a_photon_transfer_curve_comes_back(tmp_path):
    product = ptc(names(3), pairs=6, lags=4, bad=(1,))
    path = tmp_path / "ptc.fits"
    starts = np.arange(6) + 59284.5
    reasons = {"observationReason": [f"ptc {i}" for i in range(6)]}
    write_ptc(path, product, {"DET_NAME": "RXX_S00"}, mjd_start=starts, auxiliary=reasons)
    table = read(path)
    assert set(PTC_COLUMNS.split()) <= set(table.colnames)
    assert set(table.colnames) - set(PTC_COLUMNS.split()) == {"PTCAUX_observationReason"}
    assert table.meta["OBSTYPE"] == "PTC"
    assert table.meta["PTC_VERSION"] == 2.6
    assert (table.meta["INSTRUME"], table.meta["DET_NAME"]) == ("LATISS", "RXX_S00")
    assert list(table["AMPLIFIER_NAME"]) == names(3)
    assert set(table["PTC_FIT_TYPE"]) == {"FULLCOVARIANCE"}
    assert table["BAD_AMPS"].tolist() == [["C01"]] * 3
    one_to_one = {
        "GAIN": "gain", "GAIN_UNADJUSTED": "gain", "GAIN_ERR": "gain_error", "NOISE": "noise",
        "NOISE_ERR": "noise_error", "PTC_TURNOFF": "turnoff",
        "PTC_TURNOFF_SAMPLING_ERROR": "turnoff_error", "RAW_MEANS": "mean", "RAW_DELTAS": "delta",
        "RAW_VARS": "variance", "EXP_ID_MASK": "used", "EXP_ID_ROLLOFF_MASK": "used",
        "OVERSCAN_MEDIAN_LIST": "overscan_level",
    }  # fmt: skip
    for key, name in one_to_one.items():
        np.testing.assert_array_equal(table[key], product[name].values, err_msg=key)
    matrices = {
        "A_MATRIX": "a", "B_MATRIX": "b", "NOISE_MATRIX": "noise_matrix",
        "COVARIANCES": "covariances", "COVARIANCES_MODEL": "covariances_model",
    }  # fmt: skip
    for key, name in matrices.items():
        values = product[name].values
        np.testing.assert_array_equal(table[key], values.reshape(3, -1), err_msg=key)
    # Row by row: the second entry is lag 1 along y.
    assert table["A_MATRIX"][0][1] == product["a"].values[0, 0, 1]
    np.testing.assert_array_equal(table["COVARIANCES_SQRT_WEIGHTS"], np.full((3, 96), 1 / 20))
    for row in table:
        np.testing.assert_array_equal(row["INPUT_EXP_ID_PAIRS"], product["exposures"].values)
        np.testing.assert_array_equal(row["INPUT_EXP_PAIR_MJD_START"], starts)
        np.testing.assert_array_equal(row["RAW_EXP_TIMES"], product["exposure_time"].values)
        assert list(row["PTCAUX_observationReason"]) == reasons["observationReason"]
    # A full covariance fit takes the covariance at lag zero.
    final = np.where(product["used"].values, product["covariances"].values[:, :, 0, 0], np.nan)
    np.testing.assert_array_equal(table["FINAL_VARS"], final)
    np.testing.assert_array_equal(
        table["FINAL_MODEL_VARS"],
        np.where(product["used"].values, product["variance_model"].values, np.nan),
    )
    level = product["overscan_level"].values[0, :-1]
    assert table["OVERSCAN_MEDIAN"][0] == np.median(level)
    spread = 1.4826 * np.median(np.abs(level - np.median(level)))
    assert table["OVERSCAN_MEDIAN_SIGMA"][0] == pytest.approx(spread, rel=1e-12)
    assert np.isnan(table["OVERSCAN_MEDIAN"][1])
    np.testing.assert_array_equal(table["NPIXEL_COVARIANCES"], [16000] * 3)
    np.testing.assert_array_equal(table["PTC_FIT_CHI_SQ"], [6.0, np.nan, 6.0])
    for key in ("PTC_FIT_PARS", "PTC_ROLLOFF", "AMP_OFFSETS", "PHOTO_CHARGE", "HIST_VARS"):
        assert np.isnan(table[key]).all(), key


def test_parameters_of_equation_16(tmp_path):
    product = ptc(names(2), fit_type="EXPAPPROXIMATION", fitted=1)
    # The square of the noise keeps its sign, and a product's noise may be without a part of it.
    product["noise_matrix"][0, 0, 0] = -49.0
    write_ptc(tmp_path / "ptc.fits", product, {})
    table = read(tmp_path / "ptc.fits")
    np.testing.assert_allclose(table["PTC_FIT_PARS"][0], [A00, 1.25, -(NOISE**2)])
    np.testing.assert_allclose(table["PTC_FIT_PARS_ERROR"][0], [1e-8, 0.005, 2 * NOISE * 0.3])
    np.testing.assert_array_equal(table["FINAL_VARS"][:, :-1], product["variance"].values[:, :-1])
    # Matrices that were not fitted have as many lags as were measured.
    assert table["COV_MATRIX_SIDE_FULL_COV_FIT"][0] == table["COV_MATRIX_SIDE"][0] == 4
    assert table["A_MATRIX"].shape == (2, 16)
    assert table["BAD_AMPS"].tolist() == [[""]] * 2


def test_fewer_lags_may_be_fitted_than_measured(tmp_path):
    product = ptc(names(2), lags=5, fitted=3)
    write_ptc(tmp_path / "ptc.fits", product, {})
    table = read(tmp_path / "ptc.fits")
    assert (table["COV_MATRIX_SIDE"][0], table["COV_MATRIX_SIDE_FULL_COV_FIT"][0]) == (5, 3)
    np.testing.assert_array_equal(table["A_MATRIX"], product["a"].values[:, :3, :3].reshape(2, -1))
    np.testing.assert_array_equal(
        table["COVARIANCES_MODEL"],
        product["covariances_model"].values[:, :, :3, :3].reshape(2, -1),
    )
    assert table["COVARIANCES"].shape == (2, 10 * 25)


@pytest.mark.parametrize("kind", ["squared", "polynomial", "spline"])
def test_a_linearizer_comes_back(tmp_path, detector, amplifiers, kind):
    product = linearizer(amplifiers, kind=kind, padding=30, bad=(4,))
    path = tmp_path / "linearizer.fits"
    write_linearizer(path, product, detector, {"CALIB_ID": "x"})
    table = read(path)
    assert set(table.colnames) == set(LINEARIZER_COLUMNS.split())
    assert table.meta["LINEARIZER_VERSION"] == 1.8
    assert (table.meta["HAS_TABLE"], table.meta["LINEARITY_UNITS"]) == (False, "adu")
    assert table["TYPE"][0] == kind.capitalize()
    assert table["TYPE"][4] == "None"
    np.testing.assert_array_equal(table["COEFFS"], product["coefficients"].values)
    box = detector.amplifiers[3].detector_box
    assert tuple(table[3][["BBOX_X0", "BBOX_Y0", "BBOX_DX", "BBOX_DY"]]) == (
        box.x0, box.y0, box.width, box.height,
    )  # fmt: skip
    # Without the 30 that only fill up.
    np.testing.assert_array_equal(table["INP_ORDINATE"], product["signal"].values[:, :8])
    np.testing.assert_array_equal(table["INP_MASK"], product["used"].values[:, :8])
    np.testing.assert_array_equal(table["INP_ABSCISSA"][2], product["abscissa"].values[:8])
    residual, used = (product[name].values[:, :8] for name in ("residual_adu", "used"))
    np.testing.assert_array_equal(table["FIT_RES_UNMASKED"], residual)
    np.testing.assert_array_equal(table["FIT_RES"], np.where(used, residual, np.nan))
    np.testing.assert_array_equal(table["LIN_FIT"][0], [2.0, 10_000.0])
    np.testing.assert_allclose(
        table["FIT_RES_MODEL"][0], 2.0 + 10_000.0 * product["abscissa"].values[:8]
    )
    np.testing.assert_array_equal(table["FIT_RES_SIGMAD"], product["scatter"].values)
    assert np.isnan(table["INPUT_GAIN"]).all()


def test_each_amplifier_finds_its_lookup_table(tmp_path, detector, amplifiers):
    product = linearizer(amplifiers, kind="lookup_table")
    curve = ptc(amplifiers)
    path = tmp_path / "linearizer.fits"
    write_linearizer(path, product, detector, {}, ptc=curve)
    table, lookup = read(path), read(path, 2)
    assert table.meta["HAS_TABLE"] is True
    for a, row in enumerate(table):
        np.testing.assert_array_equal(
            lookup["LOOKUP_VALUES"][int(row["COEFFS"][0])], product["table"].values[a]
        )
        assert row["COEFFS"][1] == 0
    np.testing.assert_array_equal(table["INPUT_GAIN"], curve["gain"].values)
    np.testing.assert_array_equal(table["INPUT_TURNOFF"], curve["turnoff"].values)


def test_a_linearizer_without_points_has_no_columns_of_them(tmp_path, detector, amplifiers):
    product = linearizer(amplifiers)[["kind", "coefficients"]]
    write_linearizer(tmp_path / "linearizer.fits", product, detector, {})
    table = read(tmp_path / "linearizer.fits")
    assert not any(name.startswith("INP_") for name in table.colnames)
    assert np.isnan(table["LINEARITY_TURNOFF"]).all()


def test_kernels_come_back(tmp_path):
    product = kernel(names(3), side=4, invalid=(1,))
    curve = ptc(names(3), pairs=6, lags=5)
    path = tmp_path / "bfk.fits"
    write_kernel(path, product, {}, detector_name="RXX_S00", ptc=curve)
    table, detector = read(path), read(path, 2)
    assert set(KERNEL_COLUMNS.split()) <= set(table.colnames)
    assert (table.meta["KERNEL_DX"], table.meta["KERNEL_DY"]) == (9, 9)
    assert (table.meta["OBSTYPE"], table.meta["LEVEL"]) == ("bfk", "AMP")
    np.testing.assert_array_equal(np.reshape(table["KERNEL"], (3, 9, 9)), product["kernel"].values)
    np.testing.assert_array_equal(table["VALID"], [True, False, True])
    np.testing.assert_array_equal(table["GAIN"], curve["gain"].values)
    # Covariances as far as the kernel goes.
    np.testing.assert_array_equal(
        table["RAW_XCORRS"], curve["covariances"].values[:, :, :4, :4].reshape(3, -1)
    )
    assert list(detector["DETECTOR"]) == ["RXX_S00"]
    np.testing.assert_array_equal(
        np.reshape(detector["KERNEL"], (9, 9)), product["detector_kernel"].values
    )
    write_kernel(path, product, {}, detector_name="RXX_S00")
    assert np.isnan(read(path)["RAW_XCORRS"]).all()
    assert np.isnan(read(path)["GAIN"]).all()


def test_the_same_product_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_ptc(tmp_path / f"{name}.fits", ptc(names(2)), {})
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()


def test_units_are_those_that_fits_knows_and_a_failure_leaves_nothing(tmp_path):
    columns = {
        "A": column(np.arange(3.0), "adu"),
        "B": column(np.arange(3.0), "electron"),
        "C": column(np.array(["Zürich", "", "x"])),
    }
    write_tables(tmp_path / "new" / "t.fits", [("T", columns)], {"LONGKEYWORD": np.nan})
    header = fits.getheader(tmp_path / "new" / "t.fits", 1)
    assert header["TUNIT1"] == "adu"
    assert "TUNIT2" not in header
    assert header.comments["TTYPE2"] == "electron"
    assert header["LONGKEYWORD"] == "nan"
    assert list(read(tmp_path / "new" / "t.fits")["C"]) == ["Z?rich", "", "x"]
    with pytest.raises(ValueError):
        write_tables(tmp_path / "t.fits", [("T", {"A": column(3), "B": column([1, 2])})], {})
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
