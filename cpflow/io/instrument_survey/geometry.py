"""The part of an instrument file that says where pixels are: from headers, or asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cpflow.io.instrument_survey import vocabulary
from cpflow.io.instrument_survey.areas import areas_of, imaging_of
from cpflow.io.instrument_survey.asking import asked_outputs
from cpflow.io.instrument_survey.detectors import FileDetectors
from cpflow.io.instrument_survey.electronics import NAMES, keyed, number_entry
from cpflow.io.instrument_survey.findings import Finding, Question
from cpflow.io.instrument_survey.hdus import Look, Survey, pictures
from cpflow.io.instrument_survey.keywords import number_of
from cpflow.io.instrument_survey.sections import BadSectionError, Output, numbers_of, outputs_of
from cpflow.io.instrument_survey.written_out import written_out


@dataclass(frozen=True, slots=True)
class Geometry:
    """Keys of the instrument file that describe its camera."""

    tree: dict[str, Any]
    words: str
    """What was found, in one line."""


def find_geometry(
    survey: Survey, detectors: FileDetectors | None = None, lit: Look | None = None
) -> Geometry:
    """Find out where the pixels of each output are.

    Parameters
    ----------
    survey : Survey
    detectors : FileDetectors or None
        Detectors that have files of their own.
    lit : Look, optional
        A file whose pixels saw light; they tell most.
    """
    look = survey.first
    notes: list[str] = []
    try:
        images = [outputs_of(look, hdu) for hdu in look.images]
        if all(output.imaging for outputs in images for output in outputs):
            if detectors is None and _by_header(look, images):
                return _header_geometry(survey, images[0][0])
            return Geometry(*written_out(survey, images, detectors))
    except BadSectionError as error:
        notes = [f"The sections in the header cannot be used: {error}."]
    numbers = numbers_of(look, look.images[0])
    if len(look.images) == 1:
        tree = asked_outputs(survey, detectors, numbers, lit or look, notes)
        return Geometry(tree, "asked for: no sections that can be used")
    rules: dict[str, Any] = {"trim": [], "bias": []}
    for name in NAMES:
        rules |= keyed(name, number_entry(survey, name, numbers))
    question = Question(
        f"is each of the {len(look.images)} images a CCD of its own? (no section says it)",
        (
            "header   yes: each is a detector, numbered from 0; every pixel sees light",
            "(outputs of one CCD: types and detectors instead, as configs/instruments/latiss.yaml)",
        ),
    )
    tree = {"geometry": Finding(question, "", tuple(notes)), "header_geometry": rules}
    return Geometry(tree, f"asked for: {pictures(look.shapes)} without sections")


def _by_header(look: Look, images: Sequence[Sequence[Output]]) -> bool:
    """Whether keywords of one image are enough, as they are for the instrument `generic`."""
    lone = sum(hdu.is_image for hdu in look.file.hdus) == 1
    return lone and len(images[0]) == 1 and "bias" in images[0][0].sections


def _header_geometry(survey: Survey, output: Output) -> Geometry:
    """Let the header of each file describe its one output."""
    look = survey.first
    area = areas_of([output])[0]
    trim, bias = imaging_of(output), output.sections["bias"]
    if area.serial_overscan is not None:
        count, what = area.serial_overscan.width, "columns"
        side = "left" if area.flip_x else "right"
    else:
        strip = area.parallel_overscan
        count, what = 0 if strip is None else strip.height, "rows"
        side = "bottom" if area.flip_y else "top"
    light = f"{trim.box.width} x {trim.box.height}"
    keys = dict.fromkeys((trim.key, *vocabulary.TRIM, *vocabulary.DATA))
    where = f"HDU {output.hdu}"
    rules: dict[str, Any] = {
        "trim": Finding(
            [key for key in keys if look.value(key) is not None],
            f"{where}: {trim.said}: {light} pixels see light",
        ),
        "bias": Finding([bias.key], f"{where}: {bias.said}: {count} {what} at the {side}"),
    }
    for name in NAMES:
        entry = number_entry(survey, name, output.numbers)
        number = output.numbers.get(name)
        # A keyword that is the other way up (adu/electron) cannot be read from each file.
        if (
            number is not None
            and isinstance(entry, Finding)
            and number_of(look.value(number.key)) == number.value
        ):
            entry = Finding([number.key], entry.source, entry.notes)
        rules |= keyed(name, entry)
    tree = {
        "geometry": Finding("header", "the sections in the header of each file"),
        "header_geometry": rules,
    }
    return Geometry(tree, f"one output of {light} pixels, {count} {what} of overscan, {side}")
