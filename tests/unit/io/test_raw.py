from __future__ import annotations

import gzip
import hashlib
import json
import os

import numpy as np
import pytest
from astropy.io import fits

from cpflow.errors import RawError
from cpflow.io.instrument import Instrument, load_instrument
from cpflow.io.raw import read_frame, scan_raw

TWO_DETECTORS = {
    "name": "two",
    "types": {
        "T": {
            "shape": [6, 8],
            "amplifier": {"raw": [6, 8], "imaging": {"width": 8, "height": 6}},
            "amplifiers": [{"name": "A", "hdu": 1, "place": [0, 0]}],
        },
        "U": {
            "shape": [6, 8],
            "amplifier": {"raw": [6, 8], "imaging": {"width": 8, "height": 6}},
            "amplifiers": [{"name": "A", "hdu": 2, "place": [0, 0]}],
        },
    },
    "detectors": [{"id": 4, "name": "X", "type": "T"}, {"id": 9, "name": "Y", "type": "U"}],
    "headers": {
        "time": {"begin": ["DATE-OBS"]},
        "fields": {"exposure": "ID", "seq_num": "ID", "observation_type": "TYPE"},
    },
}


def test_a_scan_tells_all_about_a_file(write_latiss, latiss, tmp_path):
    file = write_latiss(tmp_path / "raw.fits")
    scanned = scan_raw(file.path, latiss)
    assert scanned.exposure.exposure == 2021012000019
    assert scanned.detectors == ()
    (raw,) = scanned.raws
    assert (raw.instrument, raw.exposure, raw.detector) == ("LATISS", 2021012000019, 0)
    assert raw.path == str(file.path)
    content = file.path.read_bytes()
    assert raw.size == len(content)
    assert raw.checksum == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert json.loads(json.dumps(raw.layout)) == raw.layout
    assert scan_raw(file.path, latiss, checksum=False).raws[0].checksum == ""


def test_a_file_may_hold_several_detectors(tmp_path):
    instrument = Instrument.from_definition(TWO_DETECTORS)
    primary = fits.PrimaryHDU()
    primary.header.update({"DATE-OBS": "2020-01-01T00:00:00", "ID": 5, "TYPE": "dark"})
    images = [np.arange(48, dtype=np.int16).reshape(6, 8) + 100 * n for n in (0, 1)]
    path = tmp_path / "raw.fits"
    fits.HDUList([primary, *(fits.ImageHDU(i) for i in images)]).writeto(path)
    scanned = scan_raw(path, instrument)
    assert [raw.detector for raw in scanned.raws] == [4, 9]
    for raw, image in zip(scanned.raws, images, strict=True):
        detector = instrument.camera.detector(raw.detector)
        np.testing.assert_array_equal(read_frame(path, raw.layout, detector)[0], image)


def test_a_file_may_say_which_detector_it_holds(tmp_path):
    definition = {
        **TWO_DETECTORS,
        "types": {"T": TWO_DETECTORS["types"]["T"]},
        "detectors": [{"id": i, "name": n, "type": "T"} for i, n in ((4, "X"), (9, "Y"))],
        "headers": {**TWO_DETECTORS["headers"], "detector": "CCD"},
    }
    instrument = Instrument.from_definition(definition)

    def scan(ccd):
        primary = fits.PrimaryHDU()
        primary.header.update({"DATE-OBS": "2020-01-01", "ID": 5, "TYPE": "dark", "CCD": ccd})
        image = fits.ImageHDU(np.zeros((6, 8), np.int16))
        fits.HDUList([primary, image]).writeto(tmp_path / "raw.fits", overwrite=True)
        return [raw.detector for raw in scan_raw(tmp_path / "raw.fits", instrument).raws]

    assert scan("Y") == [9]
    assert scan(4) == [4]
    assert scan("9") == [9]
    with pytest.raises(RawError, match="detector 'Z', which two does not have") as caught:
        scan("Z")
    assert "4 (X), 9 (Y)" in str(caught.value)
    assert caught.value.exposure == 5


def test_a_primary_image_is_found_where_compression_moves_it(tmp_path, real_data):
    instrument = load_instrument("saao_ste3")
    packed = real_data / "saao_ste3" / "a8280271.fits.fz"
    with fits.open(packed) as hdus:
        header, pixels = hdus[1].header, hdus[1].data
        plain = fits.PrimaryHDU(pixels)
        for key in ("INSTRUME", "DATE-OBS", "UT", "IMAGETYP", "EXPTIME", "FILTERS"):
            plain.header[key] = header[key]
    path = tmp_path / "a8280271.fits"
    plain.writeto(path)
    detector = instrument.camera.detectors[0]
    one, other = (scan_raw(p, instrument) for p in (packed, path))
    assert one.exposure.exposure == other.exposure.exposure
    frames = [read_frame(p, s.raws[0].layout, detector) for p, s in ((packed, one), (path, other))]
    np.testing.assert_array_equal(*frames)
    assert frames[0].dtype == np.uint16


