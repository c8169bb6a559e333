"""Focal-plane mosaics: each pixel of the plane against the geometry, computed another way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from cpflow.camera import Camera
from cpflow.errors import InstrumentError, UsageError
from cpflow.io.instrument import load_instrument
from cpflow.kernels.planes import BAD
from cpflow.report.mosaic import mosaic
from cpflow.report.mosaic_picture import draw_mosaic, write_mosaic


@pytest.fixture
def camera():
    return load_instrument("quad").camera


def product(detector, level=0.0, units="adu"):
    """An image that says where it is: level + x + 1000 y."""
    y, x = np.indices(detector.shape, np.float32)
    image = level + x + 1000 * y
    return xr.Dataset(
        {
            "image": (("y", "x"), image.astype(np.float32), {"units": units}),
            "mask": (("y", "x"), np.zeros(detector.shape, np.uint16), {"units": "1"}),
        }
    )


def products(camera):
    return {d.id: product(d, 1e6 * d.id) for d in camera}


def expected(datasets, camera, x_mm, y_mm, binning):
    """The block mean under one point of the focal plane; NaN where no detector is."""
    for number, dataset in datasets.items():
        d = camera.detector(number)
        x = (x_mm - d.centre_mm[0]) / d.pixel_size_mm + d.reference_pixel[0] + 0.5
        y = (y_mm - d.centre_mm[1]) / d.pixel_size_mm + d.reference_pixel[1] + 0.5
        if 0 <= x < d.shape[1] and 0 <= y < d.shape[0]:
            j, i = int(y) // binning * binning, int(x) // binning * binning
            block = dataset["image"].values[j : j + binning, i : i + binning]
            return block.astype(np.float64).mean()
    return np.nan


@pytest.mark.parametrize("binning", [8, 64])
def test_every_cell_shows_the_block_under_its_centre(camera, binning):
    datasets = products(camera)
    plane = mosaic(datasets, camera, binning)
    # No centre of a cell lies on the boundary of a block here: that is left to rounding.
    wanted = [
        [expected(datasets, camera, x, y, binning) for x in plane["x_mm"].values]
        for y in plane["y_mm"].values
    ]
    assert 0 < np.isnan(wanted).mean() < 0.5
    np.testing.assert_allclose(plane["image"], wanted, rtol=6e-8)
    assert plane["image"].dtype == np.float32
    assert plane["image"].attrs["units"] == "adu"
    np.testing.assert_allclose(np.diff(plane["x_mm"]), binning * 0.015)
    assert list(plane["name"].values) == ["S00", "S01", "S10", "S11"]


def test_a_detector_on_the_lattice_is_copied(camera):
    """Its edges are multiples of a cell up to rounding; no block is lost or doubled."""
    one = replace(camera.detectors[0], centre_mm=(0.12 * 7 + 80 * 0.015, -0.12 * 30 + 64 * 0.015))
    plane = mosaic({0: product(one)}, Camera("ONE", (one,)), 8)
    blocks = product(one)["image"].values.reshape(16, 8, 20, 8).mean(axis=(1, 3))
    np.testing.assert_allclose(plane["image"], blocks, rtol=6e-8)
    np.testing.assert_allclose(plane["corners"], [[0.84, 3.24, -3.6, -1.68]])
    np.testing.assert_allclose(plane["x_mm"][0], 0.84 + 0.06)


def test_mosaics_of_one_camera_share_a_lattice(camera):
    whole, part = (
        mosaic({n: d for n, d in products(camera).items() if n in chosen}, camera, 8)
        for chosen in ((0, 1, 2, 3), (3,))
    )
    first = np.searchsorted(whole["x_mm"], part["x_mm"][0] - 1e-6)
    top = part.sizes["y"]
    width = part.sizes["x"]
    np.testing.assert_array_equal(whole["image"][-top:, first : first + width], part["image"])


def test_what_is_binned_already_is_taken_as_it_is(camera):
    dataset = product(camera.detector(2))
    dataset["image_bin64"] = (("y64", "x64"), np.full((2, 3), 5, np.float32), {"units": "adu"})
    plane = mosaic({2: dataset}, camera, 64)
    assert np.nanmax(plane["image"]) == np.nanmin(plane["image"]) == 5


def test_bad_pixels_do_not_show(camera):
    dataset = product(camera.detector(0))
    dataset["image"].values[:] = 3
    dataset["image"].values[:8, :9] = 1e9
    dataset["mask"].values[:8, :9] = BAD
    image = mosaic({0: dataset}, camera, 8)["image"].values
    assert np.nanmax(image) == np.nanmin(image) == 3


def test_without_places_detectors_stand_side_by_side(camera):
    here = Camera("HERE", tuple(replace(d, centre_mm=(0.0, 0.0)) for d in camera))
    plane = mosaic(products(here), here, 8)
    # 20 cells each and a gap of one.
    assert plane["image"].shape == (16, 4 * 20 + 3)
    np.testing.assert_array_equal(plane["corners"].values[:, 0] > 0, [False, True, True, True])
    assert np.isnan(plane["image"].values[:, [20, 41, 62]]).all()
    unknown = Camera("NOSIZE", tuple(replace(d, pixel_size_mm=0.0) for d in camera))
    plane = mosaic(products(unknown), unknown, 8)
    assert plane["image"].shape == (16, 4 * 20 + 3)
    np.testing.assert_allclose(plane["x_pixel"][:2], [4, 12])


def test_pixels_of_another_size_and_detectors_smaller_than_a_cell(camera):
    first, second = camera.detectors[:2]
    guide = replace(second, pixel_size_mm=0.03, centre_mm=(9.0, 0.0))
    tiny = replace(camera.detectors[2], pixel_size_mm=0.001, centre_mm=(0.0, 9.0))
    both = Camera("BOTH", (first, guide))
    datasets = {0: product(first), 1: product(guide)}
    plane = mosaic(datasets, both, 8)
    wanted = [
        [expected(datasets, both, x, y, 8) for x in plane["x_mm"].values]
        for y in plane["y_mm"].values
    ]
    np.testing.assert_allclose(plane["image"], wanted, rtol=6e-8)
    # 0.16 mm in cells of 0.064 mm.
    small = Camera("SMALL", (first, tiny))
    plane = mosaic({0: product(first), 2: product(tiny, 1e6)}, small, 64)
    assert np.count_nonzero(plane["image"] > 1e6 - 1) > 0


def test_a_detector_between_the_centres_of_cells_is_seen(camera):
    first = camera.detectors[0]
    big = replace(first, pixel_size_mm=0.015)
    # Pixels alike, so that a cell is 0.96 mm, but only 8 x 8 of them: 0.12 mm.
    amplifier = first.amplifiers[0]
    box = replace(amplifier.imaging, width=8, height=8)
    place = replace(amplifier.detector_box, x0=0, y0=0, width=8, height=8)
    small = replace(
        first,
        id=1,
        shape=(8, 8),
        amplifiers=(replace(amplifier, imaging=box, detector_box=place),),
        centre_mm=(5 * 0.96 + 0.06, 0.06),
        reference_pixel=(3.5, 3.5),
    )
    plane = mosaic({0: product(big), 1: product(small, 1e6)}, Camera("TWO", (big, small)), 64)
    assert np.count_nonzero(plane["image"].values > 1e6 - 1) == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: {}, UsageError, "one detector or more"),
        (lambda d: {**d, 1: d[1].drop_vars("image")}, UsageError, "detector 1 is not an image"),
        (
            lambda d: {**d, 1: d[1].assign(image=d[1]["image"].assign_attrs(units="electron"))},
            UsageError,
            "units: adu, electron",
        ),
        (lambda d: {**d, 9: d[1]}, InstrumentError, "no detector 9"),
    ],
)
def test_what_does_not_fit_is_refused(camera, change, error, message):
    with pytest.raises(error, match=message):
        mosaic(change(products(camera)), camera, 8)


def test_only_known_binnings(camera):
    with pytest.raises(UsageError, match="not by 3"):
        mosaic(products(camera), camera, 3)


def test_a_picture_is_drawn_even_of_nothing(camera, tmp_path):
    datasets = products(camera)
    draw_mosaic(mosaic(datasets, camera, 8), tmp_path / "a.png", "four")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    datasets = {0: datasets[0].assign(image=datasets[0]["image"] * np.float32(np.nan))}
    datasets[0]["image"].attrs["units"] = "adu"
    write_mosaic(mosaic(datasets, camera, 64), tmp_path / "b.svg")
    assert b"S00" in (tmp_path / "b.svg").read_bytes()
    with pytest.raises(UsageError, match=r"written as a\.gif"):
        write_mosaic(mosaic(datasets, camera, 64), tmp_path / "a.gif")


def test_a_fits_file_has_the_coordinates(camera, tmp_path):
    plane = mosaic(products(camera), camera, 8)
    write_mosaic(plane, tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        np.testing.assert_array_equal(hdus["IMAGE"].data, plane["image"])
        header = hdus["IMAGE"].header
        for i, axis in enumerate("xy", 1):
            n = plane.sizes[axis]
            pixel = np.arange(1, n + 1)
            got = header[f"CRVAL{i}"] + (pixel - header[f"CRPIX{i}"]) * header[f"CDELT{i}"]
            np.testing.assert_allclose(got, plane[f"{axis}_mm"])
            assert header[f"CUNIT{i}"] == "mm"
        assert header["BUNIT"] == "adu"
        assert hdus[0].header["DETECTOR_2"] == "S10"
