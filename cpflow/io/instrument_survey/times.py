"""When an exposure began, and to which day of observing it belongs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from cpflow.io.instants import clock
from cpflow.io.instrument_survey import vocabulary
from cpflow.io.instrument_survey.findings import Finding, Question
from cpflow.io.instrument_survey.hdus import Survey
from cpflow.io.instrument_survey.trial import Trial

_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d?:\d\d")
_OF_NO_EXPOSURE: Final = re.compile(r"DATE|.*(END|MOD|CREA|FILE|PROC|HEAD|WRIT|LOC|FIRM|VERS).*")
_OF_AN_EXPOSURE: Final = re.compile(r"DATE|TIME|UT|TS|BEG|START|OPEN")
_SLASHES: Final = {
    r"^(\d\d)/(\d\d)/(\d\d)$": r"19\3-\2-\1",
    r"^(\d\d)/(\d\d)/(\d{4})$": r"\3-\2-\1",
}
_ONE_DIGIT: Final = {r"^(\d):": r"0\1:"}
_HOUR: Final = 3_600_000_000_000
_DAY: Final = 24 * _HOUR
_NOON: Final = 12
_SAME_NIGHT_HOURS: Final = 3


@dataclass(frozen=True, slots=True)
class Times:
    """What was found of the times of a camera."""

    begin: Any
    """A finding or a question inside a rule."""
    rules: list[dict[str, Any]] | None
    """The rules of `begin`; None if the files give no time."""
    instants: tuple[int | None, ...]
    """Begin of each file in TAI nanoseconds."""
    only_dates: bool
    """Whether the files give the day, and not the time."""
    source: str

    @property
    def known(self) -> bool:
        """Whether every file says when it began, to better than a day."""
        return self.rules is not None and not self.only_dates and None not in self.instants


def find_times(survey: Survey) -> Times:
    """Find out how the files say when an exposure began."""
    rules: list[dict[str, Any]] = []
    left = set(range(len(survey.looks)))
    for candidates, dates_only in ((_moments(survey), False), (_dates(survey), True)):
        for rule in candidates:
            instants = tuple(Trial(survey, begin=[rule]).instants())
            gives = {i for i in left if instants[i] is not None}
            if gives and (dates_only or not _is_midnight(instants)):
                rules.append(rule)
                left -= gives
            if not left:
                break
        if not left:
            break
    if left:
        return _asked(survey)
    instants = tuple(Trial(survey, begin=rules).instants())
    source = "; ".join(_said(survey, rule) for rule in rules)
    notes = tuple(_doubts(survey, rules))
    only_dates = _is_midnight(instants)
    return Times(Finding(rules, source, notes), rules, instants, only_dates, source)


def _asked(survey: Survey) -> Times:
    question = Question(
        "when were these exposures taken? (no keyword has a date)",
        ("{value: '2024-03-01T00:00:00'}   all of them then; or the name of a keyword: DATE-OBS",),
    )
    begin = Finding([{"value": question, "format": "iso"}])
    return Times(begin, None, (None,) * len(survey.looks), True, "not in the files")


def _is_midnight(instants: Sequence[int | None]) -> bool:
    clocks = [clock(instant, "utc") for instant in instants if instant is not None]
    return all((c.hour, c.minute, c.second, c.microsecond) == (0, 0, 0, 0) for c in clocks)


def _moments(survey: Survey) -> Iterator[dict[str, Any]]:
    """Yield rules for a day with its time, the best names first."""
    dates = [key for key in vocabulary.DATE if survey.has(key)]
    for key in dates:
        if any(_ISO.match(str(value)) for value in survey.values(key) if value is not None):
            yield _date_rule(key, survey, match="(.*[T ].*)")
    times = [key for key in vocabulary.TIME if survey.has(key)]
    for date in dates:
        for time in times:
            if time != date and any(":" in str(value) for value in survey.values(time)):
                rule = _date_rule(date, survey)
                replace = {**rule.pop("replace", {}), **_hours(survey, time)}
                extra = {"replace": replace} if replace else {}
                yield {"keys": [rule["key"], time], "join": "T", **extra}
    for key in vocabulary.MODIFIED_JULIAN:
        if survey.has(key):
            yield {"key": key}
    others = [
        key for key in survey.keywords() if key not in dates and not _OF_NO_EXPOSURE.fullmatch(key)
    ]
    for key in sorted(others, key=lambda key: _OF_AN_EXPOSURE.search(key) is None):
        values = [str(value) for value in survey.values(key) if value is not None]
        if all(_ISO.match(value) for value in values):
            yield {"key": key}
    for key in vocabulary.JULIAN:
        if survey.has(key):
            yield {"key": key, "format": "jd"}


def _dates(survey: Survey) -> Iterator[dict[str, Any]]:
    """Yield rules for the day alone, and at last for when a file was written."""
    for key in vocabulary.DATE:
        if survey.has(key):
            yield _date_rule(key, survey)
    for key in vocabulary.MODIFIED_JULIAN:
        if survey.has(key):
            yield {"key": key}
    if survey.has("DATE"):
        yield _date_rule("DATE", survey)


def _date_rule(key: str, survey: Survey, match: str | None = None) -> dict[str, Any]:
    values = [str(value) for value in survey.values(key) if value is not None]
    rule: dict[str, Any] = {"key": key}
    if match and not all(_ISO.match(value) for value in values):
        rule["match"] = match
    replace = {
        pattern: new
        for pattern, new in _SLASHES.items()
        if any(re.search(pattern, value) for value in values)
    }
    if any(re.match(r"\d{4}/\d\d/\d\d", value) for value in values):
        replace["/"] = "-"
    return {**rule, "replace": replace} if replace else rule


def _hours(survey: Survey, key: str) -> dict[str, str]:
    """Return what writes an hour of one digit with two."""
    (pattern,) = _ONE_DIGIT
    values = [str(value).strip() for value in survey.values(key) if value is not None]
    return dict(_ONE_DIGIT) if any(re.match(pattern, value) for value in values) else {}


def _said(survey: Survey, rule: dict[str, Any]) -> str:
    keys = [rule["key"]] if "key" in rule else rule["keys"]
    return "; ".join(f"{key} in {survey.said(key)}" for key in keys)


def _doubts(survey: Survey, rules: Sequence[dict[str, Any]]) -> Iterator[str]:
    keys = [key for rule in rules for key in (rule.get("keys") or [rule["key"]])]
    for key in keys:
        if "local" in survey.comment(key).lower():
            yield f"The comment of {key} speaks of local time: it is taken as UTC, mend that."
    if "DATE" in keys:
        yield "DATE is when the file was written; no other keyword has a date."


def time_scale(survey: Survey) -> Finding | None:
    """Return the time scale of the header, where TIMESYS does not give it."""
    if survey.always("TIMESYS"):
        return None
    return Finding("utc", "no TIMESYS; utc, tai or tt")


def end_rule(survey: Survey, times: Times) -> Finding | None:
    """Return where the end of an exposure is, if that is later than its begin in all files."""
    for key in vocabulary.END:
        if survey.always(key) and times.known:
            ends = Trial(survey, begin=[{"key": key}]).instants()
            pairs = zip(times.instants, ends, strict=True)
            if all(b is not None and e is not None and e >= b for b, e in pairs):
                return Finding([key], survey.said(key))
    return None


def day_rule(survey: Survey, times: Times) -> Finding | None:
    """Return how the day of observing is found; None leaves it to the date of the begin."""
    for key in vocabulary.NIGHT:
        rule = {"key": key, "match": r"^(\d{4}-?\d\d-?\d\d)", "replace": {"-": ""}}
        days = Trial(survey, fields={"day_obs": [rule]}).values("day_obs")
        if survey.always(key) and all(re.fullmatch(r"\d{8}", str(day)) for day in days):
            plain = all(re.fullmatch(r"\d{8}", str(v).strip()) for v in survey.values(key))
            return Finding(key if plain else rule, survey.said(key))
    if not times.known:
        return None
    hour, why = _boundary(survey, [i for i in times.instants if i is not None])
    notes = tuple(_longitude(survey))
    return Finding({"date": "%Y%m%d", "shift_hours": -hour}, why, notes)


def _boundary(survey: Survey, instants: Sequence[int]) -> tuple[int, str]:
    """Return the hour at which a day of observing begins: noon, unless that parts a night."""
    ordered = sorted(instants)
    for before, after in pairwise(ordered):
        parted = (before - _NOON * _HOUR) // _DAY != (after - _NOON * _HOUR) // _DAY
        if parted and after - before < _SAME_NIGHT_HOURS * _HOUR:
            break
    else:
        return _NOON, f"a day of observing begins at {_NOON}:00: a night is one day"
    hours = sorted({clock(i, "utc").hour + clock(i, "utc").minute / 60 for i in instants})
    gaps = [
        ((after - before) % 24 or 24.0, before)
        for before, after in zip(hours, [*hours[1:], hours[0] + 24], strict=True)
    ]
    length, start = max(gaps)
    hour = round(start + length / 2) % 24
    return hour, f"it begins at {hour}:00, in the middle of the longest time without files"


def _longitude(survey: Survey) -> Iterator[str]:
    for key in vocabulary.LONGITUDE:
        if survey.has(key):
            yield f"{key} ({survey.said(key)}): with it, shift_hours is LONGITUDE_EAST / 15 - 12."
            return
