"""Edges and vignetting against masks made of the whole detector, whatever rows are asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cpflow import Isr, isr, open_stack
from cpflow.camera import Amplifier, Box, Detector, Source
from cpflow.errors import ConfigurationError
from cpflow.exposure import Exposure
from cpflow.kernels.planes import NO_DATA, SAT, SUSPECT, VIGNETTED
from cpflow.stack import Context, Frame
from cpflow.stack.geometry import split_array
from cpflow.steps.borders import flag_edges, flag_vignetted, reaches
from cpflow.steps.light import CorrectLight
from cpflow.steps.options import Vignette
from cpflow.timespan import Timespan

ROWS, COLUMNS = 22, 17
PARTS = [range(ROWS), range(1), range(3, 9), range(ROWS - 2, ROWS), range(10, 11)]
EXPOSURE = Exposure("X", 1, "X1", 20210101, 1, Timespan.at(1), "flat")


def detector(across=3, up=2, **changes):
    """Outputs in columns of which the upper ones read upwards, the odd ones to the right."""
    amplifiers = tuple(
        Amplifier(
            name=f"{x}{y}",
            raw=(ROWS, COLUMNS),
            source=Source(1, Box(0, 0, COLUMNS, ROWS)),
            imaging=Box(0, 0, COLUMNS, ROWS),
            detector_box=Box(x * COLUMNS, y * ROWS, COLUMNS, ROWS),
            flip_x=x % 2 == 1,
            flip_y=y == 1,
        )
        for y in range(up)
        for x in range(across)
    )
    values = {
        "pixel_size_mm": 0.5,
        "centre_mm": (40.0, -7.0),
        "reference_pixel": (COLUMNS * across / 2, ROWS * up / 2),
        **changes,
    }
    return Detector(3, "tiled", (up * ROWS, across * COLUMNS), amplifiers, **values)


def blank(camera, rows):
    mask = np.zeros((len(camera.amplifiers), len(rows), COLUMNS), np.uint16)
    mask[:, 0, 0] = SAT
    return Frame(np.ones(mask.shape, np.float32), rows, mask.copy(), trimmed=True), mask


@pytest.mark.parametrize("rows", PARTS, ids=str)
@pytest.mark.parametrize("width", [1, 4, 11, 50])
@pytest.mark.parametrize("level", ["detector", "amp"])
def test_edges(level, width, rows):
    camera = detector()
    height, length = camera.shape
    expected = np.zeros(camera.shape, np.uint16)
    boxes = [Box(0, 0, length, height)]
    if level == "amp":
        boxes = [amplifier.detector_box for amplifier in camera]
    for box in boxes:
        inner = np.zeros((box.height, box.width), bool)
        inner[width : max(box.height - width, width), width : max(box.width - width, width)] = True
        expected[box.rows, box.columns] = np.where(inner, 0, SUSPECT)
    frame, before = blank(camera, rows)
    flag_edges(frame, camera, Isr(edge_suspect=width, edge_level=level))
    np.testing.assert_array_equal(frame.mask, split_array(camera, expected, rows) | before)


def test_no_edge_is_asked_for():
    frame = Frame(np.ones((6, ROWS, COLUMNS), np.float32), range(ROWS), trimmed=True)
    flag_edges(frame, detector(), Isr())
    assert frame.mask is None


def distances(camera, vignette):
    """Of the centre of each pixel, in mm; one by one."""
    out = np.empty(camera.shape)
    for y in range(camera.shape[0]):
        for x in range(camera.shape[1]):
            u = (x - camera.reference_pixel[0]) * camera.pixel_size_mm + camera.centre_mm[0]
            v = (y - camera.reference_pixel[1]) * camera.pixel_size_mm + camera.centre_mm[1]
            out[y, x] = np.hypot(u - vignette.x, v - vignette.y)
    return out


CIRCLES = [
    Vignette(enabled=True, radius=40.0),
    Vignette(enabled=True, radius=45.0, x=-3.0, y=6.0),
    Vignette(enabled=True, radius=4.0, x=40.0, y=-7.0),
    Vignette(enabled=True, radius=1.0, x=-50.0),
]


@pytest.mark.parametrize("rows", PARTS, ids=str)
@pytest.mark.parametrize("circle", CIRCLES, ids=str)
def test_pixels_outside_the_circle(circle, rows):
    camera = detector()
    outside = distances(camera, circle) > circle.radius
    assert outside.any()
    assert not outside.all() or circle is CIRCLES[-1]
    expected = np.where(outside, NO_DATA | VIGNETTED, 0).astype(np.uint16)
    frame, before = blank(camera, rows)
    flag_vignetted(frame, camera, circle)
    np.testing.assert_array_equal(frame.mask, split_array(camera, expected, rows) | before)
    assert reaches(camera, circle)


def test_flags_are_those_of_the_step():
    """Edges and vignetting together, as `CorrectLight` sets them."""
    camera, circle = detector(), CIRCLES[0]
    options = Isr(edge_suspect=2, vignette=circle)
    frame, before = blank(camera, range(ROWS))
    out = CorrectLight(options)(frame, Context(camera, EXPOSURE))
    expected = np.full(camera.shape, SUSPECT, np.uint16)
    expected[2:-2, 2:-2] = 0
    expected[distances(camera, circle) > circle.radius] |= NO_DATA | VIGNETTED
    np.testing.assert_array_equal(out.mask, split_array(camera, expected, range(ROWS)) | before)
    assert (out.image == 1).all(), "an exposure keeps what it saw"


@pytest.mark.parametrize("circle", [Vignette(enabled=True, radius=70.0), Vignette(radius=1.0)])
def test_a_detector_inside_is_not_touched(circle):
    camera = detector()
    frame = Frame(np.ones((6, ROWS, COLUMNS), np.float32), range(ROWS), trimmed=True)
    flag_vignetted(frame, camera, circle)
    assert frame.mask is None


def test_a_corner_outside_without_a_pixel_centre():
    """The corner of the outermost pixel is 0.35 mm farther out than its centre."""
    camera = detector(centre_mm=(0.0, 0.0))
    corner = distances(camera, Vignette()).max()
    circle = Vignette(enabled=True, radius=corner + 0.1)
    assert reaches(camera, circle)
    frame = Frame(np.ones((6, ROWS, COLUMNS), np.float32), range(ROWS), trimmed=True)
    flag_vignetted(frame, camera, circle)
    assert frame.mask is None


def test_a_detector_of_unknown_size_is_refused_before_anything_runs():
    raw = open_stack(replace(detector(), pixel_size_mm=0.0), [])
    with pytest.raises(ConfigurationError, match="detector 3 has no pixel size"):
        isr(raw, {}, Isr(vignette=CIRCLES[0]))
    isr(raw, {}, Isr())
