"""A smaller camera with the structure of a real one, for simulations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from cpflow.errors import InstrumentError, UsageError

_KEPT = 16
_BOXES = ("imaging", "serial_prescan", "serial_overscan", "parallel_overscan")
_Resize = Callable[[int], int]


def scaled_definition(definition: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Return a definition with imaging areas smaller by `factor`; see `instrument.scaled`.

    Raises
    ------
    InstrumentError
        If the camera's geometry is in its headers, or its amplifiers are not on a grid.
    """
    if not factor > 0:
        raise UsageError(
            f"a camera cannot be scaled by {factor}", hint="8 makes it 8 times smaller"
        )
    if definition.get("geometry") == "header":
        raise InstrumentError(
            f"{definition['name']} cannot be scaled: each file's header gives its geometry"
        )
    scaled = copy.deepcopy(dict(definition))
    for name, kind in scaled["types"].items():
        _scale_type(kind, factor, f"{definition['name']}, detector type {name}")
    return scaled


def _scale_type(kind: dict[str, Any], factor: float, label: str) -> None:
    template = kind.get("amplifier", {})
    first = {**template, **kind["amplifiers"][0]}
    rows, columns = first["raw"]
    box = {"x0": 0, "y0": 0, **first["imaging"]}
    width, height = _shrunk(box["width"], factor), _shrunk(box["height"], factor)
    # The imaging box may start elsewhere in each amplifier; its size and the raw size may not.
    new_columns = _axis(box["x0"], box["width"], width, columns, factor)(columns)
    new_rows = _axis(box["y0"], box["height"], height, rows, factor)(rows)
    for entry in (template, *kind["amplifiers"]):
        own = {"x0": 0, "y0": 0, **{**template, **entry}.get("imaging", box)}
        x = _axis(own["x0"], own["width"], width, columns, factor)
        y = _axis(own["y0"], own["height"], height, rows, factor)
        for key in _BOXES:
            if key in entry:
                entry[key] = _scale_box(entry[key], x, y)
        if "raw" in entry:
            entry["raw"] = [new_rows, new_columns]
        if "place" in entry:
            entry["place"] = _on_grid(
                entry["place"], (box["width"], box["height"]), (width, height), label
            )
        if "stored_at" in entry:
            entry["stored_at"] = _on_grid(
                entry["stored_at"], (columns, rows), (new_columns, new_rows), label
            )
    tall, wide = kind["shape"]
    kind["shape"] = [tall // box["height"] * height, wide // box["width"] * width]
    x_ratio, y_ratio = width / box["width"], height / box["height"]
    if "reference_pixel" in kind:
        x_ref, y_ref = kind["reference_pixel"]
        kind["reference_pixel"] = [x_ref * x_ratio, y_ref * y_ratio]
    if "pixel_size_mm" in kind:
        kind["pixel_size_mm"] /= x_ratio


def _shrunk(size: int, factor: float) -> int:
    return max(1, round(size / factor))


def _axis(start: int, size: int, new_size: int, length: int, factor: float) -> _Resize:
    """Return where a coordinate of a raw area goes: before, in or after the imaging pixels."""
    end = start + size
    after = length - end
    new_after = max(min(after, _KEPT), round(after / factor))

    def resize(coordinate: int) -> int:
        if coordinate <= start:
            return coordinate
        if coordinate <= end:
            return start + round((coordinate - start) * new_size / size)
        if coordinate == length:
            return start + new_size + new_after
        return start + new_size + min(coordinate - end, new_after)

    return resize


def _scale_box(box: Mapping[str, int], x: _Resize, y: _Resize) -> dict[str, int]:
    x0, y0 = box.get("x0", 0), box.get("y0", 0)
    left, low = x(x0), y(y0)
    return {
        "x0": left,
        "y0": low,
        "width": x(x0 + box["width"]) - left,
        "height": y(y0 + box["height"]) - low,
    }


def _on_grid(
    place: list[int], size: tuple[int, int], new_size: tuple[int, int], label: str
) -> list[int]:
    if any(at % step for at, step in zip(place, size, strict=True)):
        raise InstrumentError(f"{label} cannot be scaled: {place} is not on a grid of {size}")
    return [at // step * new for at, step, new in zip(place, size, new_size, strict=True)]
