"""Evaluate header rules: from one merged header to the value of each name, on demand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cpflow.io.cards import Value
from cpflow.io.instants import clock, parse_instant
from cpflow.io.values import as_integer, as_number, as_text, is_blank
from cpflow.timespan import from_iso

if TYPE_CHECKING:
    from cpflow.io.rules import HeaderRules, Rule

_SUFFIXES = re.compile(r"(\.(fits|fit|fts|fz|gz))+$", re.IGNORECASE)
_BEGIN: Final = "begin"


@dataclass(frozen=True, slots=True)
class Found:
    """What the rules of a name gave."""

    value: Value
    origin: str
    """Keywords or rule that it came from, for messages."""
    format: str | None = None


@dataclass(slots=True)
class Evaluation:
    """The rules of an instrument at work on one header.

    Parameters
    ----------
    rules : HeaderRules
    header : mapping of str to value
    path : str
        Of the file.
    """

    rules: HeaderRules
    header: Mapping[str, Value]
    path: str
    table: Mapping[str, tuple[Rule, ...]] = field(init=False)
    scale: str = field(init=False)
    _known: dict[str, Found | None] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.table = self.rules.table()
        time = self.rules.time
        said = self.header.get(time.scale_keyword) if time.scale_keyword else None
        scale = time.scale if is_blank(said) else as_text(said).lower()
        self.scale = "utc" if scale == "ut" else scale

    def find(self, name: str) -> Found | None:
        """Return what the first defined alternative of a name gives, or None.

        Raises
        ------
        BadValueError
            If a value cannot be worked with.
        """
        if name not in self._known:
            found = (self._alternative(rule) for rule in self.table[name])
            self._known[name] = next((f for f in found if f is not None), None)
        return self._known[name]

    def keywords(self, name: str) -> tuple[str, ...]:
        """Return the keywords that the rules of a name look at."""
        keys = [k for rule in self.table[name] for k in (rule.key, *(rule.keys or ())) if k]
        return tuple(dict.fromkeys(keys))

    def origin(self, name: str) -> str:
        """Return where the value of a name comes from, or would come from; for messages."""
        found = self._known.get(name)
        return found.origin if found is not None else " or ".join(self.keywords(name))

    def known_parts(self, name: str) -> dict[str, Value]:
        """Return the fields and variables that the rules of a name look at, where known."""
        wanted = [part for rule in self.table[name] for part in rule.names()]
        known = {part: self._known.get(part) for part in wanted}
        return {part: found.value for part, found in known.items() if found is not None}

    def blank_keywords(self, name: str) -> tuple[str, ...]:
        """Return those of these keywords that are there, but blank."""
        return tuple(
            key for key in self.keywords(name) if key in self.header and is_blank(self.header[key])
        )

    def begin(self) -> int | None:
        """Return the begin of the exposure in TAI nanoseconds, or None.

        Raises
        ------
        BadValueError
            If it is not a time.
        """
        return self.instant(_BEGIN)

    def instant(self, name: str) -> int | None:
        """Return a time in TAI nanoseconds, or None.

        Raises
        ------
        BadValueError
            If it is not a time.
        """
        found = self.find(name)
        return None if found is None else parse_instant(found.value, self.scale, found.format)

    def _alternative(self, rule: Rule) -> Found | None:
        if not self._holds(rule):
            return None
        value, origin = self._source(rule)
        if value is None:
            return None
        if rule.scale is not None or rule.add is not None:
            value = self._calculated(rule, value)
        return None if value is None else Found(value, origin, rule.format)

    def _holds(self, rule: Rule) -> bool:
        if rule.since is not None or rule.until is not None:
            begin = self.begin()
            if begin is None:
                return False
            if rule.since is not None and begin < from_iso(rule.since, "tai"):
                return False
            if rule.until is not None and begin >= from_iso(rule.until, "tai"):
                return False
        return all(_meets(self._named(name), wanted) for name, wanted in rule.when.items())

    def _named(self, name: str) -> Value:
        """Return the value of a header keyword (upper case) or of a field or variable."""
        if name != name.lower():
            value = self.header.get(name)
            return None if is_blank(value) else value
        found = self.find(name)
        return None if found is None else found.value

    def _source(self, rule: Rule) -> tuple[Value, str]:
        if rule.keys is not None:
            parts = [self._part(rule, key) for key in rule.keys]
            defined = [as_text(part) for part in parts if part is not None]
            joined = rule.join.join(defined) if len(defined) == len(parts) else None
            return joined, " and ".join(rule.keys)
        if rule.key is not None:
            return _changed(rule, self._named(rule.key)), rule.key
        if rule.field is not None:
            return _changed(rule, self._named(rule.field)), rule.field
        if rule.file is not None:
            match = rule.file.search(_SUFFIXES.sub("", Path(self.path).name))
            return _changed(rule, match[1] if match else None), "the name of the file"
        if rule.template is not None:
            return _changed(rule, self._formatted(rule.template)), rule.template
        if rule.date is not None:
            begin = self.begin()
            text = None
            if begin is not None:
                text = clock(begin, self.scale, rule.shift_hours).strftime(rule.date)
            return _changed(rule, text), "the begin time"
        return rule.value, "the instrument file"

    def _part(self, rule: Rule, key: str) -> Value:
        if key not in self.header:
            return rule.missing
        value = self.header[key]
        return rule.blank if is_blank(value) else _changed(rule, value)

    def _formatted(self, template: str) -> str | None:
        from cpflow.io.rules import template_parts

        values: dict[str, Value] = {}
        for name, form in template_parts(template):
            value = self._named(name)
            if value is None:
                return None
            values[name] = as_integer(value) if form.endswith("d") else value
        return template.format(**values)

    def _calculated(self, rule: Rule, value: Value) -> Value:
        number = as_number(value)
        if rule.scale is not None:
            number *= rule.scale
        if isinstance(rule.add, str):
            addend = self._named(rule.add)
            return None if addend is None else number + as_number(addend)
        return number if rule.add is None else number + rule.add


def _changed(rule: Rule, value: Value) -> Value:
    """Apply the changes of a rule to a text, in their fixed order."""
    if is_blank(value):
        return None
    if not (rule.match or rule.remove_prefix or rule.lower or rule.replace or rule.map):
        return value.strip() if isinstance(value, str) else value
    text = as_text(value)
    if rule.match is not None:
        match = rule.match.search(text)
        if match is None:
            return None
        text = match[1]
    if rule.remove_prefix is not None:
        text = text.removeprefix(rule.remove_prefix)
    if rule.lower:
        text = text.lower()
    for pattern, replacement in rule.replace.items():
        text = re.sub(pattern, replacement, text)
    for wanted, meaning in rule.map.items():
        if text.lower() == wanted.lower():
            return meaning
    return None if rule.only or not text else text


def _meets(value: Value, wanted: object) -> bool:
    """Whether a value meets a condition of `Rule.when`."""
    if value is None:
        return False
    if isinstance(wanted, list):
        return any(_meets(value, one) for one in wanted)
    if isinstance(wanted, bool | int | float) and not isinstance(value, bool):
        return as_number(value) == wanted
    if isinstance(wanted, bool | str):
        return as_text(value).lower() == as_text(wanted).lower()
    low, high = getattr(wanted, "min", None), getattr(wanted, "max", None)
    number = as_number(value)
    return (low is None or number >= low) and (high is None or number <= high)
