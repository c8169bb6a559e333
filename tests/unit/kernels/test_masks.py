"""Growing, trails and boxes against set arithmetic on single pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cpflow.kernels.masks import boxes_from_mask, grow, paint_boxes, saturated, widen_trails

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=14))


def pixels(mask: np.ndarray) -> set[tuple[int, int]]:
    return {(int(y), int(x)) for y, x in np.argwhere(mask)}


def draw(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


def test_saturated_is_at_or_above_and_never_nan() -> None:
    values = np.array([99.0, 100.0, 101.0, np.nan, np.inf], np.float32)
    np.testing.assert_array_equal(saturated(values, 100.0), [False, True, True, False, True])
    assert not saturated(values, np.nan).any()


@settings(max_examples=150, deadline=None)
@given(masks, st.integers(0, 5), st.sampled_from(["manhattan", "circular"]))
def test_growing_is_a_distance(mask, radius, shape) -> None:
    wanted = np.zeros_like(mask)
    for y, x in np.ndindex(mask.shape):
        for v, u in pixels(mask):
            dy, dx = abs(y - v), abs(x - u)
            if shape == "manhattan":
                near = dy + dx <= radius
            else:
                near = dy <= radius and dx <= int(np.floor(np.sqrt(radius**2 - dy**2)))
            wanted[y, x] |= near
    grown = grow(mask, radius, shape)
    np.testing.assert_array_equal(grown, wanted)
    assert grown is not mask


@settings(max_examples=50, deadline=None)
@given(masks, st.integers(0, 3), st.integers(0, 3))
def test_growing_in_two_steps(mask, first, second) -> None:
    np.testing.assert_array_equal(grow(grow(mask, first), second), grow(mask, first + second))


@pytest.mark.parametrize(
    ("length", "more"), [(1, 0), (5, 0), (6, 1), (7, 1), (8, 3), (9, 3), (10, 4), (25, 4)]
)
def test_trails_widen_with_their_length(length: int, more: int) -> None:
    """Spec 2.5."""
    mask = np.zeros((3, 60), bool)
    mask[1, 20 : 20 + length] = True
    wanted = np.zeros_like(mask)
    wanted[1, 20 - more : 20 + length + more] = True
    np.testing.assert_array_equal(widen_trails(mask), wanted)


def test_trails_stay_in_their_row_and_image() -> None:
    mask = np.zeros((2, 24), bool)
    mask[0, :10] = True
    mask[1, 12:] = True
    mask[0, 18:24] = True
    widened = widen_trails(mask)
    np.testing.assert_array_equal(np.flatnonzero(widened[0]), [*range(14), *range(17, 24)])
    np.testing.assert_array_equal(np.flatnonzero(widened[1]), range(8, 24))


def slow_boxes(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Spec 4.8 on sets of pixels."""
    left, groups = pixels(mask), []
    while left:
        start = min(left)
        group, border = {start}, [start]
        while border:
            y, x = border.pop()
            touching = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left - group
            group |= touching
            border += touching
        left -= group
        groups.append(group)
    boxes = []
    for group in groups:
        while group:
            y0, x0 = min(group)
            x1 = x0
            while (y0, x1) in group:
                x1 += 1
            run = range(x0, x1)
            y1 = y0
            while all((y1, x) in group for x in run):
                group -= {(y1, x) for x in run}
                y1 += 1
            boxes.append((x0, y0, x1 - x0, y1 - y0))
    return boxes


@settings(max_examples=200, deadline=None)
@given(masks)
def test_boxes_follow_the_cutting_rule(mask) -> None:
    boxes = boxes_from_mask(mask)
    np.testing.assert_array_equal(boxes, np.array(slow_boxes(mask), int).reshape(-1, 4))
    np.testing.assert_array_equal(paint_boxes(mask.shape, boxes), mask)
    assert (boxes[:, 2] * boxes[:, 3]).sum() == mask.sum()


def test_a_comb_needs_more_boxes_than_it_has_runs() -> None:
    mask = np.zeros((9, 101), bool)
    mask[0, 1::2] = True
    mask[1:] = True
    boxes = boxes_from_mask(mask)
    assert len(boxes) == 50 + 51
    np.testing.assert_array_equal(paint_boxes(mask.shape, boxes), mask)


def test_an_example_to_look_at() -> None:
    mask = draw(
        ".##...#",
        ".###...",
        ".##....",
        "....#..",
    )
    np.testing.assert_array_equal(
        boxes_from_mask(mask), [[1, 0, 2, 3], [3, 1, 1, 1], [6, 0, 1, 1], [4, 3, 1, 1]]
    )


def test_diagonal_pixels_are_one_group() -> None:
    """The group's order decides where a box comes: the lower right one is part of the first."""
    mask = draw("#..#", ".#..", "#...")
    np.testing.assert_array_equal(
        boxes_from_mask(mask), [[0, 0, 1, 1], [1, 1, 1, 1], [0, 2, 1, 1], [3, 0, 1, 1]]
    )


def test_boxes_are_clipped_to_the_image() -> None:
    boxes = [[-2, -2, 4, 3], [3, 2, 50, 50], [-9, 0, 3, 3], [0, 3, 0, 2]]
    np.testing.assert_array_equal(
        paint_boxes((4, 5), boxes), draw("##...", ".....", "...##", "...##")
    )
    assert not paint_boxes((2, 2), []).any()
    assert boxes_from_mask(np.zeros((2, 2), bool)).shape == (0, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grow(np.zeros((2, 2), bool), -1), "cannot grow by -1"),
        (lambda: grow(np.zeros((2, 2), bool), 1, "square"), "'square'"),
        (lambda: grow(np.zeros(3, bool), 1), "rows and columns"),
        (lambda: widen_trails(np.zeros((1, 2, 3), bool)), "rows and columns"),
        (lambda: boxes_from_mask(np.zeros(3, bool)), "rows and columns"),
        (lambda: paint_boxes((3, 3), [1, 2, 3, 4]), "rows of x0"),
        (lambda: paint_boxes((3, 3), [[1, 2, 3]]), "rows of x0"),
        (lambda: paint_boxes((3, 3), [[1, 1, -1, 2]]), "negative"),
    ],
)
def test_nonsense_is_refused(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
