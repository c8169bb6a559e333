from __future__ import annotations

import gzip
import json
import os
import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy.io import fits

from cpflow.camera import Amplifier, Box, Detector, Source
from cpflow.errors import RawError
from cpflow.io.fits_file import open_fits
from cpflow.io.instrument import load_instrument
from cpflow.io.layout import FileLayout, layout_of, scan_layout
from cpflow.io.raw import adjusted_detector, read_frame, read_rows, scan_raw

CAMERAS = {
    "emva1288_ccd12": "emva_ccd12",
    "msfc_ccd_darks": "msfc_ccd",
    "saao_ste3": "saao_ste3",
    "sbig_st10_tres1": "sbig_st10",
}


def expected_readout(image, detector):
    """The readout frame from a stored image by index arithmetic, pixel by pixel of each axis."""
    areas = []
    for amplifier in detector:
        box = amplifier.source.box
        ys = np.arange(box.y0, box.y1)
        xs = np.arange(box.x0, box.x1)
        if amplifier.source.flip_y:
            ys = ys[::-1]
        if amplifier.source.flip_x:
            xs = xs[::-1]
        areas.append(image[np.ix_(ys, xs)])
    return np.stack(areas)


def one_amplifier(shape, hdu=0, **flips):
    rows, columns = shape
    whole = Box(0, 0, columns, rows)
    source = Source(hdu, whole, **flips)
    return Detector(0, "D", shape, (Amplifier("A", shape, source, whole, whole),))


def layout_for(path, detector, shift=0):
    """A `RawFile.layout` for a file without an instrument."""
    layout = layout_of(open_fits(path)).as_dict()
    layout["raw"] = list(detector.raw_shape)
    layout["amplifiers"] = [
        [a.source.hdu + shift, a.source.box.x0, a.source.box.y0] for a in detector
    ]
    return json.loads(json.dumps(layout))


