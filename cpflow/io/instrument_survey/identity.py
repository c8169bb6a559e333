"""What tells exposures apart: their time, or numbers in headers and names of files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Final

from cpflow.io.cards import Value
from cpflow.io.instrument_survey import vocabulary
from cpflow.io.instrument_survey.detectors import FileDetectors
from cpflow.io.instrument_survey.findings import Finding, Question
from cpflow.io.instrument_survey.hdus import Survey
from cpflow.io.instrument_survey.observation_types import ObservationTypes
from cpflow.io.instrument_survey.times import Times
from cpflow.io.instrument_survey.trial import Trial
from cpflow.io.values import as_text

# YYYYMMDDhhmmssfff: all digits but the last three of what strftime makes of microseconds.
MILLISECOND: Final = {"date": "%Y%m%d%H%M%S%f", "match": "^(.{17})"}
_LAST_NUMBER: Final = {"file": r"(\d{1,9})[a-zA-Z]?$"}
_CLOCK: Final = {"date": "%H%M%S"}
_COUNTS: Final = re.compile(r"(NUM|SEQ|NO|ID|RUN|GRP|GROUP|CNT|COUNT|IDX|INDEX|FRAME|ISN|REPEAT)")
_IN_TEMPLATE: Final = re.compile(r"[A-Z][A-Z0-9_-]*")
_NUMBERED: Final = ("bias", "dark", "flat", "science")
_MOSTLY: Final = 0.8
"""Part of the files that differ in time, if time tells exposures apart; the others are copies."""
_DIGITS: Final = 3
"""Digits that a number has at least in an id, so that it may grow."""
_ALL_DIGITS: Final = 10
"""Digits that all numbers may have together: with a day before them they fit into 64 bits."""


@dataclass(slots=True)
class Identity:
    """Rules for the fields that identify an exposure, and the variables that they need."""

    exposure: Finding
    seq_num: Finding
    obs_id: Finding
    variables: dict[str, Any] = field(default_factory=dict)


def find_identity(
    survey: Survey,
    times: Times,
    types: ObservationTypes,
    detectors: FileDetectors | None,
    seconds: Sequence[Value],
) -> Identity:
    """Find out what tells the exposures of a camera apart.

    Parameters
    ----------
    survey : Survey
    times : Times
    types : ObservationTypes
    detectors : FileDetectors or None
    seconds : sequence
        Exposure time of each file, as far as it is known.
    """
    obs_id = _observation_id(survey, detectors)
    sequence = _sequence(survey, times, detectors)
    if times.known:
        if detectors is None:
            moments = _milliseconds(times)
            if len(set(moments)) >= _MOSTLY * len(moments):
                words = "the time to the millisecond: YYYYMMDDhhmmssfff"
                notes = tuple(_clashes(survey, moments))
                return Identity(Finding(dict(MILLISECOND), words, notes), sequence, obs_id)
        else:
            return _of_detectors(times, types, detectors, seconds, sequence, obs_id)
    return _numbered(survey, types, detectors, obs_id)


def _clashes(survey: Survey, moments: Sequence[int]) -> Iterator[str]:
    """Name files that have the time of another, as copies have."""
    first: dict[int, str] = {}
    for look, moment in zip(survey.looks, moments, strict=True):
        if moment in first:
            yield f"{look.name} has the time of {first[moment]}: only one of them will go in."
        first.setdefault(moment, look.name)


def _observation_id(survey: Survey, detectors: FileDetectors | None) -> Finding:
    for key in vocabulary.OBSERVATION_ID:
        values = survey.values(key)
        if detectors is None and survey.always(key) and len(set(values)) == len(values):
            return Finding(key, survey.said(key))
    words = "not the name of the file, which may come again another night"
    return Finding({"template": "{exposure}"}, words)


def _milliseconds(times: Times) -> list[int]:
    return [instant // 1_000_000 for instant in times.instants if instant is not None]


def _of_detectors(
    times: Times,
    types: ObservationTypes,
    detectors: FileDetectors,
    seconds: Sequence[Value],
    sequence: Finding,
    obs_id: Finding,
) -> Identity:
    """Tell whether files of one time are one exposure of several detectors, or one each."""
    groups: dict[int, list[int]] = {}
    for index, moment in enumerate(_milliseconds(times)):
        groups.setdefault(moment, []).append(index)
    shared = [group for group in groups.values() if len(group) > 1]
    together = bool(shared) and all(
        len({detectors.of_files[i] for i in group}) == len(group)
        and len({(types.types[i], seconds[i]) for i in group}) == 1
        for group in shared
    )
    if together:
        words = "the time to the millisecond, the same in the files of all detectors"
        return Identity(Finding(dict(MILLISECOND), words), sequence, obs_id)
    variables = {
        "millisecond": Finding(dict(MILLISECOND), "YYYYMMDDhhmmssfff"),
        "camera": Finding(detectors.variable(), "the id of the detector, see below"),
    }
    digits = len(str(max(detectors.names.values())))
    number = "{camera}" if digits == 1 else f"{{camera:0{digits}d}}"
    words = "time and detector: each detector has exposures of its own"
    exposure = Finding({"template": f"{{millisecond}}{number}"}, words)
    return Identity(exposure, sequence, obs_id, variables)


def _sequence(survey: Survey, times: Times, detectors: FileDetectors | None) -> Finding:
    """Return the rule for the running number, which need not be unique."""
    key = _sequence_keyword(survey, 1 if detectors is None else len(detectors.names))
    rules: list[Any] = []
    words = []
    if key is not None:
        rules.append(key)
        words.append(survey.said(key))
    numbers = Trial(survey, fields={"seq_num": [_LAST_NUMBER]}).values("seq_num")
    if key is None or not survey.always(key):
        if any(number is not None for number in numbers):
            rules.append(dict(_LAST_NUMBER))
            words.append("the number at the end of the file's name")
        if times.known:
            rules.append(dict(_CLOCK))
            words.append("else the time of day, hhmmss")
    if not rules:
        return Finding({"value": 0}, "no keyword and no file name has a number")
    return Finding(rules, ", ".join(words))


def _sequence_keyword(survey: Survey, detectors: int) -> str | None:
    for key in vocabulary.SEQUENCE:
        counts = survey.always(key) and all(_is_count(value) for value in survey.values(key))
        # One that is the same in every file counts nothing, unless there is one file of each.
        if counts and (survey.varies(key) or len(survey.looks) <= detectors):
            return key
    return None


def _is_count(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().isdecimal() and len(value.strip()) <= 9
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9


@dataclass(frozen=True, slots=True)
class _Part:
    """A number of an exposure that may be part of its id."""

    name: str
    """As a template has it."""
    values: tuple[int, ...]
    words: str
    variable: Any = None
    digits: int = 1
    needed: bool = False
    """Whether it is always taken."""

    @property
    def format(self) -> str:
        return f"{{{self.name}}}" if self.digits == 1 else f"{{{self.name}:0{self.digits}d}}"


def _numbered(
    survey: Survey, types: ObservationTypes, detectors: FileDetectors | None, obs_id: Finding
) -> Identity:
    """Make an id of the day and the fewest numbers that tell the files apart."""
    parts = list(_parts(survey, types, detectors))
    chosen = _telling_apart(parts, len(survey.looks)) if len(survey.looks) > 1 else None
    if chosen is None:
        return _asked(survey, parts, obs_id)
    template = "".join(part.format for part in chosen)
    digits = sum(part.digits for part in chosen)
    limits = {p.name: {"min": 0, "max": 10**p.digits - 1} for p in chosen if p.digits > 1}
    rule: dict[str, Any] = {"template": template}
    if limits:
        rule["when"] = limits
    words = " and ".join(part.words for part in chosen)
    note = f"Time does not tell the files apart, so this does: {words}."
    variables = {p.name: p.variable for p in chosen if p.variable is not None}
    exposure = Finding({"template": f"{{day_obs}}{{seq_num:0{digits}d}}"}, "day and number")
    return Identity(exposure, Finding(rule, "", (note,)), obs_id, variables)


def _parts(
    survey: Survey, types: ObservationTypes, detectors: FileDetectors | None
) -> Iterator[_Part]:
    if detectors is not None:
        digits = len(str(max(detectors.names.values())))
        words = f"the detector ({detectors.key})"
        variable = Finding(detectors.variable())
        yield _Part("camera", detectors.of_files, words, variable, digits, True)
    if None not in types.types:
        kinds = dict.fromkeys((*_NUMBERED, *(str(kind) for kind in types.types)))
        numbers = {kind: number for number, kind in enumerate(kinds, start=1)}
        variable = Finding({"field": "observation_type", "map": numbers, "only": True})
        found = tuple(numbers[str(kind)] for kind in types.types)
        # Files of the other types may well be numbered from 1 too.
        needed = len(set(found)) == 1
        digits = len(str(len(numbers)))
        yield _Part("kind", found, "the observation type", variable, digits, needed)
    keys = sorted(survey.keywords(), key=lambda key: key not in vocabulary.SEQUENCE)
    for key in keys:
        values = survey.values(key)
        named = key in vocabulary.SEQUENCE or _COUNTS.search(key) is not None
        fits = named and _IN_TEMPLATE.fullmatch(key) is not None
        tells = survey.varies(key) or len(survey.looks) == 1
        if fits and tells and all(_is_count(value) for value in values):
            found = tuple(int(as_text(value)) for value in values)
            yield _Part(key, found, key, None, _width(found))
    for name, rule, words in (
        ("number", _LAST_NUMBER, "the number at the end of the file's name"),
        ("first_number", {"file": r"^\D*(\d{1,6})\D"}, "the first number in the file's name"),
    ):
        numbers_in = Trial(survey, fields={"seq_num": [rule]}).values("seq_num")
        if all(number is not None for number in numbers_in):
            found = tuple(int(as_text(number)) for number in numbers_in)
            yield _Part(name, found, words, Finding(dict(rule)), _width(found))


def _width(values: Sequence[int]) -> int:
    return max(_DIGITS, len(str(max(values))))


def _telling_apart(parts: Sequence[_Part], count: int) -> tuple[_Part, ...] | None:
    """Return the fewest parts that differ from file to file."""
    needed = tuple(part for part in parts if part.needed)
    others = [part for part in parts if not part.needed]
    for size in (1, 2, 3):
        for some in combinations(others, size):
            chosen = (*needed, *sorted(some, key=lambda part: part.name in vocabulary.SEQUENCE))
            values = set(zip(*(part.values for part in chosen), strict=True))
            if len(values) == count and sum(part.digits for part in chosen) <= _ALL_DIGITS:
                return chosen
    return None


def _asked(survey: Survey, parts: Sequence[_Part], obs_id: Finding) -> Identity:
    """Ask for a number; the type of an exposure, where it is known, is made part of the id."""
    kinds = [part for part in parts if part.name == "kind"]
    counting = [part for part in parts if part.variable is None]
    named = ", ".join(f"{part.name}, here {part.values[0]}" for part in counting[:6])
    both = "".join(part.format for part in counting[:2]) or "{RUN:03d}{SEQNUM:03d}"
    within = "day and type" if kinds else "day"
    hint = (
        "(nothing is different in all of the files that were looked at)"
        if len(survey.looks) > 1
        else "(or name several files to `cpflow instrument new`: it sees what differs)"
    )
    question = Question(
        f"which number, unique within a {within}, does an exposure have?",
        (
            r"{file: '(\d+)$'}   the number at the end of the file's name",
            f"SEQNUM   a keyword{f' (those that count something: {named})' if named else ''}",
            f"{{template: '{both}'}}   two keywords together",
            hint,
        ),
    )
    digits = _ALL_DIGITS - 2
    template = "{day_obs}" + "".join(part.format for part in kinds) + f"{{seq_num:0{digits}d}}"
    exposure = Finding({"template": template}, f"{within} and number")
    variables = {part.name: part.variable for part in kinds}
    return Identity(exposure, Finding(question), obs_id, variables)
