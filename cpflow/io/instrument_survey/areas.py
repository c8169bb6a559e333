"""From the sections of outputs to amplifiers: raw areas, boxes in readout order, places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cpflow.camera import Box
from cpflow.io.instrument_survey.sections import BadSectionError, Output, Section

_MARGIN: Final = 3
"""Columns or rows beside the imaging pixels that are too few to be an overscan."""


@dataclass(frozen=True, slots=True)
class Area:
    """One output as an amplifier of an instrument file."""

    output: Output
    cell: Box
    """Its part of the stored image."""
    flip_x: bool
    """Whether the stored columns are turned to get the order of readout."""
    flip_y: bool
    imaging: Box
    """In readout order, as the following."""
    serial_overscan: Box | None
    parallel_overscan: Box | None
    serial_prescan: Box | None
    place: Box | None
    """On the detector; None if no keyword says it."""
    turned_x: bool
    """Whether the order of readout is turned to get the detector."""
    turned_y: bool

    @property
    def spare_columns(self) -> int:
        """Columns after the imaging columns that no keyword explains."""
        spare = self.cell.width - self.imaging.x1
        return spare if self.serial_overscan is None and spare > _MARGIN else 0

    @property
    def spare_rows(self) -> int:
        """Rows after the imaging rows that no keyword explains."""
        spare = self.cell.height - self.imaging.y1
        return spare if self.parallel_overscan is None and spare > _MARGIN else 0

    def entry(self) -> dict[str, Any]:
        """Return its keys in the instrument file, without its place."""
        boxes = {
            "serial_prescan": self.serial_prescan,
            "imaging": self.imaging,
            "serial_overscan": self.serial_overscan,
            "parallel_overscan": self.parallel_overscan,
        }
        return {
            "stored_at": [self.cell.x0, self.cell.y0],
            "stored_flip": flip_text(self.flip_x, self.flip_y),
            "raw": [self.cell.height, self.cell.width],
            **{name: box_entry(box) for name, box in boxes.items() if box is not None},
            "flip": flip_text(self.turned_x, self.turned_y),
        }


def flip_text(flip_x: bool, flip_y: bool) -> str:
    """Return a flip as an instrument file writes it."""
    return ("x" if flip_x else "") + ("y" if flip_y else "") or "none"


def box_entry(box: Box) -> dict[str, int]:
    """Return a box as an instrument file writes it."""
    return {"x0": box.x0, "y0": box.y0, "width": box.width, "height": box.height}


def areas_of(outputs: Sequence[Output]) -> list[Area]:
    """Return the amplifiers of the outputs of one image.

    Raises
    ------
    BadSectionError
        If an output has no imaging section, or the sections of outputs are not side by side.
    """
    if len(outputs) == 1:
        _check_extent(outputs[0])
    cells, counts = _cells(outputs)
    return [_area(output, cell, counts) for output, cell in zip(outputs, cells, strict=True)]


def _check_extent(output: Output) -> None:
    """Refuse the sections of a lone output that leave most of its image unexplained."""
    rows, columns = output.image
    box = _stored_box(output)
    if box.width < columns / 2 or box.height < rows / 2:
        raise BadSectionError(
            f"{imaging_of(output).said} is less than half of the image of {columns} x {rows}, as "
            "that of one output of several would be"
        )


def _cells(outputs: Sequence[Output]) -> tuple[list[Box], tuple[int, int]]:
    """Divide an image into equal parts of which each holds all sections of one output."""
    rows, columns = outputs[0].image
    count = len(outputs)
    for across in range(count, 0, -1):
        along = count // across
        if across * along != count or columns % across or rows % along:
            continue
        width, height = columns // across, rows // along
        cells = []
        for output in outputs:
            inside = _stored_box(output)
            cell = Box(inside.x0 // width * width, inside.y0 // height * height, width, height)
            if cell.contains(inside):
                cells.append(cell)
        if len(set(cells)) == count:
            return cells, (across, along)
    names = ", ".join(output.name for output in outputs)
    raise BadSectionError(
        f"the sections of outputs {names} do not lie in equal parts of the image of "
        f"{columns} x {rows}"
    )


def imaging_of(output: Output) -> Section:
    """Return the imaging pixels: of TRIMSEC and DATASEC the one that fits its place."""
    section = output.imaging
    if section is None:
        raise BadSectionError(f"output {output.name} has no TRIMSEC and no DATASEC")
    place = output.sections.get("place")
    data = output.sections.get("data")
    if place is not None and data is not None and _size(section.box) != _size(place.box):
        return data if _binning(data.box, place.box) else section
    return section


def _stored_box(output: Output) -> Box:
    boxes = [imaging_of(output).box]
    bias = output.sections.get("bias")
    if bias is not None:
        boxes.append(bias.box)
    x0, y0 = min(b.x0 for b in boxes), min(b.y0 for b in boxes)
    return Box(x0, y0, max(b.x1 for b in boxes) - x0, max(b.y1 for b in boxes) - y0)


def _area(output: Output, cell: Box, counts: tuple[int, int]) -> Area:
    section = imaging_of(output)
    imaging = _moved(section.box, cell)
    bias = output.sections.get("bias")
    strip = None if bias is None else _moved(bias.box, cell)
    serial, parallel = _overscans(imaging, strip, output)
    place = output.sections.get("place")
    amplifier = output.sections.get("amplifier")
    across, along = counts
    flip_x = _direction(
        serial, imaging.x0, imaging.x1, cell.width, "x", amplifier, across == 2 and cell.x0 > 0
    )
    flip_y = _direction(
        parallel, imaging.y0, imaging.y1, cell.height, "y", amplifier, along == 2 and cell.y0 > 0
    )
    whole = Box(0, 0, cell.width, cell.height)

    def turned(box: Box | None) -> Box | None:
        return None if box is None else _turned(box, whole, flip_x, flip_y)

    boxes = {"imaging": turned(imaging), "serial": turned(serial), "parallel": turned(parallel)}
    light = boxes["imaging"] or imaging
    prescan = Box(0, light.y0, light.x0, light.height) if light.x0 and serial else None
    where = None if place is None else _binned(place.box, imaging)
    return Area(
        output=output,
        cell=cell,
        flip_x=flip_x,
        flip_y=flip_y,
        imaging=light,
        serial_overscan=boxes["serial"],
        parallel_overscan=boxes["parallel"],
        serial_prescan=prescan,
        place=where,
        turned_x=flip_x != (place is not None and place.flip_x != section.flip_x),
        turned_y=flip_y != (place is not None and place.flip_y != section.flip_y),
    )


def _overscans(imaging: Box, strip: Box | None, output: Output) -> tuple[Box | None, Box | None]:
    """Return the serial and the parallel overscan, of which an output has at most one here."""
    if strip is None:
        return None, None
    if strip.x1 <= imaging.x0 or strip.x0 >= imaging.x1:
        # Shorter sections only leave out edges: the same pixels of every row are overscan.
        return Box(strip.x0, imaging.y0, strip.width, imaging.height), None
    if strip.y1 <= imaging.y0 or strip.y0 >= imaging.y1:
        return None, Box(imaging.x0, strip.y0, imaging.width, strip.height)
    said = output.sections["bias"].said
    raise BadSectionError(f"{said} overlaps the imaging section of output {output.name}")


def _direction(
    overscan: Box | None,
    first: int,
    end: int,
    length: int,
    axis: str,
    amplifier: Section | None,
    mirrored: bool,
) -> bool:
    """Return whether an axis is turned: overscan is read after the imaging pixels."""
    if overscan is not None:
        return (overscan.x0 if axis == "x" else overscan.y0) < first
    if amplifier is not None and (amplifier.flip_x or amplifier.flip_y):
        return amplifier.flip_x if axis == "x" else amplifier.flip_y
    if mirrored:
        return True
    # Without a word for it: the larger margin, if only one side has any, is what is read last.
    return first > _MARGIN and end == length


def _moved(box: Box, cell: Box) -> Box:
    return Box(box.x0 - cell.x0, box.y0 - cell.y0, box.width, box.height)


def _turned(box: Box, whole: Box, flip_x: bool, flip_y: bool) -> Box:
    x0 = whole.width - box.x1 if flip_x else box.x0
    y0 = whole.height - box.y1 if flip_y else box.y0
    return Box(x0, y0, box.width, box.height)


def _size(box: Box) -> tuple[int, int]:
    return box.width, box.height


def _binning(data: Box, place: Box) -> tuple[int, int] | None:
    """Return how many pixels of the detector are one that is stored, or None."""
    bins = place.width // data.width, place.height // data.height
    fits = (bins[0] * data.width, bins[1] * data.height) == _size(place)
    return bins if fits and min(bins) > 0 else None


def _binned(place: Box, imaging: Box) -> Box | None:
    """Return a place in pixels as they are stored; None if it is of another size."""
    bins = _binning(imaging, place)
    if bins is None:
        return None
    return Box(place.x0 // bins[0], place.y0 // bins[1], imaging.width, imaging.height)


def placed(areas: Sequence[Area]) -> list[tuple[int, int]] | None:
    """Return where each amplifier is on its detector, counted from the first pixel; or None.

    None means that keywords do not say it, or that the places are not those of one detector.
    """
    places = [area.place for area in areas]
    if None in places:
        if len({area.output.hdu for area in areas}) > 1:
            return None
        # Outputs of one image lie on the detector as they are stored.
        sizes = areas[0].imaging
        return [
            (
                area.cell.x0 // area.cell.width * sizes.width,
                area.cell.y0 // area.cell.height * sizes.height,
            )
            for area in areas
        ]
    boxes = [place for place in places if place is not None]
    x0, y0 = min(b.x0 for b in boxes), min(b.y0 for b in boxes)
    width, height = max(b.x1 for b in boxes) - x0, max(b.y1 for b in boxes) - y0
    apart = len({(b.x0, b.y0) for b in boxes}) == len(boxes)
    if not apart or sum(b.width * b.height for b in boxes) != width * height:
        return None
    return [(b.x0 - x0, b.y0 - y0) for b in boxes]


def common(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the keys in which all amplifiers agree."""
    first = entries[0]
    return {k: v for k, v in first.items() if all(e.get(k) == v for e in entries)}
