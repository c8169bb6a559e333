"""Ask how an image without sections is read out, with what its pixels show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cpflow.io.instrument_survey.detectors import FileDetectors, detector_entries, type_name
from cpflow.io.instrument_survey.electronics import NAMES, keyed, number_entry, pixel_size
from cpflow.io.instrument_survey.findings import Finding, Question
from cpflow.io.instrument_survey.hdus import Look, Survey, pixel_words
from cpflow.io.instrument_survey.pixels import PixelEvidence, pixel_evidence
from cpflow.io.instrument_survey.sections import Number


def asked_outputs(
    survey: Survey,
    detectors: FileDetectors | None,
    numbers: Mapping[str, Number],
    lit: Look,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Return detector types in the form of `cpflow.io.corner_outputs`, with the question.

    Parameters
    ----------
    survey : Survey
    detectors : FileDetectors or None
        Detectors that have files of their own.
    numbers : mapping of str to Number
        Gain and the like, as far as keywords have them.
    lit : Look
        The file whose pixels are looked at.
    notes : sequence of str
        What is said above the question.
    """
    look = survey.first
    rows, columns = look.shapes[0]
    evidence = pixel_evidence(lit)
    told = () if evidence is None else (f"The pixels of {lit.name}: {evidence.words()}.",)
    question = Question(
        "which corners are read out, and how much is overscan? (no keyword says it)",
        _answers(evidence),
    )
    amplifier: dict[str, Any] = {"hdu": hdu_entry(look, look.images[0].index)}
    for name in NAMES:
        amplifier |= keyed(name, number_entry(survey, name, numbers))
    kind = type_name(survey)
    said = f"rows, columns as stored: {pixel_words(look)}"
    described = {
        "image": Finding([rows, columns], said),
        "outputs": Finding(question, "", (*notes, *told)),
        **pixel_size(survey),
        "amplifier": amplifier,
    }
    return {"types": {kind: described}, "detectors": detector_entries(survey, detectors, kind)}


def hdu_entry(look: Look, index: int) -> Any:
    """Return the number of an HDU; of a lone compressed image, the one without compression."""
    moved = len(look.images) == 1 and index == 1 and look.images[0].is_compressed
    if moved and look.images[0].header.get("ZTENSION") is None:
        return Finding(0, "1 in compressed files, which is understood")
    return index


def _answers(evidence: PixelEvidence | None) -> tuple[str, ...]:
    plain = "{corners: [LL]}   one output at the lower left; every pixel sees light"
    suggested = []
    if evidence is not None and (evidence.counts or evidence.corners != ("LL",)):
        counts = "".join(f", {name}: {count}" for name, count in evidence.counts.items())
        corners = ", ".join(evidence.corners)
        suggested = [f"{{corners: [{corners}]{counts}}}   what the pixels suggest"]
    return (
        *suggested,
        plain,
        "{corners: [LR], overscan_columns: 20}   at the lower right: overscan is at the left",
        "{corners: [LL, LR, UL, UR], prescan_columns: 50, overscan_columns: 2}   four; each has so",
        "(also prescan_rows, overscan_rows; numbers are in pixels as stored)",
    )
