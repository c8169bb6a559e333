from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from cpflow.camera import Box
from cpflow.errors import RawError
from cpflow.io.instrument import load_instrument
from cpflow.io.raw import read_frame, scan_raw


@pytest.fixture(scope="module")
def generic():
    return load_instrument("generic")


@pytest.fixture
def scan(generic, tmp_path):
    def write_and_scan(cards, shape=(20, 30), **primary):
        pixels = np.arange(shape[0] * shape[1], dtype=np.int16).reshape(shape)
        hdu = fits.PrimaryHDU(pixels)
        hdu.header.update({"DATE-OBS": "2020-01-01T00:00:00", "IMAGETYP": "dark", **primary})
        hdu.header.update(cards)
        path = tmp_path / "raw_0001.fits"
        hdu.writeto(path, overwrite=True)
        return path, pixels, scan_raw(path, generic)

    return write_and_scan


def assembled(frame, amplifier):
    """The trimmed image in the detector frame."""
    box = amplifier.imaging
    part = frame[box.rows, box.columns]
    return part[:: -1 if amplifier.flip_y else 1, :: -1 if amplifier.flip_x else 1]


def stored(frame, amplifier):
    source = amplifier.source
    return frame[:: -1 if source.flip_y else 1, :: -1 if source.flip_x else 1]


@pytest.mark.parametrize(
    ("bias", "trim", "kind"),
    [
        ("[26:30,1:20]", "[1:24,1:20]", "serial"),
        ("[1:4,1:20]", "[ 7: 30, 1: 20]", "serial"),
        ("[2:4,3:18]", "[7:30,1:20]", "serial"),
        ("[1:30,17:20]", "[1:30,1:15]", "parallel"),
        ("[1:30,1:3]", "[1:30,5:20]", "parallel"),
        ("[30:26,20:1]", "[24:1,20:1]", "serial"),
    ],
)
def test_overscan_follows_the_image_wherever_it_lies(bias, trim, kind, scan):
    path, pixels, scanned = scan({"BIASSEC": bias, "TRIMSEC": trim})
    (detector,) = scanned.detectors
    (amplifier,) = detector
    frame = read_frame(path, scanned.raws[0].layout, detector)[0]
    np.testing.assert_array_equal(stored(frame, amplifier), pixels)
    numbers = [sorted(int(n) for n in part.split(":")) for part in trim.strip("[]").split(",")]
    (x1, x2), (y1, y2) = numbers
    np.testing.assert_array_equal(assembled(frame, amplifier), pixels[y1 - 1 : y2, x1 - 1 : x2])
    assert detector.shape == (y2 - y1 + 1, x2 - x1 + 1)
    overscan, imaging = getattr(amplifier, f"{kind}_overscan"), amplifier.imaging
    (bx1, bx2), (by1, by2) = (
        sorted(int(n) for n in part.split(":")) for part in bias.strip("[]").split(",")
    )
    if kind == "serial":
        assert overscan.x0 >= imaging.x1
        assert (overscan.y0, overscan.height) == (imaging.y0, imaging.height)
        wanted = pixels[y1 - 1 : y2, bx1 - 1 : bx2]
    else:
        assert overscan.y0 >= imaging.y1
        assert (overscan.x0, overscan.width) == (imaging.x0, imaging.width)
        wanted = pixels[by1 - 1 : by2, x1 - 1 : x2]
    np.testing.assert_array_equal(
        np.sort(frame[overscan.rows, overscan.columns], axis=None), np.sort(wanted, axis=None)
    )


def test_without_sections_everything_is_image(scan):
    _, _, scanned = scan({})
    (amplifier,) = scanned.detectors[0]
    assert amplifier.imaging == Box(0, 0, 30, 20)
    assert amplifier.serial_overscan.empty
    assert amplifier.gain == 1.0
    assert scanned.detectors[0].name == "ccd0"


