"""Header rules read backwards: which keyword with which value gives a wanted field.

An instrument file says how keywords become the fields of an exposure. Here the first alternative of
each field that can be inverted is, so that a simulated header means what it should for any
instrument, without a line of Python for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from string import Formatter
from typing import TYPE_CHECKING

from cpflow.timespan import DAY, isoformat

if TYPE_CHECKING:
    from cpflow.io.rules import Rule, TimeRules

Value = str | int | float | bool | None

MJD_1970 = 40_587
JD_1970 = 2_440_587.5


def invert_field(rules: Sequence[Rule], wanted: Value) -> dict[str, Value]:
    """Return the keywords that make a field come out as wanted.

    Parameters
    ----------
    rules : sequence of Rule
        The alternatives of the field.
    wanted : str, int, float, bool or None
        Its value; None gives no keyword.

    Returns
    -------
    dict of str to value
        Empty if no alternative takes its value from keywords alone.
    """
    if wanted is None:
        return {}
    for rule in rules:
        if rule.until is not None or rule.when or rule.match is not None:
            continue
        if rule.key is not None:
            return {rule.key: _before(rule, wanted)}
        if rule.keys is not None and (rule.join or len(rule.keys) == 1):
            count = len(rule.keys) - 1
            parts = str(wanted).split(rule.join, count) if count else [str(wanted)]
            return dict(zip(rule.keys, parts, strict=False))
        if rule.template is not None:
            return _invert_template(rule.template, str(wanted))
    return {}


def _invert_template(template: str, wanted: str) -> dict[str, Value]:
    """Read ``{RAFTBAY}_{CCDSLOT}`` backwards; templates with formats or fields are not keywords."""
    pieces = list(Formatter().parse(template))
    names = [name for _, name, _, _ in pieces if name is not None]
    if any(form for _, _, form, _ in pieces) or any(name != name.upper() for name in names):
        return {}
    pattern = "".join(re.escape(text) + ("(.+?)" if name else "") for text, name, _, _ in pieces)
    found = re.fullmatch(pattern, wanted)
    return dict(zip(names, found.groups(), strict=True)) if found else {}


def identity(name: str, patterns: Sequence[str]) -> str:
    """Return what an identifying keyword says: the instrument's name, if that is recognised.

    Otherwise the first pattern, without the signs of a regular expression if need be.
    """
    bare = re.sub(r"[\^$?\\]", "", patterns[0])
    for value in (name, patterns[0], bare):
        if any(re.search(pattern, value, re.IGNORECASE) for pattern in patterns):
            return value
    return name


def _before(rule: Rule, wanted: Value) -> Value:
    """Undo what a rule does to the value of its keyword: add, scale, map, lower."""
    value = wanted
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(rule.add, int | float):
            value = value - rule.add
        if rule.scale is not None:
            value = value / rule.scale
    for stored, meant in rule.map.items():
        if meant == value and not isinstance(meant, bool) | isinstance(value, bool):
            return stored.upper() if rule.lower else stored
    return value.upper() if rule.lower and isinstance(value, str) else value


def invert_time(rules: TimeRules, begin: int, end: int) -> dict[str, Value]:
    """Return the keywords of begin and end, each in every keyword that its rules look at.

    Parameters
    ----------
    rules : TimeRules
        How the instrument's times are found.
    begin, end : int
        TAI nanoseconds since 1970.
    """
    scale = "tai" if rules.scale_keyword is not None else rules.scale
    cards: dict[str, Value] = {}
    if rules.scale_keyword is not None:
        cards[rules.scale_keyword] = "TAI"
    for instant, alternatives in ((begin, rules.begin), (end, rules.end)):
        for rule in alternatives:
            if rule.key is not None:
                cards[rule.key] = _time(rule, instant, scale)
            elif rule.keys is not None and rule.join == "T":
                for key, part in zip(rule.keys, isoformat(instant, scale).split("T"), strict=False):
                    cards.setdefault(key, part)
    return cards


def _time(rule: Rule, instant: int, scale: str) -> Value:
    key = rule.key or ""
    if rule.format == "jd" or key.startswith("JD"):
        return instant / DAY + JD_1970
    if rule.format == "mjd" or key.startswith("MJD"):
        return instant / DAY + MJD_1970
    return isoformat(instant, scale)


def keywords_of(rules: Mapping[str, Sequence[Rule]]) -> Iterator[str]:
    """Yield every header keyword that any rule looks at."""
    for alternatives in rules.values():
        for rule in alternatives:
            yield from [rule.key] if rule.key is not None else []
            yield from rule.keys or []
