"""Defects against a plain transcription of spec 4.6 and 4.7, and against known ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import reference

from cpflow.io.instrument import load_instrument, scaled
from cpflow.kernels.defect_columns import ColumnRules, fill_blinking_columns, fill_columns
from cpflow.kernels.defect_merge import merge_masks, merge_sources
from cpflow.kernels.defects import (
    DefectThresholds,
    edge_frame,
    find_amplifier_defects,
    find_defects,
)
from cpflow.kernels.masks import boxes_from_mask, paint_boxes
from cpflow.simulate import Truth
from cpflow.simulate.dark import Dark
from cpflow.simulate.defects import KINDS, Defects
from cpflow.simulate.flatfield import radius_of
from cpflow.simulate.truth import draw_detector

BOXES = [(0, 0, 30, 40), (30, 0, 30, 40), (60, 0, 30, 40), (0, 40, 45, 50), (45, 40, 45, 50)]
GAINS = [0.8, 1.1, 1.4, 0.9, 1.2]
SHAPE = (90, 90)


def slow_defects(image, source, kind, usable, exposure_time, rules, saturated, border=(0, 0)):
    """Spec 4.6 as plain loops, with the thresholds of `DefectThresholds()`."""
    defects = np.zeros(image.shape, bool)
    counts = []
    for (x0, y0, width, height), gain in zip(BOXES, GAINS, strict=True):
        pixels = []
        for y in range(max(y0, border[0]), min(y0 + height, image.shape[0] - border[0])):
            for x in range(max(x0, border[1]), min(x0 + width, image.shape[1] - border[1])):
                if usable[y, x] and np.isfinite(image[y, x]):
                    pixels.append((y, x))
        values = np.array([image[p] for p in pixels], float)
        mean, variance, m = (v[0] for v in reference.clipped_mean(values[:, None]))
        sigma = np.sqrt(variance * m)
        if kind == "STDEV":
            bright, dark = 4.8 * sigma, -5.0 * sigma
            if source == "dark":
                dark = -np.inf
        else:
            bright = {"dark": 5.0 * exposure_time / gain, "bias": 1000.0, "flat": np.inf}[source]
            dark = -0.2 * mean if source == "flat" else -np.inf
        hot = [p for p, v in zip(pixels, values, strict=True) if v - mean >= bright]
        cold = [p for p, v in zip(pixels, values, strict=True) if v - mean <= dark]
        counts.append((len(hot), len(cold)))
        for p in hot + cold:
            defects[p] = True
    for x in range(image.shape[1]):
        rows = [y for y in range(image.shape[0]) if defects[y, x]]
        if len(rows) >= rules.blinking_count:
            for first, second in pairwise(rows):
                if second - first < rules.blinking_gap:
                    defects[first:second, x] = True
    wide = np.zeros(image.shape, bool)
    for y, x in zip(*np.nonzero(saturated), strict=True):
        wide[y, max(x - rules.saturated_dilation, 0) : x + rules.saturated_dilation + 1] = True
    final = defects.copy()
    for x0, y0, width, height in BOXES:
        for x in range(x0, x0 + width):
            part = slice(y0, y0 + height), x
            if defects[part].sum() >= rules.bad_count or wide[part].sum() >= rules.saturated_count:
                final[part] = True
    return final, counts


def frame(seed, level):
    """Amplifiers of different level and noise with outliers, bad columns, NaN, unusable pixels."""
    rng = np.random.default_rng(seed)
    image = np.empty(SHAPE)
    for i, (x0, y0, width, height) in enumerate(BOXES):
        shape = (height, width)
        image[y0 : y0 + height, x0 : x0 + width] = rng.normal(level * (1 + 0.2 * i), 2 + i, shape)
    spots = tuple(rng.integers(0, 90, (2, 60)))
    image[spots] += rng.choice([-1, 1], 60) * rng.exponential(40 + level / 4, 60)
    image[20:80, 10] += np.where(rng.random(60) < 0.8, 3000, 0)
    image[5:38, 70] -= 0.5 * level + 100
    image[0, :] += 5000
    image[tuple(rng.integers(0, 90, (2, 10)))] = np.nan
    usable = rng.random(SHAPE) > 0.02
    saturated = np.zeros(SHAPE, bool)
    saturated[45:70, 60] = saturated[2:8, 20] = True
    return image.astype(np.float32), usable, saturated


@pytest.mark.parametrize("kind", ["STDEV", "VALUE"])
@pytest.mark.parametrize(("source", "level"), [("bias", 0), ("dark", 30), ("flat", 900)])
@pytest.mark.parametrize("border", [(0, 0), (7, 4)])
def test_a_detector_is_searched_as_the_specification_says(source, level, kind, border):
    image, usable, saturated = frame(3, level)
    rules = ColumnRules(
        blinking_count=25, blinking_gap=6, bad_count=30, saturated_count=20, saturated_dilation=2
    )
    expected, counts = slow_defects(image, source, kind, usable, 20.0, rules, saturated, border)
    thresholds = DefectThresholds(kind=kind, border_rows=border[0], border_columns=border[1])
    found = find_defects(
        image,
        BOXES,
        source,
        thresholds,
        rules,
        usable=usable,
        saturated=saturated,
        exposure_time=20.0,
        gains=GAINS,
    )
    assert expected.any()
    np.testing.assert_array_equal(found.mask, expected)
    assert list(zip(found.hot, found.cold, strict=True)) == counts
    np.testing.assert_array_equal(paint_boxes(SHAPE, boxes_from_mask(found.mask)), expected)


def test_a_border_is_one_of_the_detector_only():
    """Interior sides of amplifiers are searched; the reference crops them (spec 4.6, GAP)."""
    image = np.random.default_rng(1).normal(0, 1, SHAPE).astype(np.float32)
    for x, y in ((29, 20), (31, 20), (44, 60), (88, 20), (50, 2)):
        image[y, x] = 1000
    thresholds = DefectThresholds(border_rows=7, border_columns=7)
    found = find_defects(image, BOXES, "dark", thresholds)
    assert found.mask[20, 29]
    assert found.mask[20, 31]
    assert found.mask[60, 44]
    assert not found.mask[20, 88]
    assert not found.mask[2, 50]


def test_an_amplifier_without_scatter_has_only_what_differs():
    image = np.full((20, 20), 7.0, np.float32)
    thresholds = DefectThresholds()
    found = find_amplifier_defects(image, "flat", thresholds)
    assert found.sigma == 0
    assert not (found.hot | found.cold).any()
    image[3, 4], image[5, 6] = 8, 6
    found = find_amplifier_defects(image, "flat", thresholds)
    assert np.argwhere(found.hot).tolist() == [[3, 4]]
    assert np.argwhere(found.cold).tolist() == [[5, 6]]
    value = find_amplifier_defects(image, "dark", DefectThresholds(kind="VALUE"), gain=10.0)
    assert np.argwhere(value.hot).tolist() == [[3, 4]]


def test_an_amplifier_without_pixels_has_no_defects():
    image = np.full((5, 5), np.nan, np.float32)
    found = find_amplifier_defects(image, "dark", DefectThresholds())
    assert not (found.hot | found.cold).any()
    assert np.isnan(found.level)
    assert np.isnan(found.sigma)


def test_unusable_pixels_neither_count_nor_are_defects():
    rng = np.random.default_rng(2)
    image = rng.normal(0, 1, (40, 40)).astype(np.float32)
    usable = np.ones(image.shape, bool)
    usable[:, :25] = False
    image[:, :25] = 1e6
    found = find_amplifier_defects(image, "bias", DefectThresholds(), usable=usable)
    assert not found.hot.any()
    assert abs(found.level) < 5 / np.sqrt(15 * 40)


def test_dark_time_that_is_not_known_is_one_second():
    image = np.zeros((10, 10), np.float32)
    image[4, 4] = 5.0 / 1.5
    thresholds = DefectThresholds(kind="VALUE")
    for seconds, found in ((1.0, True), (np.nan, True), (1.01, False)):
        defects = find_amplifier_defects(
            image, "dark", thresholds, exposure_time=seconds, gain=1.5 * (1 + 1e-6)
        )
        assert defects.hot[4, 4] == found


def test_hot_pixels_of_a_simulated_dark():
    """Completeness and purity of 99 % above 6 sigma (issue 5), on a combined dark."""
    camera = scaled(load_instrument("latiss"), 8)
    detector = camera.camera.detectors[0]
    truth = Truth(dark=Dark(gradient=0.0, glow=0.0), defects=Defects(hot_pixels=2000.0))
    arrays = draw_detector(truth, 1, camera.name, detector, radius_of(camera.camera.detectors))
    # The mean of 20 darks of 300 s, electron/s.
    seconds, count, read_noise = 300.0, 20, 8.5
    rate = arrays["dark_rate"].values
    rng = np.random.default_rng(1)
    noise = np.sqrt((rate * seconds + read_noise**2) / count) / seconds
    image = (rate + rng.normal(0, noise)).astype(np.float32)
    boxes = [(b.x0, b.y0, b.x1 - b.x0, b.y1 - b.y0) for b in (a.detector_box for a in detector)]
    thresholds = DefectThresholds(sigma_bright=6.0)
    found = find_defects(image, boxes, "dark", thresholds, ColumnRules(blinking_count=None))
    sigma = np.sqrt((0.03 * seconds + read_noise**2) / count) / seconds
    bad = arrays["defect"].values & (KINDS["HOT_PIXEL"] | KINDS["HOT_COLUMN"]) > 0
    hot = bad & (rate - 0.03 > 6 * sigma)
    assert hot.sum() > 300
    assert (found.mask & hot).sum() >= 0.99 * hot.sum()
    assert (found.mask & bad).sum() >= 0.99 * found.mask.sum()


def test_blinking_columns_by_hand():
    mask = np.zeros((200, 3), bool)
    mask[0:60:2, 1] = True
    mask[100:150:2, 1] = True
    rules = ColumnRules(blinking_count=55, blinking_gap=30)
    filled, count = fill_blinking_columns(mask, rules)
    # 30 + 25 defects; from row 58 to row 100 there are 42 rows.
    assert count == 1
    assert np.flatnonzero(filled[:, 1]).tolist() == [*range(59), *range(100, 149)]
    assert not filled[:, [0, 2]].any()
    assert fill_blinking_columns(mask, ColumnRules(blinking_count=56))[1] == 0
    assert fill_blinking_columns(mask, ColumnRules(blinking_count=None))[1] == 0


def test_columns_are_filled_within_their_amplifier():
    boxes = np.array([[0, 0, 6, 10], [0, 10, 6, 10]])
    mask = np.zeros((20, 6), bool)
    mask[0:5, 2] = True
    saturated = np.zeros((20, 6), bool)
    saturated[12:15, 0] = True
    rules = ColumnRules(bad_count=5, saturated_count=3, saturated_dilation=1)
    filled, count = fill_columns(mask, boxes, rules, saturated)
    expected = np.zeros((20, 6), bool)
    expected[:10, 2] = expected[10:, 0:2] = True
    np.testing.assert_array_equal(filled, expected)
    assert count == 3
    same, count = fill_columns(mask, boxes, ColumnRules(), saturated)
    np.testing.assert_array_equal(same, mask)
    assert count == 0


def test_merging_counts_as_it_says():
    masks = [np.array([[True, i < 7, i < 8, i == 0, False]]) for i in range(10)]
    for mode, fraction, expected in (
        ("AND", 0.7, [1, 0, 0, 0, 0]),
        ("OR", 0.7, [1, 1, 1, 1, 0]),
        # 7 of 10 are not more than 0.7.
        ("FRACTION", 0.7, [1, 0, 1, 0, 0]),
        ("FRACTION", 0.0, [1, 1, 1, 1, 0]),
        ("FRACTION", 0.05, [1, 1, 1, 1, 0]),
    ):
        merged = merge_masks(masks, mode, fraction)
        assert merged[0].tolist() == [bool(e) for e in expected]


def test_sources_merge_by_or():
    rng = np.random.default_rng(4)
    sources = {name: list(rng.random((5, 30, 30)) < 0.6) for name in ("bias", "dark")}
    expected = np.zeros((30, 30), bool)
    for masks in sources.values():
        expected |= np.mean(masks, axis=0) > 0.7
    np.testing.assert_array_equal(merge_sources(sources), expected)


def test_the_edge_frame():
    frame = edge_frame((20, 30), 3, 5)
    assert frame.sum() == 20 * 30 - 14 * 20
    assert frame[3, 4]
    assert not frame[3, 5]
    assert not edge_frame((20, 30), 0, 0).any()
    assert edge_frame((20, 30), 10, 0).all()


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: DefectThresholds(kind="SIGMA"),
        lambda: DefectThresholds(sigma_dark=5.0),
        lambda: DefectThresholds(flat_fraction=1.2),
        lambda: DefectThresholds(border_rows=-1),
        lambda: DefectThresholds(bias=0.0),
        lambda: ColumnRules(bad_count=-1),
        lambda: ColumnRules(blinking_gap=0),
        lambda: find_defects(np.zeros((9, 9), np.float32), [(0, 0, 10, 9)], "dark"),
        lambda: find_defects(np.zeros((9, 9), np.float32), [(0, 0, 9, 9)], "dark", gains=[1, 2]),
        lambda: find_defects(
            np.zeros((9, 9), np.float32), [(0, 0, 9, 9)], "dark", usable=np.ones((9, 8), bool)
        ),
        lambda: find_amplifier_defects(np.zeros((9, 9)), "science", DefectThresholds()),
        lambda: find_amplifier_defects(np.zeros((9, 9)), "dark", DefectThresholds(), gain=0.0),
        lambda: find_amplifier_defects(
            np.zeros((9, 9)), "dark", DefectThresholds(), usable=np.ones(9, bool)
        ),
        lambda: edge_frame((9, 9), -1, 0),
        lambda: merge_masks([]),
        lambda: merge_masks([np.zeros((2, 2), bool)], "XOR"),
        lambda: merge_masks([np.zeros((2, 2), bool)], fraction=1.0),
        lambda: merge_masks([np.zeros((2, 2), bool), np.zeros((2, 3), bool)]),
    ],
)
def test_what_makes_no_sense_is_refused(attempt):
    with pytest.raises(ValueError):
        attempt()
