"""Detector types with every amplifier written out, from the sections of outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cpflow.io.instrument_survey import vocabulary
from cpflow.io.instrument_survey.areas import Area, areas_of, common, placed
from cpflow.io.instrument_survey.asking import hdu_entry
from cpflow.io.instrument_survey.detectors import (
    FileDetectors,
    detector_entries,
    one_name,
    type_name,
)
from cpflow.io.instrument_survey.electronics import numbers_of_outputs, pixel_size
from cpflow.io.instrument_survey.findings import Finding, Question
from cpflow.io.instrument_survey.hdus import Look, Survey, counted, pictures
from cpflow.io.instrument_survey.sections import BadSectionError, Output
from cpflow.io.values import as_text, is_blank

_ORDER: Final = (
    "hdu", "extname", "stored_at", "stored_flip", "raw", "serial_prescan", "imaging",
    "serial_overscan", "parallel_overscan", "place", "flip", "gain", "read_noise", "saturation",
)  # fmt: skip
_USUAL: Final = {"stored_at": [0, 0], "stored_flip": "none", "flip": "none"}
"""What need not be said."""
_EXPLAINED: Final = 4
"""Amplifiers whose sections are in comments; the others are alike."""


def written_out(
    survey: Survey, images: Sequence[Sequence[Output]], detectors: FileDetectors | None
) -> tuple[dict[str, Any], str]:
    """Return detector types and detectors, and what they are in words.

    Raises
    ------
    BadSectionError
        If the sections are not those of outputs side by side.
    """
    look = survey.first
    areas = [area for outputs in images for area in areas_of(outputs)]
    groups = _groups(look, areas)
    types: dict[str, Any] = {}
    entries: list[Any] = []
    for index, (name, members) in enumerate(groups.items()):
        _check_sizes(members)
        kind = type_name(survey) if len(groups) == 1 else one_name(f"CCD_{name}")
        notes = (*_place_notes(members), *_layout_notes(look, members))
        types[kind] = Finding(_kind(survey, members), "", notes)
        number = int(name) if name.isdecimal() else index
        entries.append(Finding({"id": number, "name": one_name(name) or "CCD", "type": kind}))
    if len(groups) == 1:
        entries = detector_entries(survey, detectors, next(iter(types)))
    many = f"{counted(len(groups), 'detector')}, " if len(groups) > 1 else ""
    light = areas[0].imaging
    words = f"{many}{counted(len(areas), 'output')} of {light.width} x {light.height} pixels"
    return {"types": types, "detectors": entries}, f"{words} in {pictures(look.shapes)}"


def _groups(look: Look, areas: Sequence[Area]) -> dict[str, list[Area]]:
    """Return the amplifiers of each detector, by a keyword that parts the images of the file."""
    for key in vocabulary.DETECTOR:
        values = {hdu.index: hdu.header.get(key) for hdu in look.images}
        if all(not is_blank(v) for v in values.values()) and len(set(values.values())) > 1:
            groups: dict[str, list[Area]] = {}
            for area in areas:
                groups.setdefault(as_text(values[area.output.hdu]), []).append(area)
            return groups
    return {"": list(areas)}


def _check_sizes(areas: Sequence[Area]) -> None:
    """Refuse outputs of different sizes: those of one detector are alike."""
    first = areas[0]
    for area in areas:
        for one, other in ((area.cell, first.cell), (area.imaging, first.imaging)):
            if (one.width, one.height) != (other.width, other.height):
                raise BadSectionError(
                    f"outputs {first.output.name} and {area.output.name} differ in size: "
                    f"{other.width} x {other.height} and {one.width} x {one.height}"
                )


def _place_notes(areas: Sequence[Area]) -> Iterator[str]:
    for area in areas:
        place = area.output.sections.get("place")
        if place is not None and area.place is None:
            yield f"{place.said} of {area.output.name} does not fit its pixels: it is not used."
            return


def _layout_notes(look: Look, areas: Sequence[Area]) -> Iterator[str]:
    if placed(areas) is None:
        yield f"No keyword says how the {len(look.images)} images lie on the chip. If each is a CCD"
        yield "of its own, write `geometry: header` in place of `types` and `detectors`."


def _kind(survey: Survey, areas: Sequence[Area]) -> dict[str, Any]:
    """Return one detector type with its amplifiers."""
    look = survey.first
    shared, own = numbers_of_outputs(survey, [area.output for area in areas])
    places = placed(areas)
    entries: list[dict[str, Any]] = []
    for index, area in enumerate(areas):
        place: Any = Question(f"first column and row of {area.output.name} on the chip?")
        if places is not None:
            place = list(places[index])
        extname = look.file.hdus[area.output.hdu].name if len(look.images) > 1 else ""
        named = {"extname": extname} if extname and extname != "COMPRESSED_IMAGE" else {}
        hdu = {"hdu": hdu_entry(look, area.output.hdu)}
        entries.append({**hdu, **named, **area.entry(), "place": place, **own[index]})
    # What each has of its own stands in one line: places and turns belong there in any case.
    template = common(entries) if len(entries) > 1 else {"hdu": entries[0]["hdu"]}
    for key in ("place", "stored_at", "stored_flip", "flip"):
        usual = all(entry[key] == _USUAL.get(key) for entry in entries)
        template.pop(key, None)
        if usual:
            for entry in entries:
                del entry[key]
    if len(entries) == 1:
        template |= {k: v for k, v in entries[0].items() if k in _ORDER[4:9]}
    amplifiers = [
        Finding(
            {"name": area.output.name, **_ordered(_plain(entry, template))},
            _said(area) if index < _EXPLAINED else "",
        )
        for index, (area, entry) in enumerate(zip(areas, entries, strict=True))
    ]
    if places is None:
        words = (
            "To be filled in: place, the columns and rows of the assembled picture before it, as "
            "[0, 0]; and flip, where it is turned: none, x, y or xy."
        )
        amplifiers[0] = Finding(amplifiers[0].value, amplifiers[0].source, (words,))
    return {
        "shape": _shape(areas, places),
        **pixel_size(survey),
        "amplifier": {**_ordered(template), **_spare(areas), **shared},
        "amplifiers": amplifiers,
    }


def _said(area: Area) -> str:
    """Return the sections that an amplifier comes from, for a comment."""
    return ", ".join(section.said for section in area.output.sections.values())


def _ordered(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in _ORDER if key in entry}


def _plain(entry: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
    own = {k: v for k, v in entry.items() if k not in template}
    return {k: v.value if isinstance(v, Finding) else v for k, v in own.items()}


def _shape(areas: Sequence[Area], places: Sequence[tuple[int, int]] | None) -> Any:
    if places is None:
        return Question("rows and columns of the assembled picture?", ("[4096, 2048]",))
    light = areas[0].imaging
    width = max(x for x, _ in places) + light.width
    height = max(y for _, y in places) + light.height
    return Finding([height, width], "rows, columns of the trimmed, assembled picture")


def _spare(areas: Sequence[Area]) -> dict[str, Any]:
    """Return questions for columns and rows that no section explains."""
    area = areas[0]
    light = area.imaging
    asked: dict[str, Any] = {}
    if area.spare_columns:
        box = (light.x1, light.y0, area.spare_columns, light.height)
        asked["serial_overscan"] = _strip_question("columns", area.spare_columns, box)
    if area.spare_rows:
        box = (light.x0, light.y1, light.width, area.spare_rows)
        asked["parallel_overscan"] = _strip_question("rows", area.spare_rows, box)
    return asked


def _strip_question(what: str, count: int, box: tuple[int, int, int, int]) -> Question:
    x0, y0, width, height = box
    return Question(
        f"are the {count} {what} after the imaging {what} overscan? (no BIASSEC says it)",
        (
            f"{{x0: {x0}, y0: {y0}, width: {width}, height: {height}}}   yes, all of them",
            "null   no: they are cut off",
        ),
    )
