"""From files to the draft of an instrument file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cpflow.io.cards import Value
from cpflow.io.instrument_survey import keywords, vocabulary
from cpflow.io.instrument_survey.detectors import FileDetectors, file_detectors, one_name
from cpflow.io.instrument_survey.findings import Finding, Question, Remark
from cpflow.io.instrument_survey.geometry import find_geometry
from cpflow.io.instrument_survey.hdus import Look, Survey, pictures, pixel_words, survey
from cpflow.io.instrument_survey.identity import find_identity
from cpflow.io.instrument_survey.keywords import number_of
from cpflow.io.instrument_survey.observation_types import ObservationTypes, find_types
from cpflow.io.instrument_survey.times import day_rule, end_rule, find_times, time_scale
from cpflow.io.instrument_survey.trial import Trial
from cpflow.io.instrument_survey.writing import render
from cpflow.io.placeholders import Placeholder, placeholders
from cpflow.io.values import as_text

_NAMED_IN_HEAD: Final = 3
_OF_TIME: Final = re.compile(r"DATE|TIME|MJD|JD|UT|ST$|LST")
_AS_A_BIAS: Final = 0.01
"""A dark that is this much shorter than the longest one may serve as a bias."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An instrument file that a survey came to.

    Parameters
    ----------
    name : str
        Of the instrument; empty where it is asked for.
    text : str
        The YAML, with comments.
    asked : list of Placeholder
        What is still to be filled in.
    found : list of tuple of str
        What was found: of what, and in which words.
    left_out : tuple of tuple of str
        Files that were not looked at, and why.
    """

    name: str
    text: str
    asked: list[Placeholder]
    found: list[tuple[str, str]]
    left_out: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"<Draft {self.name or 'without a name'}: {len(self.asked)} values asked for>"


def draft_instrument(paths: Iterable[str | Path], name: str | None = None) -> Draft:
    """Look at raw files of one camera and draft its instrument file.

    Parameters
    ----------
    paths : iterable of path
        More files make a better draft: types, what varies, what tells exposures apart.
    name : str, optional
        Of the instrument; by default as the header calls it.

    Raises
    ------
    NoDataError
        If there is no FITS file with an image.
    """
    looked = survey(paths)
    types = find_types(looked)
    detectors = file_detectors(looked)
    headers, found, durations = _headers(looked, types, detectors)
    geometry = find_geometry(looked, detectors, _lit(looked, types, durations))
    named = name or _name(looked, detectors)
    tree: dict[str, Any] = {
        "name": named
        or Question("what is the camera called?", ("MY_CCD   letters, digits, _ . + -",)),
        **_description(looked),
        **geometry.tree,
        "headers": headers,
    }
    text = _head(looked) + "\n\n" + render(tree)
    listed = [("pixels", _pixels(looked)), ("geometry", geometry.words), *found]
    return Draft(named, text, placeholders(text), listed, looked.left_out)


def _name(looked: Survey, detectors: FileDetectors | None) -> str:
    taken = None if detectors is None else detectors.key
    for key in vocabulary.NAME:
        value = looked.first.value(key)
        if isinstance(value, str) and key != taken:
            name = one_name(value)
            if re.match(r"[A-Za-z]", name):
                return name
    return ""


def _description(looked: Survey) -> dict[str, str]:
    values = [looked.first.value(key) for key in ("OBSERVAT", "TELESCOP", "INSTRUME")]
    text = ", ".join(dict.fromkeys(as_text(v) for v in values if isinstance(v, str)))
    return {"description": text} if text else {}


def _lit(looked: Survey, types: ObservationTypes, durations: Sequence[Value]) -> Look | None:
    """Return a file that saw light, of the middle exposure time: not dark, not full."""
    lit = [i for i, kind in enumerate(types.types) if kind in ("flat", "science")]
    lit.sort(key=lambda i: number_of(durations[i]) or 0.0)
    return looked.looks[lit[len(lit) // 2]] if lit else None


def _head(looked: Survey) -> str:
    names = [look.name for look in looked.looks]
    more = "" if len(names) <= _NAMED_IN_HEAD else f" and {len(names) - _NAMED_IN_HEAD} more"
    lines = [
        "Written by `cpflow instrument new`. Comments say where a value is from, or what it means.",
        "What begins with TODO is still to be filled in: `cpflow instrument check` lists it.",
        f"Looked at: {', '.join(names[:_NAMED_IN_HEAD])}{more}.",
    ]
    return "\n".join(f"# {line}" for line in lines)


def _pixels(looked: Survey) -> str:
    look = looked.first
    indices = [hdu.index for hdu in look.images]
    where = f"HDU {indices[0]}" if len(indices) == 1 else f"HDUs {indices[0]} to {indices[-1]}"
    return f"{pictures(look.shapes)} in {where}, {pixel_words(look)}"


def _headers(
    looked: Survey, types: ObservationTypes, detectors: FileDetectors | None
) -> tuple[dict[str, Any], list[tuple[str, str]], list[Value]]:
    """Return the rules for headers, what was found in words, and the exposure times."""
    times = find_times(looked)
    seconds = keywords.exposure_time(looked)
    known = [] if isinstance(seconds.value, Question) else [seconds.value]
    durations = Trial(looked, fields={"exposure_time": known}).values("exposure_time")
    identity = find_identity(looked, times, types, detectors, durations)
    dark = keywords.dark_time(looked)
    physical_filter = keywords.physical_filter(looked, types.types)
    day = day_rule(looked, times)
    end = end_rule(looked, times)
    scale = time_scale(looked)
    others = dict(keywords.texts(looked))
    fields: dict[str, Any] = {
        "exposure": identity.exposure,
        "obs_id": identity.obs_id,
        **({} if day is None else {"day_obs": day}),
        "seq_num": identity.seq_num,
        "observation_type": _with_hint(looked, types, durations),
        "exposure_time": seconds,
        **({} if dark is None else {"dark_time": dark}),
        "physical_filter": physical_filter
        or Remark(
            "physical_filter: FILTER   no keyword names one; {value: V} if it never changes."
        ),
        **others,
    }
    headers: dict[str, Any] = {}
    identify = _identify(looked)
    if identify is not None:
        headers["identify"] = identify
    headers["time"] = {
        **({} if scale is None else {"scale": scale}),
        "begin": times.begin,
        **({} if end is None else {"end": end}),
    }
    if detectors is not None:
        headers["detector"] = Finding(detectors.key, looked.said(detectors.key))
    if identity.variables:
        headers["variables"] = identity.variables
    headers["fields"] = fields
    kept = dict(keywords.worth_keeping(looked))
    more = _varying(looked, kept, fields, headers)
    if kept or more:
        headers["extra"] = {**kept, **({"#": more} if more else {})}
        if not kept:
            headers["#extra"] = headers.pop("extra")["#"]
    counts = ", ".join(f"{count} {kind}" for kind, count in types.counts.items())
    found = [
        ("time", times.source),
        ("types", counts),
        ("exposure time", seconds.source or "not found"),
        ("filter", physical_filter.source if physical_filter else "no keyword"),
    ]
    return headers, [(what, words) for what, words in found if words], durations


def _identify(looked: Survey) -> Finding | None:
    for key in vocabulary.IDENTIFY:
        values = dict.fromkeys(as_text(v) for v in looked.values(key) if isinstance(v, str))
        if values:
            patterns = [f"^{_escaped(value)}$" for value in values]
            notes: tuple[str, ...] = ()
            if len(values) > 1:
                notes = (f"{key} differs: if these are two cameras, describe each by itself.",)
            return Finding({key: patterns}, "files that say something else are refused", notes)
    return None


def _escaped(text: str) -> str:
    """Return a regular expression that matches a text; easier to read than `re.escape` is."""
    return re.sub(r"([.^$*+?{}()\[\]|\\])", r"\\\1", text)


def _with_hint(looked: Survey, types: ObservationTypes, durations: Sequence[Value]) -> Finding:
    """Say what could serve as a bias, where there is none but very short darks."""
    finding = types.finding
    numbers = [number_of(seconds) for seconds in durations]
    darks = {
        seconds: index
        for index, (kind, seconds) in enumerate(zip(types.types, numbers, strict=True))
        if kind == "dark" and seconds is not None
    }
    if "bias" in types.types or types.key is None or len(darks) < 2:
        return finding
    shortest = min(darks)
    if shortest > _AS_A_BIAS * max(darks):
        return finding
    word = as_text(looked.looks[darks[shortest]].value(types.key))
    limit = f"{{max: {1.5 * shortest:.2e}}}"
    note = (
        f"No file is a bias. Should darks of {shortest:g} s serve, put first:   "
        f"- {{value: bias, when: {{{types.key}: {word}, exposure_time: {limit}}}}}"
    )
    return Finding(finding.value, finding.source, (*finding.notes, note))


def _varying(looked: Survey, *used: Any) -> Remark | None:
    """Name keywords that differ from file to file and are not used, for `extra`."""
    taken = set(_texts(used))
    free = [
        key
        for key in looked.keywords()
        if looked.varies(key) and key not in taken and not _OF_TIME.match(key)
    ]
    if not free:
        return None
    listed = ", ".join(free[:12]) + (", ..." if len(free) > 12 else "")
    example = f"{free[0].lower().replace('-', '_')}: {free[0]}"
    return Remark(f"These differ too, and could be kept in `extra` (as in {example}): {listed}")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Finding):
        yield from _texts(value.value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
