"""Keywords that say one thing each: times of exposure, filter, target, pointing, temperature."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from cpflow.io.cards import Value
from cpflow.io.instrument_survey import vocabulary
from cpflow.io.instrument_survey.findings import Finding, Question
from cpflow.io.instrument_survey.hdus import Survey
from cpflow.io.values import BadValueError, as_number

_UNITS: Final = (
    (re.compile(r"\b(ms|msecs?|millisec\w*)\b", re.IGNORECASE), 1e-3),
    (re.compile(r"(\b(us|usecs?|microsec\w*)\b|[µμ]s\b)", re.IGNORECASE), 1e-6),
    (re.compile(r"\b(ns|nanosec\w*)\b", re.IGNORECASE), 1e-9),
    (re.compile(r"\b(s|secs?|seconds?)\b", re.IGNORECASE), 1.0),
)
_HOURS: Final = re.compile(r"hours?\b|\bh\b", re.IGNORECASE)
_OF_EXPOSURE: Final = re.compile(r"exposure|integration", re.IGNORECASE)


def numbers_of(survey: Survey, key: str) -> list[float | None]:
    """Return a keyword of each file as a number; None where it is none."""
    return [number_of(value) for value in survey.values(key)]


def number_of(value: Value) -> float | None:
    """Return a value as a number; None if it is none."""
    try:
        return float(as_number(value))
    except BadValueError:
        return None


def first_keyword(
    survey: Survey,
    keys: Iterable[str],
    holds: Callable[[Value], bool] = lambda value: value is not None,
) -> str | None:
    """Return the first of some keywords that files have: those of all files come first."""
    found = [key for key in keys if any(holds(value) for value in survey.values(key))]
    return next((k for k in found if survey.always(k)), found[0] if found else None)


def _is_time(value: Value) -> bool:
    number = number_of(value)
    return number is not None and number >= 0


def exposure_time(survey: Survey) -> Finding:
    """Return the rule for the exposure time, or the question."""
    key = first_keyword(survey, vocabulary.EXPOSURE_TIME, _is_time)
    if key is not None:
        factor = _factor(survey.comment(key)) or 1.0
        return _seconds(survey, key, factor)
    candidates = [k for k in survey.keywords() if all(map(_is_time, survey.values(k)))]
    for key in candidates:
        unit = _factor(survey.comment(key))
        if unit is not None and _OF_EXPOSURE.search(survey.comment(key)):
            return _seconds(survey, key, unit)
    listed = ", ".join(candidates[:12]) or "none is a number"
    question = Question(
        "which keyword is the exposure time, in seconds?",
        (
            f"NAME   a keyword (of {listed})",
            "{key: NAME, scale: 0.001}   it has milliseconds",
            "{value: 10.0}   it is always the same",
            "[]   it is not known: then there will be no darks",
        ),
    )
    return Finding(question)


def _seconds(survey: Survey, key: str, factor: float) -> Finding:
    rule: Any = key if factor == 1.0 else {"key": key, "scale": factor}
    return Finding(rule, survey.said(key))


def _factor(comment: str) -> float | None:
    """Return the seconds in the unit that a comment names; None if it names none."""
    return next((factor for pattern, factor in _UNITS if pattern.search(comment)), None)


def dark_time(survey: Survey) -> Finding | None:
    """Return the rule for the dark time, where files have one of its own."""
    key = first_keyword(survey, vocabulary.DARK_TIME, _is_time)
    if key is None:
        return None
    rule: Any = key if survey.always(key) else [key, {"field": "exposure_time"}]
    return Finding(rule, survey.said(key))


def physical_filter(survey: Survey, types: Sequence[str | None]) -> Finding | None:
    """Return the rule for the filter; None if no keyword names one."""
    key = first_keyword(survey, vocabulary.FILTER)
    rule: Any = key
    source = "" if key is None else survey.said(key)
    if key is None:
        for wheels in vocabulary.FILTER_WHEELS:
            having = [wheel for wheel in wheels if survey.has(wheel)]
            if having:
                rule = {"keys": having, "join": "~", "blank": "none", "missing": "none"}
                rule = having[0] if len(having) == 1 else rule
                source = "; ".join(f"{wheel} in {survey.said(wheel)}" for wheel in having)
                break
        else:
            return None
    if key is not None and not survey.always(key):
        without = {
            kind for kind, v in zip(types, survey.values(key), strict=True) if v is None and kind
        }
        if without and without <= {"bias", "dark"}:
            dark = sorted(without | {"bias", "dark"})
            rule = [key, {"value": "none", "when": {"observation_type": dark}}]
    return Finding(rule, source)


def texts(survey: Survey) -> Iterator[tuple[str, Finding]]:
    """Yield the rules of fields that are plain texts or angles, where files have them."""
    named: tuple[tuple[str, Sequence[str]], ...] = (
        ("target_name", vocabulary.TARGET),
        ("science_program", vocabulary.PROGRAM),
        ("observation_reason", vocabulary.REASON),
    )
    for field, keys in named:
        key = first_keyword(survey, keys)
        if key is not None:
            yield field, Finding(key, survey.said(key))
    for field, keys, largest in (
        ("tracking_ra", vocabulary.RIGHT_ASCENSION, 360.0),
        ("tracking_dec", vocabulary.DECLINATION, 90.0),
    ):
        for key in keys:
            angles = [number_of(value) for value in survey.values(key) if value is not None]
            hours = _HOURS.search(survey.comment(key))
            if angles and not hours and all(a is not None and abs(a) <= largest for a in angles):
                yield field, Finding(key, survey.said(key))
                break


def worth_keeping(survey: Survey) -> Iterator[tuple[str, Finding]]:
    """Yield what is worth keeping beyond the fields of an exposure: temperatures, settings."""
    seen: set[str] = set()
    for key, name in {**vocabulary.TEMPERATURES, **vocabulary.SETTINGS}.items():
        if survey.has(key) and name not in seen:
            seen.add(name)
            yield name, Finding(key, survey.said(key))
