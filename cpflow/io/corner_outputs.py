"""A detector that is read out at its corners, in a few numbers: `outputs` of a detector type.

Instead of `shape` and `amplifiers` a type may hold `image`, the size of the picture that is stored,
and `outputs`, the corners that have an output and how many columns and rows are not imaging. It
becomes the amplifiers that one would else write out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from cpflow.io.strict import Strict

Corner = Literal["LL", "LR", "UL", "UR"]
_ORDER: Final = ("LL", "LR", "UL", "UR")
_Count = Annotated[int, Field(ge=0)]


class CornerOutputs(Strict):
    """Corners of the stored picture that are read out, each with its part of the picture."""

    corners: Annotated[tuple[Corner, ...], Field(min_length=1, max_length=4)]
    """Lower left, lower right, upper left, upper right: one, two that are not opposite, or all."""
    prescan_columns: _Count = 0
    """Columns of each output that are read before the imaging columns."""
    overscan_columns: _Count = 0
    """Columns of each output that are read after them."""
    prescan_rows: _Count = 0
    overscan_rows: _Count = 0


def with_amplifiers(kind: Mapping[str, Any]) -> dict[str, Any]:
    """Return a detector type with `shape` and `amplifiers` in place of `image` and `outputs`.

    Raises
    ------
    ValueError
        If it has both forms, or the picture cannot be divided so.
    """
    made = dict(kind)
    image = made.pop("image", None)
    outputs = _outputs(made.pop("outputs"))
    if "shape" in kind or "amplifiers" in kind:
        raise ValueError("`outputs` stands for `shape` and `amplifiers`: give it or them")
    if not _is_size(image):
        raise ValueError("`outputs` needs `image`, the rows and columns that are stored")
    rows, columns = image
    corners = sorted(set(outputs.corners), key=_ORDER.index)
    across = len({corner[1] for corner in corners})
    along = len({corner[0] for corner in corners})
    if len(corners) != across * along or len(corners) != len(outputs.corners):
        raise ValueError(f"outputs at {', '.join(outputs.corners)} do not share a picture evenly")
    if rows % along or columns % across:
        raise ValueError(
            f"a picture of {rows} rows and {columns} columns cannot be shared by "
            f"{across} x {along} outputs"
        )
    raw = rows // along, columns // across
    width = raw[1] - outputs.prescan_columns - outputs.overscan_columns
    height = raw[0] - outputs.prescan_rows - outputs.overscan_rows
    if width < 1 or height < 1:
        raise ValueError(f"no imaging pixels are left of the {raw[1]} x {raw[0]} of an output")
    made["shape"] = [height * along, width * across]
    made["amplifier"] = {**made.get("amplifier", {}), **_boxes(outputs, raw, width, height)}
    made["amplifier"].setdefault("hdu", 0)
    made["amplifiers"] = [
        _amplifier(corner, across == 2, along == 2, raw, (height, width)) for corner in corners
    ]
    return made


def _outputs(value: Any) -> CornerOutputs:
    if isinstance(value, str | list | tuple):  # the corners alone
        value = {"corners": [value] if isinstance(value, str) else value}
    try:
        return CornerOutputs.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in ("outputs", *first["loc"]))
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def _is_size(image: Any) -> bool:
    return (
        isinstance(image, list | tuple)
        and len(image) == 2
        and all(isinstance(size, int) and size > 0 for size in image)
    )


def _boxes(outputs: CornerOutputs, raw: tuple[int, int], width: int, height: int) -> dict[str, Any]:
    x0, y0 = outputs.prescan_columns, outputs.prescan_rows
    boxes: dict[str, Any] = {
        "raw": list(raw),
        "imaging": {"x0": x0, "y0": y0, "width": width, "height": height},
    }
    if x0:
        boxes["serial_prescan"] = {"x0": 0, "y0": y0, "width": x0, "height": height}
    if outputs.overscan_columns:
        boxes["serial_overscan"] = {
            "x0": x0 + width,
            "y0": y0,
            "width": outputs.overscan_columns,
            "height": height,
        }
    if outputs.overscan_rows:
        boxes["parallel_overscan"] = {
            "x0": x0,
            "y0": y0 + height,
            "width": width,
            "height": outputs.overscan_rows,
        }
    return boxes


def _amplifier(
    corner: str, two_across: bool, two_along: bool, raw: tuple[int, int], imaging: tuple[int, int]
) -> dict[str, Any]:
    right, upper = corner[1] == "R", corner[0] == "U"
    column, row = int(right and two_across), int(upper and two_along)
    flip = ("x" if right else "") + ("y" if upper else "") or "none"
    return {
        "name": corner,
        "stored_at": [column * raw[1], row * raw[0]],
        "stored_flip": flip,
        "place": [column * imaging[1], row * imaging[0]],
        "flip": flip,
    }
