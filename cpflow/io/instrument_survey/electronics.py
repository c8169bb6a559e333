"""Numbers of outputs that are no geometry: gain, read noise, saturation; pixel size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cpflow.io.instrument_survey import vocabulary
from cpflow.io.instrument_survey.findings import Finding, Question, Remark
from cpflow.io.instrument_survey.hdus import Survey, shown
from cpflow.io.instrument_survey.keywords import first_keyword, number_of
from cpflow.io.instrument_survey.sections import Number, Output
from cpflow.io.values import is_blank

NAMES: Final = ("gain", "read_noise", "saturation")
_CEILING: Final = {"u2": 65535}
_DIGITS: Final = 6


def number_entry(survey: Survey, name: str, numbers: Mapping[str, Number]) -> Finding | Remark:
    """Return gain, read noise or saturation: found, asked for, or a remark that it may be given."""
    number = numbers.get(name)
    if number is not None:
        return Finding(plain_number(number.value), number.said, tuple(_differs(survey, number)))
    if name == "gain":
        return Finding(_gain_question(survey))
    if name == "read_noise":
        return Remark("read_noise: 10.0   electron. No keyword has it; without it, it is measured.")
    if survey.first.dtype in _CEILING:
        words = "No keyword: this is what 16 bits hold. Lower, if pixels are full before."
        return Finding(_CEILING[survey.first.dtype], "", (words,))
    return Remark("saturation: 60000   adu, from which on a pixel is full. No keyword has it.")


def _gain_question(survey: Survey) -> Question:
    settings = [key for key in vocabulary.GAIN if not is_blank(survey.first.value(key))]
    # One that is there and was not taken is no gain in electrons.
    listed = "".join(f"; {key} is {shown(survey.first.value(key))}" for key in settings)
    return Question(
        f"how many electrons are one adu? (no keyword says it{listed})",
        (
            "1.5   electron/adu, from the manual; or measured later: cpflow run -p ptc",
            "null   not known (1 is taken)",
        ),
    )


def _differs(survey: Survey, number: Number) -> list[str]:
    if not survey.varies(number.key):
        return []
    values = dict.fromkeys(shown(value) for value in survey.values(number.key))
    return [
        f"{number.key} differs among the files ({', '.join(values)}): an instrument has one. "
        f"Describe each mode by itself, with identify: {{{number.key}: ['^VALUE$']}}."
    ]


def numbers_of_outputs(
    survey: Survey, outputs: Sequence[Output]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what all outputs share of gain, noise and saturation, and what each has of its own."""
    shared: dict[str, Any] = {}
    own: list[dict[str, Any]] = [{} for _ in outputs]
    for name in NAMES:
        having = [output.numbers[name] for output in outputs if name in output.numbers]
        if len({number.value for number in having}) > 1 and len(having) == len(outputs):
            for entry, number in zip(own, having, strict=True):
                entry[name] = plain_number(number.value)
        else:
            shared |= keyed(name, number_entry(survey, name, outputs[0].numbers))
    return shared, own


def keyed(name: str, entry: Finding | Remark) -> dict[str, Any]:
    """Return an entry under its key; a remark has none of its own."""
    return {f"#{name}" if isinstance(entry, Remark) else name: entry}


def plain_number(value: float) -> float | int:
    """Return a number without digits that say nothing."""
    rounded = round(value, _DIGITS)
    return int(rounded) if rounded == int(rounded) else rounded


def pixel_size(survey: Survey) -> dict[str, Any]:
    """Return the size of a pixel, where a keyword has it in micrometres."""
    key = first_keyword(survey, vocabulary.PIXEL_MICRONS, lambda v: bool(number_of(v)))
    size = None if key is None else number_of(survey.first.value(key))
    if key is None or size is None or not 1 <= size <= 200:
        return {}
    return {"pixel_size_mm": Finding(round(size / 1000, _DIGITS), survey.said(key))}
