"""Which detector a file is of, where files of one camera hold one detector each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from cpflow.io.cards import Value
from cpflow.io.instrument_survey import vocabulary
from cpflow.io.instrument_survey.findings import Finding
from cpflow.io.instrument_survey.hdus import Survey
from cpflow.io.values import as_text

_PARTS: Final = re.compile(r"\d+|\D+")
_LARGEST: Final = 99_999
_END: Final = re.compile(r"(\d{1,4})$")


@dataclass(frozen=True, slots=True)
class FileDetectors:
    """Detectors that have files of their own.

    Parameters
    ----------
    key : str
        Keyword that names them.
    names : dict of str to int
        Their ids.
    of_files : tuple of int
        Id of the detector of each file.
    written : dict of str to int
        Ids by what the keyword has: a number may have a decimal point there.
    """

    key: str
    names: dict[str, int]
    of_files: tuple[int, ...]
    written: dict[str, int]

    def variable(self) -> dict[str, Any]:
        """Return the rule that turns the keyword into the id of the detector."""
        return {"key": self.key, "map": self.written, "only": True}


def file_detectors(survey: Survey) -> FileDetectors | None:
    """Find the keyword that tells the detectors of several files apart; None if none does."""
    for key in vocabulary.DETECTOR:
        if survey.always(key) and survey.varies(key):
            if not all(map(_is_detector, survey.values(key))):
                continue
            values = [_detector_text(value) for value in survey.values(key)]
            names = _numbered(values)
            ids = tuple(names[value] for value in values)
            written = dict(zip(map(as_text, survey.values(key)), ids, strict=True))
            return FileDetectors(key, names, ids, written)
    return None


def _is_detector(value: Value) -> bool:
    if isinstance(value, str):
        return not value.strip().isdecimal() or int(value) <= _LARGEST
    if isinstance(value, bool) or value is None:
        return False
    return 0 <= value <= _LARGEST and value == int(value)


def _detector_text(value: Value) -> str:
    """Return the name of a detector as `cpflow.io.headers.detector_of` compares it."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole and isinstance(value, float) else as_text(value)


def _numbered(values: list[str]) -> dict[str, int]:
    """Return an id for each name: a number is its own; else the one at the end, if they differ."""
    names = sorted(set(values), key=lambda name: [_natural(part) for part in _PARTS.findall(name)])
    own = {name: int(name) for name in names if name.isdecimal()}
    ends = [_END.search(name) for name in names if name not in own]
    numbers = [int(end[1]) for end in ends if end is not None]
    if not own and len(set(numbers)) == len(names):
        return dict(zip(names, numbers, strict=True))
    free = (number for number in count() if number not in own.values())
    return {name: own[name] if name in own else next(free) for name in names}


def _natural(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (-1, part)


def one_name(value: Value) -> str:
    """Return a text as a name for a detector or a type: letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", as_text(value)).strip("_.+-")[:32]


def type_name(survey: Survey) -> str:
    """Return the name of a detector type: what a keyword says of the chip, or CCD."""
    for key in ("DETECTOR", "CCDTYPE", "DETTYPE", "CHIPTYPE", "SENSOR"):
        value = survey.first.value(key)
        if isinstance(value, str) and not survey.varies(key) and one_name(value):
            return one_name(value)
    return "CCD"


def detector_entries(survey: Survey, detectors: FileDetectors | None, kind: str) -> list[Any]:
    """Return the detectors of an instrument file, all of one type."""
    if detectors is None:
        return [Finding({"id": 0, "name": "CCD", "type": kind})]
    said = survey.said(detectors.key).partition(":")[0]
    return [
        Finding({"id": number, "name": name, "type": kind}, f"{said}: {detectors.key} '{name}'")
        for name, number in detectors.names.items()
    ]
