"""Telling rays from hot pixels, and what a row without a good pixel does to it: nothing."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.camera import Amplifier, Box, Detector, Source
from cpflow.exposure import Exposure
from cpflow.kernels.planes import BAD, CR
from cpflow.stack import Context, Frame
from cpflow.stack.geometry import split_array
from cpflow.steps.cosmic_rays import (
    COSMIC_RAYS,
    FLAGGED,
    FindCosmicRays,
    FlagCosmicRays,
    TellHotPixels,
)
from cpflow.steps.options import CosmicRays, Isr
from cpflow.steps.repair import Repair
from cpflow.timespan import Timespan

ROWS, COLUMNS = 30, 24
EXPOSURE = Exposure("X", 1, "X1", 20210101, 1, Timespan.at(1), "dark")
SHAPE = (2 * ROWS, 2 * COLUMNS)
TRACK = [(20, 11), (20, 12), (21, 13), (21, 14)]
HOT = (40, 30)


def detector():
    """Two by two outputs, one read from each corner."""
    amplifiers = tuple(
        Amplifier(
            name=f"{x}{y}",
            raw=(ROWS, COLUMNS),
            source=Source(1, Box(0, 0, COLUMNS, ROWS)),
            imaging=Box(0, 0, COLUMNS, ROWS),
            detector_box=Box(x * COLUMNS, y * ROWS, COLUMNS, ROWS),
            flip_x=x == 1,
            flip_y=y == 1,
        )
        for y in (0, 1)
        for x in (0, 1)
    )
    return Detector(0, "four", SHAPE, amplifiers)


def frame(rng, *, track, bad_row=None, hot=True):
    image = rng.normal(0, 5, SHAPE).astype(np.float32)
    if hot:
        image[HOT] += 3000
    if track:
        for place in TRACK:
            image[place] += 2000
    camera = detector()
    mask = np.zeros(SHAPE, np.uint16)
    if bad_row is not None:
        mask[bad_row] = BAD
    rows = range(ROWS)
    made = Frame(
        split_array(camera, image, rows),
        rows,
        split_array(camera, mask, rows),
        np.full((4, ROWS, COLUMNS), 25, np.float32),
        trimmed=True,
    )
    return Repair(Isr())(made, Context(camera, EXPOSURE))


def flags(frames):
    """The places that are flagged in each exposure, by the three steps in turn."""
    camera = detector()
    found = [FindCosmicRays(CosmicRays())(one, Context(camera, EXPOSURE)) for one in frames]
    kept = TellHotPixels(0.5)([{COSMIC_RAYS: rays} for rays in found], [], {})
    out = []
    for i, one in enumerate(frames):
        context = Context(camera, EXPOSURE, shared={FLAGGED: kept.values[kept.index[i]]})
        out.append((FlagCosmicRays(2)(one, context).writable_mask() & CR) != 0)
    return out


@pytest.mark.parametrize("bad_row", [None, 3, 2 * ROWS - 1])
def test_a_track_in_one_of_six_exposures_is_found_and_the_hot_pixel_is_not(bad_row):
    rng = np.random.default_rng(3)
    frames = [frame(rng, track=i == 2, bad_row=bad_row) for i in range(6)]
    expected = np.zeros(SHAPE, bool)
    for y, x in TRACK:
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                expected[y + dy, x + dx] |= dx * dx + dy * dy <= 4
    expected = split_array(detector(), expected, range(ROWS))
    for i, flagged in enumerate(flags(frames)):
        np.testing.assert_array_equal(flagged, expected if i == 2 else False)


def test_with_few_exposures_all_that_looks_like_a_ray_is_flagged():
    rng = np.random.default_rng(4)
    frames = [frame(rng, track=False) for _ in range(3)]
    for flagged in flags(frames):
        # The hot pixel, grown, and now and then a noisy neighbour.
        assert 13 <= flagged.sum() <= 40
