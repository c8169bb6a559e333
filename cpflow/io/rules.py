"""Rules that turn FITS keywords into the fields of an exposure, as data.

A field has a list of alternatives; the first that is defined wins. An alternative takes its value
from one source (`key`, `keys` with `join`, `field`, `file`, `template`, `date` or `value`), may
change it (`match`, `remove_prefix`, `lower`, `replace`, `map`, then `scale` and `add`), and may
hold only under conditions (`since`, `until`, `when`). A bare string means ``{key: STRING}``.

Names in upper case are header keywords, names in lower case are fields of the exposure or
`variables` of the instrument file.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from cpflow.io.strict import Strict
from cpflow.timespan import from_iso

Value = bool | int | float | str

_SOURCES = ("key", "keys", "field", "file", "template", "date", "value")
BEGIN = "begin"


def _check_date(value: str) -> str:
    from_iso(value, "tai")
    return value


def _check_regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}") from None
    return value


def _as_alternatives(value: Any) -> Any:
    alternatives = value if isinstance(value, list | tuple) else [value]
    return [{"key": item} if isinstance(item, str) else item for item in alternatives]


def is_field_name(name: str) -> bool:
    """Whether a name means a field or variable, not a header keyword."""
    return name == name.lower()


def template_parts(template: str | None) -> list[tuple[str, str]]:
    """Return the (name, format) pairs of a template."""
    parsed = string.Formatter().parse(template or "")
    return [(name, form or "") for _, name, form, _ in parsed if name is not None]


Regex = Annotated[str, AfterValidator(_check_regex)]
# YAML reads an unquoted 2020-01-01 as a date.
_date_as_text = BeforeValidator(lambda v: v.isoformat() if isinstance(v, date) else v)
Date = Annotated[str, _date_as_text, AfterValidator(_check_date)]


class Range(Strict):
    """A condition on a number; both bounds belong to it."""

    min: float | None = None
    max: float | None = None


Condition = Range | Value | list[Value]


class Rule(Strict):
    """One alternative for the value of a field."""

    key: str | None = None
    """A header keyword."""
    keys: list[str] | None = None
    """Several header keywords, each changed by itself and then joined."""
    join: str = ""
    blank: str | None = None
    """Stands for a keyword of `keys` that is blank."""
    missing: str | None = None
    """Stands for a keyword of `keys` that is not in the header."""
    field: str | None = None
    """Another field or variable."""
    file: re.Pattern[str] | None = None
    """Its first group in the name of the file, without directory and FITS suffixes."""
    template: str | None = None
    """Text with ``{name}`` or ``{name:format}``; numbers that are whole format as integers."""
    date: str | None = None
    """``strftime`` format for the begin time, in the time scale of the header."""
    shift_hours: float = 0.0
    """Added to the begin time before `date` formats it."""
    value: Annotated[Value | None, _date_as_text] = None
    """A constant."""

    match: re.Pattern[str] | None = None
    """Keep its first group; no match means undefined."""
    remove_prefix: str | None = None
    lower: bool = False
    replace: Mapping[Regex, str] = {}
    """Regular expressions and what replaces each match."""
    map: Mapping[str, Value] = {}
    """Whole values and what they become; letter case does not count."""
    only: bool = False
    """A value that `map` does not list is undefined."""
    scale: float | None = None
    add: float | str | None = None
    """A number, or the name of a field or variable."""
    format: Literal["iso", "mjd", "jd"] | None = None
    """How a time is written; if not given, numbers are MJD and texts are ISO."""

    since: Date | None = None
    """Holds for exposures that begin at this time (TAI) or later."""
    until: Date | None = None
    """Holds for exposures that begin before this time (TAI)."""
    when: Mapping[str, Condition] = {}
    """Holds when each name has this value, one of these values, or a value in this range."""

    @model_validator(mode="after")
    def _sound(self) -> Rule:
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of {', '.join(_SOURCES)}; has {', '.join(given) or 'none'}"
            )
        for pattern in (self.file, self.match):
            if pattern is not None and pattern.groups < 1:
                raise ValueError(f"the regular expression {pattern.pattern!r} has no group")
        for name, _ in template_parts(self.template):
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
                raise ValueError(f"{{{name}}} in a template is not a name")
        if self.only and not self.map:
            raise ValueError("`only` needs `map`")
        return self

    def names(self) -> Iterator[str]:
        """Yield the names of fields and variables that this rule looks at."""
        if self.field is not None:
            yield self.field
        if isinstance(self.add, str):
            yield self.add
        for name in (*(name for name, _ in template_parts(self.template)), *self.when):
            if is_field_name(name):
                yield name
        if self.date is not None or self.since is not None or self.until is not None:
            yield BEGIN


Alternatives = Annotated[tuple[Rule, ...], BeforeValidator(_as_alternatives)]


class TimeRules(Strict):
    """How an exposure's begin and end are found."""

    scale: Literal["utc", "tai", "tt"] = "utc"
    """Time scale of the header's times."""
    scale_keyword: str | None = "TIMESYS"
    """Keyword that overrides `scale` where it is present."""
    begin: Annotated[Alternatives, Field(min_length=1)]
    end: Alternatives = ()
    """Without it, or where undefined: begin plus exposure time."""


