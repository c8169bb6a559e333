"""Readout frame to detector frame and back, for cameras of several shapes."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from cpflow.camera import Amplifier, Box, Detector, Source
from cpflow.errors import InstrumentError
from cpflow.stack.geometry import assemble, assemble_array, place, slabs, split_array


def amplifier(name, x0, y0, width, height, flip_x=False, flip_y=False):
    return Amplifier(
        name=name,
        raw=(height + 2, width + 3),
        source=Source(1, Box(0, 0, width + 3, height + 2)),
        imaging=Box(1, 0, width, height),
        detector_box=Box(x0, y0, width, height),
        serial_overscan=Box(width + 1, 0, 2, height),
        flip_x=flip_x,
        flip_y=flip_y,
    )


def quadrants(width=4, height=5):
    """Four outputs, each reading from its own corner."""
    return Detector(
        0,
        "quadrants",
        (2 * height, 2 * width),
        (
            amplifier("LL", 0, 0, width, height),
            amplifier("LR", width, 0, width, height, flip_x=True),
            amplifier("UL", 0, height, width, height, flip_y=True),
            amplifier("UR", width, height, width, height, flip_x=True, flip_y=True),
        ),
    )


def turned(width=4, height=4):
    """Side by side, one read from the bottom, one from the top: rows of a band do not align."""
    return Detector(
        0,
        "turned",
        (height, 2 * width),
        (
            amplifier("A", 0, 0, width, height),
            amplifier("B", width, 0, width, height, flip_y=True),
        ),
    )


def irregular():
    """A pinwheel, which is made of no strips: 2 x 1 boxes around each other would leave a hole."""
    return Detector(
        0,
        "stairs",
        (4, 4),
        (
            amplifier("A", 0, 0, 2, 2),
            amplifier("B", 2, 0, 2, 2, flip_x=True),
            amplifier("C", 0, 2, 2, 2, flip_y=True),
            amplifier("D", 2, 2, 2, 2),
        ),
    )


CAMERAS = [quadrants, turned, irregular]


def by_hand(detector, pixels):
    """Every pixel put where its coordinates say, one by one."""
    out = np.full(detector.shape, -1.0)
    for a, amp in enumerate(detector.amplifiers):
        rows, columns = detector.imaging_shape
        for y in range(rows):
            for x in range(columns):
                column = columns - 1 - x if amp.flip_x else x
                row = rows - 1 - y if amp.flip_y else y
                out[amp.detector_box.y0 + row, amp.detector_box.x0 + column] = pixels[a, y, x]
    return out


@pytest.mark.parametrize("camera", CAMERAS)
def test_assembly_puts_each_pixel_in_its_place(camera):
    detector = camera()
    shape = (len(detector.amplifiers), *detector.imaging_shape)
    pixels = np.arange(np.prod(shape), dtype=float).reshape(shape)
    expected = by_hand(detector, pixels)
    np.testing.assert_array_equal(assemble_array(detector, pixels), expected)
    dataset = xr.Dataset({"image": (("amp", "y", "x"), pixels), "gain": ("amp", shape[0] * [1.0])})
    for data in (dataset, dataset.chunk({"y": 2})):
        out = assemble(data, detector)
        assert out["image"].dims == ("y", "x")
        np.testing.assert_array_equal(out["image"].values, expected)
        assert out["gain"].dims == ("amp",)


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("rows", [range(0, 1), range(1, 3), range(0, 4)])
def test_splitting_undoes_assembly(camera, rows):
    detector = camera()
    shape = (len(detector.amplifiers), *detector.imaging_shape)
    pixels = np.arange(np.prod(shape), dtype=float).reshape(shape)
    rows = range(rows.start, min(rows.stop, detector.imaging_shape[0]))
    image = by_hand(detector, pixels)
    np.testing.assert_array_equal(
        split_array(detector, image, rows), pixels[:, rows.start : rows.stop]
    )


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 2), (2, 4), (0, 4)])
def test_slabs_cover_a_band_once_and_show_detector_rows(camera, start, stop):
    detector = camera()
    stop = min(stop, detector.imaging_shape[0])
    rows = range(start, stop)
    shape = (len(detector.amplifiers), *detector.imaging_shape)
    pixels = np.arange(np.prod(shape), dtype=float).reshape(shape)
    image = by_hand(detector, pixels)
    band = pixels[:, start:stop].copy()
    seen = np.zeros(detector.shape, int)
    for slab in slabs(detector, rows):
        there = slab.gather(detector, band)
        y, x = slab.y0, slab.x0
        np.testing.assert_array_equal(there, image[y : y + slab.shape[0], x : x + slab.shape[1]])
        seen[y : y + slab.shape[0], x : x + slab.shape[1]] += 1
        slab.scatter(detector, -there, band)
    expected = np.zeros(detector.shape, int)
    for amp in detector.amplifiers:
        box = place(amp, rows)
        expected[box.rows, box.columns] = 1
    np.testing.assert_array_equal(seen, expected)
    np.testing.assert_array_equal(band, -pixels[:, start:stop])


def test_halves_that_meet_are_one_slab():
    detector = quadrants()
    apart = list(slabs(detector, range(0, 2)))
    together = list(slabs(detector, range(3, 5)))
    assert [slab.shape for slab in apart] == [(2, 8), (2, 8)]
    assert [(slab.y0, slab.shape) for slab in together] == [(3, (4, 8))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: [a[0], a[0]], "same name"),
        (lambda a: a[:1], "cover 20 of 40 pixels"),
        (lambda a: [a[0], amplifier("B", 3, 0, 4, 5)], "overlap"),
        (lambda a: [a[0], amplifier("B", 5, 0, 4, 5)], "leaves the detector"),
        (lambda a: [a[0], amplifier("B", 4, 0, 4, 4)], "one size"),
        (lambda a: [], "no amplifiers"),
    ],
)
def test_a_detector_that_is_not_tiled_is_refused(change, message):
    sound = [amplifier("A", 0, 0, 4, 5), amplifier("B", 4, 0, 4, 5)]
    with pytest.raises(InstrumentError, match=message):
        Detector(0, "d", (5, 8), tuple(change(sound)))
