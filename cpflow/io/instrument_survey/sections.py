"""Outputs as keywords describe them: sections, gain and noise, of an image or of its parts.

Three styles are known: one output per image (``BIASSEC``), several in one image with a letter or
number behind each keyword (``BIASSECA``, ``BSEC11``), and either of them in each of several images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cpflow.camera import Box
from cpflow.io.cards import Hdu, Value
from cpflow.io.instrument_survey import vocabulary
from cpflow.io.instrument_survey.hdus import Look, shown
from cpflow.io.instrument_survey.keywords import number_of
from cpflow.io.sections import parse_section
from cpflow.io.values import is_blank

_KINDS: Final[Mapping[str, Sequence[str]]] = {
    "trim": vocabulary.TRIM,
    "data": vocabulary.DATA,
    "bias": vocabulary.BIAS,
    "place": vocabulary.PLACE,
    "amplifier": vocabulary.AMPLIFIER,
}
_SUFFIX: Final = re.compile(
    rf"({'|'.join(key for keys in _KINDS.values() for key in keys)})([A-Z]|\d{{1,2}})"
)
_BOUNDS: Final = re.compile(r"\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]", re.ASCII)
_NUMBERS: Final[Mapping[str, Sequence[str]]] = {
    "gain": vocabulary.GAIN,
    "read_noise": vocabulary.READ_NOISE,
    "saturation": vocabulary.SATURATION,
}
_INVERSE: Final = re.compile(r"(adu|dn|counts?)\s*(/|per)\s*e", re.IGNORECASE)
_ELECTRONS: Final = re.compile(r"\be", re.IGNORECASE)
_A_SETTING: Final = 20.0
"""A gain from here on is rather the setting of an amplifier, unless a unit is given."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section with the direction of its bounds."""

    key: str
    text: str
    box: Box
    flip_x: bool
    flip_y: bool

    @property
    def said(self) -> str:
        """Keyword and value, for a comment."""
        return f"{self.key} {''.join(self.text.split())}"


@dataclass(frozen=True, slots=True)
class Number:
    """A number of an output, and the keyword that it comes from."""

    value: float
    key: str
    said: str


@dataclass(frozen=True, slots=True)
class Output:
    """What keywords say of one output."""

    name: str
    hdu: int
    image: tuple[int, int]
    """(rows, columns) of its image."""
    suffix: str
    sections: Mapping[str, Section]
    numbers: Mapping[str, Number]

    @property
    def imaging(self) -> Section | None:
        """The pixels that are worth keeping, as stored."""
        return self.sections.get("trim") or self.sections.get("data")


class BadSectionError(ValueError):
    """A section that makes no sense."""


def outputs_of(look: Look, hdu: Hdu) -> list[Output]:
    """Return the outputs that the keywords of one image describe; at least one.

    Raises
    ------
    BadSectionError
        If a keyword is no section, or leaves the image.
    """
    lone = len(look.images) == 1
    primary = look.file.hdus[0].header
    own = {**primary, **hdu.header} if lone else hdu.header
    suffixes = sorted(
        {match[2] for key in own if (match := _SUFFIX.fullmatch(key)) and not is_blank(own[key])}
    )
    divided = [s for s in suffixes if any(_first(own, _KINDS[k], s) for k in ("trim", "data"))]
    found = []
    for suffix in divided if len(divided) > 1 else [""]:
        sections = dict(_sections(own, suffix, hdu))
        numbers = numbers_of(look, hdu, suffix)
        name = suffix or _name(hdu, look)
        found.append(Output(name, hdu.index, hdu.image_shape, suffix, sections, numbers))
    return found


def _name(hdu: Hdu, look: Look) -> str:
    if len(look.images) == 1:
        return "A"
    for key in vocabulary.OUTPUT_NAME:
        texts = [str(image.header.get(key) or "").strip() for image in look.images]
        if all(texts) and len(set(texts)) == len(texts):
            return str(hdu.header[key]).strip()
    return f"A{hdu.index}"


def _first(header: Mapping[str, Value], keys: Iterable[str], suffix: str) -> str | None:
    return next((k + suffix for k in keys if not is_blank(header.get(k + suffix))), None)


def _sections(header: Mapping[str, Value], suffix: str, hdu: Hdu) -> Iterator[tuple[str, Section]]:
    rows, columns = hdu.image_shape
    for kind, keys in _KINDS.items():
        key = _first(header, keys, suffix)
        if key is None:
            continue
        section = directed(key, str(header[key]))
        if kind in ("trim", "data", "bias") and not Box(0, 0, columns, rows).contains(section.box):
            raise BadSectionError(f"{section.said} leaves the image of {columns} x {rows}")
        yield kind, section


def directed(key: str, text: str) -> Section:
    """Parse a section with the direction of its bounds.

    Raises
    ------
    BadSectionError
        If the text is not a section.
    """
    try:
        box = parse_section(text)
    except ValueError as error:
        raise BadSectionError(f"{key}: {error}") from error
    match = _BOUNDS.search(text)
    x1, x2, y1, y2 = (int(group) for group in match.groups()) if match else (0, 0, 0, 0)
    return Section(key, text, box, x1 > x2, y1 > y2)


def numbers_of(look: Look, hdu: Hdu, suffix: str = "") -> dict[str, Number]:
    """Return gain, read noise and saturation of an output, as far as keywords have them."""
    header = {**look.file.hdus[0].header, **hdu.header}
    return dict(_numbers(look, hdu, header, suffix))


def _numbers(
    look: Look, hdu: Hdu, header: Mapping[str, Value], suffix: str
) -> Iterator[tuple[str, Number]]:
    for name, keys in _NUMBERS.items():
        for key in (*(k + suffix for k in keys), *(keys if suffix else ())):
            value = number_of(header.get(key))
            if value is None or value <= 0:
                continue
            index = hdu.index if key in hdu.header else 0
            comment = look.comment(key, index)
            if name == "gain":
                if value >= _A_SETTING and not _ELECTRONS.search(comment):
                    continue
                value = 1 / value if _INVERSE.search(comment) else value
            remark = f" ({comment})" if comment else ""
            yield name, Number(value, key, f"HDU {index}: {key} {shown(header[key])}{remark}")
            break