class FieldRules(Strict):
    """The fields of `cpflow.exposure.Exposure` that rules fill."""

    exposure: Annotated[Alternatives, Field(min_length=1)]
    obs_id: Alternatives = (Rule(file=re.compile("(.*)")),)
    day_obs: Alternatives = (Rule(date="%Y%m%d"),)
    seq_num: Annotated[Alternatives, Field(min_length=1)]
    observation_type: Annotated[Alternatives, Field(min_length=1)]
    physical_filter: Alternatives = ()
    band: Alternatives = ()
    exposure_time: Alternatives = ()
    dark_time: Alternatives = ()
    observation_reason: Alternatives = ()
    target_name: Alternatives = ()
    science_program: Alternatives = ()
    group: Alternatives = ()
    can_see_sky: Alternatives = ()
    tracking_ra: Alternatives = ()
    tracking_dec: Alternatives = ()
    azimuth: Alternatives = ()
    zenith_angle: Alternatives = ()
    has_simulated: Alternatives = ()


class HeaderRules(Strict):
    """All that is known of an instrument's headers."""

    merge: tuple[str, ...] = ("primary", "image")
    """Headers merged into one, later wins: `primary`, `image` (the first HDU with pixels), or the
    EXTNAME of an HDU."""
    identify: Mapping[str, tuple[Regex, ...]] = {}
    """Regular expressions of which one must be found in a keyword, where it is present."""
    time: TimeRules
    detector: Alternatives = ()
    """Id or name of the detector that the file holds; without it, all detectors."""
    variables: Mapping[str, Alternatives] = {}
    fields: FieldRules
    extra: Mapping[str, Alternatives] = {}

    @model_validator(mode="after")
    def _names_resolve(self) -> HeaderRules:
        table = self.table()
        for name in self.variables:
            if name in FieldRules.model_fields or not is_field_name(name) or name == BEGIN:
                raise ValueError(f"variables.{name}: not a free name in lower case")
        for name in table:
            _check_acyclic(name, table, ())
        return self

    def table(self) -> dict[str, tuple[Rule, ...]]:
        """Return the alternatives of every name: time, fields, variables, detector and extra."""
        fields = {name: getattr(self.fields, name) for name in FieldRules.model_fields}
        extra = {f"extra.{name}": rules for name, rules in self.extra.items()}
        times = {BEGIN: self.time.begin, "end": self.time.end, "detector": self.detector}
        return {**times, **fields, **self.variables, **extra}


def _check_acyclic(
    name: str, table: Mapping[str, tuple[Rule, ...]], above: tuple[str, ...]
) -> None:
    if name in above:
        raise ValueError(f"rules go round in a circle: {' -> '.join((*above, name))}")
    if name not in table:
        raise ValueError(f"{above[-1]}: there is no field or variable {name!r}")
    for rule in table[name]:
        for wanted in rule.names():
            _check_acyclic(wanted, table, (*above, name))