def test_without_a_trimmed_section_the_rest_is_image(scan):
    _, _, scanned = scan({"BIASSEC": "[26:30,1:20]"})
    (amplifier,) = scanned.detectors[0]
    assert amplifier.imaging == Box(0, 0, 25, 20)
    _, _, scanned = scan({"BIASSEC": "  ", "DATASEC": "[1:24,1:20]"})
    assert scanned.detectors[0].shape == (20, 24)


def test_numbers_come_from_the_header(scan):
    _, _, scanned = scan({"EGAIN": 0.78, "RDNOISE": "8.8", "SATURATE": 65535})
    (amplifier,) = scanned.detectors[0]
    assert (amplifier.gain, amplifier.read_noise, amplifier.saturation) == (0.78, 8.8, 65535)
    _, _, scanned = scan({"GAIN": "", "RDNOISE": 0})
    (amplifier,) = scanned.detectors[0]
    assert amplifier.gain == 1.0
    assert amplifier.read_noise != amplifier.read_noise


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"TRIMSEC": "all of it"}, "TRIMSEC: 'all of it' is not a section"),
        ({"TRIMSEC": "[1:31,1:20]"}, "TRIMSEC .* is not inside the image"),
        ({"TRIMSEC": "[1:24,1:20]", "BIASSEC": "[20:30,1:20]"}, "overlaps"),
        ({"BIASSEC": "[1:30,1:20]"}, "imaging box is empty"),
        ({"GAIN": "NaN"}, "GAIN: nan is not a finite number"),
        ({"GAIN": "high"}, "GAIN: 'high' is not a number"),
        ({"GAIN": 0.0}, "GAIN is 0.0, it must be positive"),
    ],
)
def test_nonsense_is_refused_with_keyword_and_remedy(cards, message, scan):
    with pytest.raises(RawError, match=message) as caught:
        scan(cards)
    assert caught.value.exposure == 20200101000000000
    assert "instrument file" in caught.value.hint


def test_each_image_of_a_file_is_a_detector(generic, tmp_path):
    primary = fits.PrimaryHDU()
    primary.header.update({"DATE-OBS": "2020-01-01T00:00:00", "IMAGETYP": "flat", "GAIN": 2.0})
    images = [np.full((4, 5), n, np.int32) for n in (3, 7)]
    hdus = [fits.ImageHDU(image, name=f"im{n}") for n, image in enumerate(images)]
    path = tmp_path / "raw.fits"
    fits.HDUList([primary, *hdus]).writeto(path)
    scanned = scan_raw(path, generic)
    assert [d.name for d in scanned.detectors] == ["IM0", "IM1"]
    for raw, detector, image in zip(scanned.raws, scanned.detectors, images, strict=True):
        assert raw.detector == detector.id
        assert detector.amplifiers[0].gain == 2.0
        np.testing.assert_array_equal(read_frame(path, raw.layout, detector)[0], image)


def test_a_file_without_an_image_is_refused(generic, tmp_path):
    hdu = fits.PrimaryHDU()
    hdu.header.update({"DATE-OBS": "2020-01-01T00:00:00", "IMAGETYP": "flat"})
    hdu.writeto(tmp_path / "raw.fits")
    with pytest.raises(RawError, match="no image"):
        scan_raw(tmp_path / "raw.fits", generic)


def test_the_same_camera_compressed_or_not(generic, tmp_path, real_data):
    packed = real_data / "saao_ste3" / "a8280271.fits.fz"
    with fits.open(packed) as hdus:
        plain = fits.PrimaryHDU(hdus[1].data)
        for key in ("DATE-OBS", "UT", "IMAGETYP", "TRIMSEC", "BIASSEC", "GAIN", "RDNOISE"):
            plain.header[key] = hdus[1].header[key]
    plain.writeto(tmp_path / "a8280271.fits")
    one = scan_raw(packed, generic)
    other = scan_raw(tmp_path / "a8280271.fits", generic)
    assert one.detectors == other.detectors
    (amplifier,) = one.detectors[0]
    assert (amplifier.gain, amplifier.read_noise) == (1.9, 5.0)
    assert amplifier.imaging.width == 512