def damaged(path, how, write_latiss):
    if how == "missing":
        return
    if how == "empty":
        path.write_bytes(b"")
    elif how == "directory":
        path.mkdir()
    elif how == "text":
        path.write_text("these are not the pixels " * 500)
    elif how == "gzip":
        path.write_bytes(gzip.compress(b"x" * 100_000)[:50])
    elif how == "not fits in gzip":
        path.write_bytes(gzip.compress(b"x" * 100_000))
    else:
        write_latiss(path)
        size = path.stat().st_size
        os.truncate(path, {"last byte": size - 2879, "half": size // 2, "header": 1500}[how])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "not there"),
        ("empty", "the file is empty"),
        ("directory", "directory"),
        ("text", "not a FITS file"),
        ("gzip", "truncated or damaged"),
        ("not fits in gzip", "not a FITS file"),
        ("last byte", "truncated: HDU 16 needs"),
        ("half", "truncated: HDU 8 needs"),
        ("header", "ends inside the header of HDU 0"),
    ],
)
def test_a_damaged_file_is_refused_by_name(how, message, write_latiss, latiss, tmp_path):
    path = tmp_path / "raw.fits"
    damaged(path, how, write_latiss)
    with pytest.raises(RawError, match=message) as caught:
        scan_raw(path, latiss)
    assert caught.value.file == str(path)
    assert caught.value.hint


def test_a_file_that_may_not_be_read_is_refused(write_latiss, latiss, tmp_path, monkeypatch):
    path = write_latiss(tmp_path / "raw.fits").path

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("cpflow.io.fits_file.os.open", refuse)
    with pytest.raises(RawError, match="may not be read"):
        scan_raw(path, latiss)


def test_other_failures_of_the_file_system_are_left_to_the_caller(
    write_latiss, latiss, tmp_path, monkeypatch
):
    path = write_latiss(tmp_path / "raw.fits").path

    def fail(*args, **kwargs):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("cpflow.io.fits_file.os.pread", fail)
    with pytest.raises(OSError, match="Input/output") as caught:
        scan_raw(path, latiss)
    assert caught.value.errno == 5


def test_missing_amplifiers_are_named(write_latiss, latiss, tmp_path):
    path = write_latiss(tmp_path / "raw.fits", amplifiers=12).path
    with pytest.raises(RawError, match="amplifier C03 should be in HDU 13") as caught:
        scan_raw(path, latiss)
    assert caught.value.exposure == 2021012000019


def test_an_amplifier_whose_hdu_is_a_table_is_named(write_latiss, latiss, tmp_path):
    path = write_latiss(tmp_path / "raw.fits").path
    with fits.open(path) as hdus:
        columns = [fits.Column("x", "J", array=np.arange(5))]
        table = fits.BinTableHDU.from_columns(columns)
        written = fits.HDUList([*hdus[:5], table, *hdus[6:]])
        written.writeto(tmp_path / "table.fits")
    with pytest.raises(RawError, match="C14 should be in HDU 5, which holds no image"):
        scan_raw(tmp_path / "table.fits", latiss)


@pytest.mark.parametrize("axis", [0, 1])
def test_an_image_too_small_for_the_imaging_box_is_refused(axis, write_latiss, latiss, tmp_path):
    detector = latiss.camera.detectors[0]
    box = detector.amplifiers[0].imaging
    shape = list(detector.raw_shape)
    shape[axis] = (box.y1, box.x1)[axis] - 1
    path = write_latiss(tmp_path / "raw.fits", shape=tuple(shape)).path
    with pytest.raises(RawError, match=r"C10 is .*, the camera says .*do not fit") as caught:
        scan_raw(path, latiss)
    assert caught.value.exposure == 2021012000019


def test_a_camera_without_overscan_takes_no_other_size(tmp_path):
    instrument = Instrument.from_definition(
        {
            **TWO_DETECTORS,
            "types": {"T": TWO_DETECTORS["types"]["T"]},
            "detectors": [TWO_DETECTORS["detectors"][0]],
        }
    )
    primary = fits.PrimaryHDU()
    primary.header.update({"DATE-OBS": "2020-01-01", "ID": 5, "TYPE": "dark"})
    path = tmp_path / "raw.fits"
    fits.HDUList([primary, fits.ImageHDU(np.zeros((6, 9), np.int16))]).writeto(path)
    with pytest.raises(RawError, match="9 x 6, the camera says 8 x 6"):
        scan_raw(path, instrument)