@pytest.mark.parametrize("directory", CAMERAS)
def test_real_frames_are_bit_for_bit_what_astropy_reads(directory, real_data):
    instrument = load_instrument(CAMERAS[directory])
    paths = sorted((real_data / directory).glob("*.fz"))
    assert paths
    for number, path in enumerate(paths):
        (raw,) = scan_raw(path, instrument).raws
        detector = instrument.camera.detector(raw.detector)
        layout = json.loads(json.dumps(raw.layout))
        assert adjusted_detector(detector, layout) is detector
        with fits.open(path) as hdus:
            expected = expected_readout(hdus[1].data, detector)
        whole = read_frame(path, layout, detector)
        assert whole.dtype == expected.dtype.newbyteorder("=")
        assert whole.dtype.isnative
        np.testing.assert_array_equal(whole, expected)
        if number < 3:
            rows = detector.raw_shape[0]
            for start, stop in [(0, 1), (rows - 1, rows), (17, 60), (rows // 2 - 3, rows)]:
                band = read_rows(path, layout, detector, slice(start, stop))
                np.testing.assert_array_equal(band, expected[:, start:stop])


@pytest.mark.parametrize(
    ("compress", "options"),
    [
        (None, {}),
        ("RICE_1", {}),
        ("RICE_1", {"tile_shape": (7, 48)}),
        ("RICE_1", {"tile_shape": (7, 16)}),
        ("GZIP_1", {}),
        ("GZIP_2", {}),
        ("HCOMPRESS_1", {"tile_shape": (32, 48)}),
    ],
)
def test_sixteen_outputs_by_band_in_any_compression(compress, options, write_latiss, tmp_path):
    width = write_latiss(tmp_path / "probe.fits").pixels.shape[2]
    if "tile_shape" in options:
        tall, wide = options["tile_shape"]
        options = {"tile_shape": (tall, width if wide == 48 else wide)}
    file = write_latiss(tmp_path / "raw.fits", compress=compress, **options)
    (raw,) = scan_raw(file.path, file.instrument).raws
    kinds = {hdu.kind for hdu in FileLayout.from_dict(raw.layout).hdus.values()}
    whole_rows = options.get("tile_shape", (1, width))[1] == width
    exact = {None: "plain", "RICE_1": "rice" if whole_rows else "astropy"}
    assert kinds == {exact.get(compress, "astropy")}
    detector = file.instrument.camera.detectors[0]
    whole = read_frame(file.path, raw.layout, detector)
    assert whole.dtype == np.int32
    np.testing.assert_array_equal(whole, file.pixels)
    rows = detector.raw_shape[0]
    for start in range(0, rows, 19):
        out = np.full((16, min(19, rows - start), width), -1, np.int32)
        band = read_rows(file.path, raw.layout, detector, slice(start, start + 19), out)
        assert band is out
        np.testing.assert_array_equal(band, file.pixels[:, start : start + 19])


# RICE holds neither 8-bit signed, 64-bit nor real numbers without loss.
_RICE = ("uint8", "int16", "uint16", "int32", "uint32")
_TYPES = [
    (compress, dtype)
    for compress in (None, "RICE_1", "GZIP_1")
    for dtype in (*_RICE, "int8", "int64", "float32", "float64")
    if compress != "RICE_1" or dtype in _RICE
]


@pytest.mark.parametrize(("compress", "dtype"), _TYPES)
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
def test_every_pixel_type_comes_back_as_it_was(dtype, compress, flips, tmp_path):
    kind = np.dtype(dtype)
    rng = np.random.default_rng(5)
    if kind.kind == "f":
        pixels = rng.normal(0, 1e5, (23, 37)).astype(kind)
        pixels[3, 4] = np.nan
    else:
        limits = np.iinfo(kind)
        pixels = rng.integers(limits.min, limits.max, (23, 37), dtype=kind, endpoint=True)
    if compress is None:
        hdu = fits.ImageHDU(pixels)
    else:
        hdu = fits.CompImageHDU(pixels, compression_type=compress, quantize_level=0)
    path = tmp_path / "raw.fits"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    detector = one_amplifier((23, 37), 1, flip_x=flips[0], flip_y=flips[1])
    layout = layout_for(path, detector)
    whole = read_frame(path, layout, detector)
    assert whole.dtype == kind
    np.testing.assert_array_equal(whole, expected_readout(pixels, detector))
    band = read_rows(path, layout, detector, slice(5, 11))
    np.testing.assert_array_equal(band, whole[:, 5:11])


@pytest.mark.parametrize("compress", [None, "RICE_1", "GZIP_1"])
@pytest.mark.parametrize("zero", [0, 32768])
def test_blank_pixels_are_nan_never_numbers(compress, zero, tmp_path, put_cards):
    stored = np.arange(-300, 300, dtype=np.int16).reshape(20, 30)
    hdu = fits.ImageHDU(stored)
    if compress:
        hdu = fits.CompImageHDU(stored, compression_type=compress)
    path = tmp_path / "raw.fits"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    put_cards(path, 1, {"BLANK": "-7", "BSCALE": "1", "BZERO": str(zero)})
    detector = one_amplifier((20, 30), 1)
    pixels = read_frame(path, layout_for(path, detector), detector)
    expected = stored.astype(np.float32) + zero
    expected[stored == -7] = np.nan
    assert pixels.dtype == np.float32
    assert np.isnan(pixels).sum() == 1
    np.testing.assert_array_equal(pixels[0], expected)


@pytest.mark.parametrize("packed", [None, "RICE_1", "GZIP_1", "gz"])
def test_scaled_integers_are_floats(packed, tmp_path, put_cards):
    stored = np.arange(600, dtype=np.int16).reshape(20, 30)
    hdu = fits.ImageHDU(stored)
    if packed in ("RICE_1", "GZIP_1"):
        hdu = fits.CompImageHDU(stored, compression_type=packed)
    path = tmp_path / "raw.fits"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    put_cards(path, 1, {"BSCALE": "0.25", "BZERO": "100.0", "BLANK": "33"})
    if packed == "gz":
        content = path.read_bytes()
        path = tmp_path / "raw.fits.gz"
        with gzip.open(path, "wb") as stream:
            stream.write(content)
    detector = one_amplifier((20, 30), 1)
    layout = layout_for(path, detector)
    assert layout["hdus"][0]["kind"] == "astropy"
    pixels = read_frame(path, layout, detector)
    assert pixels.dtype == np.float32
    expected = (stored * 0.25 + 100).astype(np.float32)
    expected[stored == 33] = np.nan
    np.testing.assert_array_equal(pixels[0], expected)


def test_quantised_floats_are_read_as_astropy_reads_them(tmp_path):
    pixels = np.random.default_rng(1).normal(1000, 10, (40, 50)).astype(np.float32)
    path = tmp_path / "raw.fits.fz"
    hdu = fits.CompImageHDU(pixels, compression_type="RICE_1", quantize_level=16, dither_seed=3)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    detector = one_amplifier((40, 50), 1)
    got = read_rows(path, layout_for(path, detector), detector, slice(10, 20))
    with fits.open(path) as hdus:
        np.testing.assert_array_equal(got[0], hdus[1].data[10:20])
    assert got.dtype == np.float32


def test_a_gzipped_file_is_read_too(write_latiss, tmp_path):
    file = write_latiss(tmp_path / "raw.fits")
    packed = tmp_path / "raw.fits.gz"
    with gzip.open(packed, "wb") as stream:
        stream.write(file.path.read_bytes())
    (raw,) = scan_raw(packed, file.instrument).raws
    detector = file.instrument.camera.detectors[0]
    assert raw.size == packed.stat().st_size
    band = read_rows(packed, raw.layout, detector, slice(30, 50))
    np.testing.assert_array_equal(band, file.pixels[:, 30:50])


def test_rice_tiles_kept_by_64_bit_descriptors_after_other_columns(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 4000, (30, 40), dtype=np.int16)
    path = tmp_path / "raw.fits.fz"
    hdu = fits.CompImageHDU(pixels, compression_type="RICE_1", tile_shape=(1, 40))
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    with fits.open(path, disable_image_compression=True) as opened:
        narrow = opened[1]
        heap_at = narrow.header["NAXIS1"] * narrow.header["NAXIS2"]
        content = path.read_bytes()[opened.fileinfo(1)["datLoc"] :]
        cells = np.frombuffer(content[:heap_at], ">i4").reshape(30, 2)
        heap = content[heap_at : heap_at + narrow.header["PCOUNT"]]
        header = narrow.header.copy()
    rows = np.zeros(30, np.dtype([("note", "S3"), ("cell", ">i8", 2)]))
    rows["cell"] = cells
    header["NAXIS1"] = rows.itemsize
    header["TFIELDS"] = 2
    header["TTYPE1"], header["TFORM1"] = "NOTE", "3A"
    header["TTYPE2"], header["TFORM2"] = "COMPRESSED_DATA", "1QB(99)"
    data = rows.tobytes() + b"gap!" + heap
    header["THEAP"] = 30 * rows.itemsize + 4
    header["PCOUNT"] = len(heap) + 4
    wide = tmp_path / "wide.fits.fz"
    with wide.open("wb") as stream:
        stream.write(fits.PrimaryHDU().header.tostring().encode())
        stream.write(header.tostring().encode())
        stream.write(data + bytes(-len(data) % 2880))
    detector = one_amplifier((30, 40), 1)
    layout = layout_for(wide, detector)
    assert layout["hdus"][0]["rice"]["wide"] is True
    np.testing.assert_array_equal(read_frame(wide, layout, detector)[0], pixels)
    band = read_rows(wide, layout, detector, slice(7, 9))
    np.testing.assert_array_equal(band[0], pixels[7:9])


def test_many_threads_may_read_at_once(write_latiss, tmp_path):
    detector = write_latiss(tmp_path / "probe.fits").instrument.camera.detectors[0]
    files = [
        write_latiss(tmp_path / f"{n}.fits", seed=n, compress="RICE_1" if n % 2 else None)
        for n in range(4)
    ]
    layouts = [scan_raw(f.path, f.instrument).raws[0].layout for f in files]
    rows = detector.raw_shape[0]

    def check(job: int) -> bool:
        number, start = job % 4, job * 7 % (rows - 20)
        band = read_rows(files[number].path, layouts[number], detector, slice(start, start + 20))
        return bool((band == files[number].pixels[:, start : start + 20]).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(check, range(200)))


def test_a_band_needs_memory_for_a_band_only(write_latiss, tmp_path):
    file = write_latiss(tmp_path / "raw.fits.fz", compress="RICE_1")
    (raw,) = scan_raw(file.path, file.instrument).raws
    detector = file.instrument.camera.detectors[0]
    read_rows(file.path, raw.layout, detector, slice(0, 2))
    tracemalloc.start()
    band = read_rows(file.path, raw.layout, detector, slice(4, 6))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * band.nbytes + 60_000


def test_an_overscan_of_another_size_is_adjusted_with_one_warning(
    write_latiss, latiss, tmp_path, warnings_of
):
    camera = latiss.camera.detectors[0]
    rows, columns = camera.raw_shape
    file = write_latiss(tmp_path / "raw.fits", shape=(rows + 5, columns - 4))
    (raw,) = scan_raw(file.path, latiss).raws
    assert len(warnings_of()) == 1
    assert "serial overscan" in warnings_of()[0]
    adjusted = adjusted_detector(camera, raw.layout)
    assert adjusted.raw_shape == (rows + 5, columns - 4)
    for one, other in zip(camera, adjusted, strict=True):
        assert other.imaging == one.imaging
        assert other.serial_prescan == one.serial_prescan
        assert other.serial_overscan.x0 == one.serial_overscan.x0
        assert other.serial_overscan.x1 == columns - 4
        assert other.parallel_overscan.y0 == one.parallel_overscan.y0
        assert other.parallel_overscan.y1 == rows + 5
    np.testing.assert_array_equal(read_frame(file.path, raw.layout, adjusted), file.pixels)
    np.testing.assert_array_equal(read_frame(file.path, raw.layout, camera), file.pixels)


def test_a_file_that_went_away_is_named(write_latiss, latiss, tmp_path):
    file = write_latiss(tmp_path / "raw.fits")
    (raw,) = scan_raw(file.path, latiss).raws
    file.path.unlink()
    with pytest.raises(RawError, match="not there") as caught:
        read_frame(file.path, raw.layout, latiss.camera.detectors[0])
    assert str(file.path) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("compress", [None, "RICE_1"])
def test_a_file_that_shrank_is_refused(compress, write_latiss, latiss, tmp_path):
    file = write_latiss(tmp_path / "raw.fits", compress=compress)
    (raw,) = scan_raw(file.path, latiss).raws
    os.truncate(file.path, file.path.stat().st_size // 2)
    with pytest.raises(RawError, match=r"truncated: it has \d+ bytes, it had \d+") as caught:
        read_frame(file.path, raw.layout, latiss.camera.detectors[0])
    assert "raw.fits" in str(caught.value)
    os.truncate(file.path, 10_000_000)
    with pytest.raises(RawError, match="has changed"):
        read_frame(file.path, raw.layout, latiss.camera.detectors[0])
    os.truncate(file.path, raw.size // 2)
    # The same while it is being read.
    layout = {**raw.layout, "size": file.path.stat().st_size}
    with pytest.raises(RawError, match=r"HDU \d+: the file ends|HDU \d+: its table"):
        read_frame(file.path, layout, latiss.camera.detectors[0])


def test_damaged_tiles_are_refused(write_latiss, latiss, tmp_path):
    file = write_latiss(tmp_path / "raw.fits", compress="RICE_1")
    (raw,) = scan_raw(file.path, latiss).raws
    layout = FileLayout.from_dict(raw.layout)
    hdu = layout.hdus[3]
    detector = latiss.camera.detectors[0]
    content = bytearray(file.path.read_bytes())
    whole = bytes(content)
    content[hdu.offset : hdu.offset + 8] = b"\x00\x00\x00\x10\x7f\xff\xff\xff"
    file.path.write_bytes(content)
    with pytest.raises(RawError, match=r"HDU 3.*damaged"):
        read_frame(file.path, raw.layout, detector)
    # A tile that is too short for its pixels.
    content[:] = whole
    content[hdu.offset : hdu.offset + 4] = b"\x00\x00\x00\x05"
    file.path.write_bytes(content)
    with pytest.raises(RawError, match=r"HDU 3: tile 0"):
        read_frame(file.path, raw.layout, detector)


def test_a_tile_that_is_not_rice_is_left_to_astropy(write_latiss, latiss, tmp_path, monkeypatch):
    file = write_latiss(tmp_path / "raw.fits", compress="RICE_1")
    (raw,) = scan_raw(file.path, latiss).raws
    # A descriptor of length 0 says that the tile is in another column.
    monkeypatch.setattr("cpflow.io.rows.read_tiles", lambda *args: None)
    pixels = read_frame(file.path, raw.layout, latiss.camera.detectors[0])
    np.testing.assert_array_equal(pixels, file.pixels)


def test_wrong_arguments_are_refused(write_latiss, latiss, tmp_path):
    file = write_latiss(tmp_path / "raw.fits")
    (raw,) = scan_raw(file.path, latiss).raws
    detector = latiss.camera.detectors[0]
    with pytest.raises(ValueError, match="contiguous"):
        read_rows(file.path, raw.layout, detector, slice(0, 10, 2))
    with pytest.raises(ValueError, match="shape"):
        read_rows(file.path, raw.layout, detector, slice(0, 10), np.empty((16, 9, 9), np.int32))
    with pytest.raises(RawError, match="1 "):
        read_rows(file.path, raw.layout, one_amplifier(detector.raw_shape), slice(0, 10))
    assert read_rows(file.path, raw.layout, detector, slice(5, 5)).shape[1] == 0


def test_a_layout_survives_as_json(write_latiss, tmp_path):
    for compress in (None, "RICE_1", "GZIP_1"):
        path = write_latiss(tmp_path / f"{compress}.fits", compress=compress).path
        layout = scan_layout(path)
        assert FileLayout.from_dict(json.loads(json.dumps(layout.as_dict()))) == layout
        assert len(layout.hdus) == 16
        with pytest.raises(RawError, match="form 99"):
            FileLayout.from_dict({**layout.as_dict(), "version": 99})


def test_a_moved_file_is_read_by_the_same_layout(write_latiss, latiss, tmp_path):
    file = write_latiss(tmp_path / "raw.fits")
    (raw,) = scan_raw(file.path, latiss).raws
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(file.path, tmp_path / "elsewhere" / "other.fits")
    pixels = read_frame(moved, raw.layout, latiss.camera.detectors[0])
    np.testing.assert_array_equal(pixels, file.pixels)