def test_amplifiers_of_different_sizes_are_refused(write_latiss, latiss, tmp_path):
    path = write_latiss(tmp_path / "raw.fits").path
    with fits.open(path) as hdus:
        hdus[4].data = hdus[4].data[:-1]
        hdus.writeto(tmp_path / "odd.fits")
    with pytest.raises(RawError, match="different sizes"):
        scan_raw(tmp_path / "odd.fits", latiss)


def test_outputs_in_one_image_share_a_change_of_size(tmp_path, real_data, warnings_of):
    instrument = load_instrument("msfc_ccd")
    source = real_data / "msfc_ccd_darks" / "ESIS1_00099.fits.fz"
    detector = instrument.camera.detector(1)
    wider = np.arange(1040 * 2156, dtype=np.uint32).reshape(1040, 2156).astype(np.uint16)
    hdu = fits.PrimaryHDU(wider)
    header = fits.getheader(source, 1)
    for key in ("IMG_TS", "CAM_ID", "IMG_ISN", "MEAS_EXP"):
        hdu.header[key] = header[key]
    path = tmp_path / "wide.fits"
    hdu.writeto(path)
    (raw,) = scan_raw(path, instrument).raws
    assert raw.layout["raw"] == [520, 1078]
    assert len(warnings_of()) == 1
    frame = read_frame(path, raw.layout, detector)
    np.testing.assert_array_equal(frame[0], wider[:520, :1078])
    np.testing.assert_array_equal(frame[1], wider[:520, :1077:-1])
    np.testing.assert_array_equal(frame[2], wider[:519:-1, :1078])
    np.testing.assert_array_equal(frame[3], wider[:519:-1, :1077:-1])
    hdu.data = wider[:, :-1]
    hdu.writeto(tmp_path / "odd.fits")
    with pytest.raises(RawError, match="HDU 0 is 2155 x 1040, the camera says 2152 x 1040"):
        scan_raw(tmp_path / "odd.fits", instrument)


def section(x0, x1, y0, y1):
    return f"[{x0}:{x1},{y0}:{y1}]"


def test_sections_that_agree_say_nothing(write_latiss, latiss, tmp_path, warnings_of):
    box = latiss.camera.detectors[0].amplifiers[0].imaging
    data = section(box.x0 + 1, box.x1, box.y0 + 1, box.y1)
    path = write_latiss(tmp_path / "raw.fits", image_cards={"DATASEC": data}).path
    scan_raw(path, latiss)
    assert not warnings_of()


def test_sections_of_2021_are_warned_of_once_and_not_used(
    write_latiss, latiss, tmp_path, warnings_of
):
    box = latiss.camera.detectors[0].amplifiers[0].imaging
    file = write_latiss(
        tmp_path / "raw.fits",
        image_cards={
            "DATASEC": section(1, box.width, 1, box.height),
            "DETSEC": section(1, box.width, 1, box.height),
            "EXTNAME": "Segment99",
        },
    )
    (raw,) = scan_raw(file.path, latiss).raws
    assert len(warnings_of()) == 1
    (warning,) = warnings_of()
    assert "DATASEC of 16 amplifiers" in warning
    # DETSEC is that of C00, so it is wrong for the fifteen others.
    assert "DETSEC of 15 amplifiers" in warning
    assert "EXTNAME of 16 amplifiers" in warning
    assert "raw.fits" in warning
    np.testing.assert_array_equal(
        read_frame(file.path, raw.layout, latiss.camera.detectors[0]), file.pixels
    )


def test_a_section_that_is_no_section_is_warned_of(write_latiss, latiss, tmp_path, warnings_of):
    path = write_latiss(tmp_path / "raw.fits", image_cards={"DATASEC": "none"}).path
    scan_raw(path, latiss)
    assert "DATASEC of C10 is 'none'" in warnings_of()[0]


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"ZNAXIS1": "'wide'"}, "HDU 3: ZNAXIS1 is 'wide', not a whole number"),
        ({"ZNAXIS2": "0"}, "HDU 3: an image of"),
        ({"ZBITPIX": "12"}, "HDU 3: there are no pixels of BITPIX 12"),
    ],
)
def test_a_nonsensical_structure_is_refused(
    cards, message, write_latiss, latiss, tmp_path, put_cards
):
    path = write_latiss(tmp_path / "raw.fits", compress="RICE_1").path
    put_cards(path, 3, cards)
    with pytest.raises(RawError, match=message):
        scan_raw(path, latiss)


def test_a_pixel_scale_that_is_no_number_is_refused(write_latiss, latiss, tmp_path, put_cards):
    path = write_latiss(tmp_path / "raw.fits").path
    put_cards(path, 2, {"BZERO": "'nan'"})
    with pytest.raises(RawError, match="HDU 2: BZERO is 'nan'") as caught:
        scan_raw(path, latiss)
    assert caught.value.exposure == 2021012000019
