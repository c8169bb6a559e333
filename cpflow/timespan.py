"""Instants and half-open spans of time in TAI nanoseconds since 1970-01-01T00:00:00 TAI.

Everything that cpflow stores about time is such an integer, so no rounding ever moves an exposure
across the boundary of a calibration. Texts come in as ISO dates, day of year, MJD or day_obs and
are converted here with integer arithmetic and an own table of leap seconds: astropy's time package
is exact too, but importing it costs more than a whole command should take.

Before 1972, when UTC had no leap seconds but a drifting rate, the first offset (10 s) is used.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Final

SECOND: Final = 1_000_000_000
DAY: Final = 86_400 * SECOND
SCALES: Final = ("tai", "utc", "tt")

_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_MJD_EPOCH: Final = 40_587
_JD_EPOCH: Final = Fraction(4_881_175, 2)
_TT_MINUS_TAI: Final = 32_184_000_000
_LIMIT: Final = 2**63 - 1

# First UTC day with each value of TAI - UTC; the first is 10 s (1972-01-01), one more each time.
# IERS Bulletin C; a new leap second is one more entry.
_LEAP_DATES: Final = (
    (1972, 1), (1972, 7), (1973, 1), (1974, 1), (1975, 1), (1976, 1), (1977, 1), (1978, 1),
    (1979, 1), (1980, 1), (1981, 7), (1982, 7), (1983, 7), (1985, 7), (1988, 1), (1990, 1),
    (1991, 1), (1992, 7), (1993, 7), (1994, 7), (1996, 1), (1997, 7), (1999, 1), (2006, 1),
    (2009, 1), (2012, 7), (2015, 7), (2017, 1),
)  # fmt: skip
_LEAP_DAYS: Final = tuple(date(y, m, 1).toordinal() - _EPOCH_ORDINAL for y, m in _LEAP_DATES)
_LEAP_TAI: Final = tuple(
    day * DAY + (10 + i) * SECOND for i, day in enumerate(_LEAP_DAYS)
)  # TAI at which each offset begins

_CLOCK = r"(?:(?P<hour>\d{2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2}(?:\.\d*)?))?)?)"
_ISO = re.compile(
    r"\+?0*(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})(?:[T ]" + _CLOCK + r")?", re.ASCII
)
_YDAY = re.compile(r"(?P<year>\d{4}):(?P<yday>\d{3})(?::" + _CLOCK + r")?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True, repr=False)
class Timespan:
    """A half-open span [begin, end) of TAI nanoseconds; ``None`` is unbounded.

    Equal bounds become one nanosecond long; begin after end is an empty span, which overlaps
    nothing, not even itself, and is contained in everything (spec V1 to V5).

    Examples
    --------
    >>> Timespan(0, 10).overlaps(Timespan(10, 20))
    False
    >>> Timespan(0, 10).difference(Timespan(3, 4))
    (Timespan(0, 3), Timespan(4, 10))
    """

    begin: int | None
    end: int | None

    def __post_init__(self) -> None:
        for bound in (self.begin, self.end):
            if bound is not None and not -_LIMIT <= bound < _LIMIT:
                raise ValueError(f"time {bound} does not fit in 64 bits of nanoseconds")
        if self.begin is not None and self.begin == self.end:
            object.__setattr__(self, "end", self.begin + 1)

    @classmethod
    def at(cls, instant: int) -> Timespan:
        """Return the span of one nanosecond that begins at `instant`."""
        return cls(instant, instant + 1)

    @classmethod
    def always(cls) -> Timespan:
        """Return the span without bounds."""
        return cls(None, None)

    @property
    def is_empty(self) -> bool:
        """Whether begin lies after end."""
        return self.begin is not None and self.end is not None and self.begin > self.end

    def overlaps(self, other: Timespan) -> bool:
        """Whether the two spans share an instant; touching spans do not."""
        if self.is_empty or other.is_empty:
            return False
        return (self.begin is None or other.end is None or self.begin < other.end) and (
            other.begin is None or self.end is None or other.begin < self.end
        )

    def contains(self, other: Timespan | int) -> bool:
        """Whether every instant of `other` lies in this span."""
        inner = Timespan.at(other) if isinstance(other, int) else other
        if inner.is_empty:
            return True
        if self.is_empty:
            return False
        return (self.begin is None or (inner.begin is not None and self.begin <= inner.begin)) and (
            self.end is None or (inner.end is not None and inner.end <= self.end)
        )

    def intersection(self, other: Timespan) -> Timespan:
        """Return what both spans share; empty when they share nothing."""
        if not self.overlaps(other):
            return Timespan(1, 0)
        begins = [b for b in (self.begin, other.begin) if b is not None]
        ends = [e for e in (self.end, other.end) if e is not None]
        return Timespan(max(begins, default=None), min(ends, default=None))

    def difference(self, other: Timespan) -> tuple[Timespan, ...]:
        """Return what is left of this span without `other`: zero, one or two spans."""
        if self.is_empty:
            return ()
        if not self.overlaps(other):
            return (self,)
        left = []
        if other.begin is not None and (self.begin is None or self.begin < other.begin):
            left.append(Timespan(self.begin, other.begin))
        if other.end is not None and (self.end is None or other.end < self.end):
            left.append(Timespan(other.end, self.end))
        return tuple(left)

    def __str__(self) -> str:
        if self.is_empty:
            return "empty (ends before it begins)"
        begin = "open" if self.begin is None else isoformat(self.begin)
        end = "open" if self.end is None else isoformat(self.end)
        return f"[{begin}, {end}) TAI"

    def __repr__(self) -> str:
        small = all(b is None or abs(b) < DAY for b in (self.begin, self.end))
        if small or self.is_empty:
            return f"Timespan({self.begin}, {self.end})"
        return f"Timespan({self})"


@dataclass(frozen=True, slots=True)
class Instant:
    """A date as the user gave it: its TAI nanoseconds, and what should be said about it."""

    tai: int
    note: str | None = None


def utc_to_tai(utc: int) -> int:
    """Convert nanoseconds since 1970 UTC, leap seconds not counted, to TAI."""
    return utc + _offset_on(utc // DAY) * SECOND


def tai_to_utc(tai: int) -> int:
    """Convert TAI to nanoseconds since 1970 UTC, leap seconds not counted.

    The second of a leap second, 23:59:60, comes out as the first of the next day.
    """
    index = bisect_right(_LEAP_TAI, tai)
    return tai - max(10, 9 + index) * SECOND


def from_iso(text: str, scale: str = "utc") -> int:
    """Read an ISO or day-of-year date to TAI nanoseconds, exactly.

    Parameters
    ----------
    text : str
        ``2021-07-15``, ``2021-07-15T12:00``, ``2021-07-15 12:00:00.5``, ``2021:196:12:00:00``;
        a ``Z`` or ``+00:00`` at the end says UTC whatever `scale` is.
    scale : {'utc', 'tai', 'tt'}
        Time scale of the text.

    Raises
    ------
    ValueError
        If the text is not such a date.
    """
    bare, zulu = _strip_zulu(text.strip())
    return _from_calendar(bare, "utc" if zulu else _check_scale(scale))


def from_mjd(value: float | int | str, scale: str = "tai") -> int:
    """Convert a modified Julian date to TAI nanoseconds.

    A float is taken as the decimal number that it prints as, so that a header value means the same
    whether it was read as text or as a number. A UTC day with a leap second has 86,401 s.

    Raises
    ------
    ValueError
        If the value is not a finite number or out of range.
    """
    return _from_days(_fraction(value) - _MJD_EPOCH, _check_scale(scale), f"MJD {value}")


def isoformat(tai: int, scale: str = "tai") -> str:
    """Write TAI nanoseconds as an ISO date in the given scale, with as many digits as needed."""
    _check_scale(scale)
    leap = 0
    if scale == "utc":
        ns = tai_to_utc(tai)
        index = bisect_right(_LEAP_TAI, tai + SECOND)
        if index > 1 and tai < _LEAP_TAI[index - 1]:
            # Inside 23:59:60: step back to the last ordinary second and count one more.
            ns, leap = ns - SECOND, 1
    else:
        ns = tai + (_TT_MINUS_TAI if scale == "tt" else 0)
    days, rest = divmod(ns, DAY)
    seconds, fraction = divmod(rest, SECOND)
    minutes, second = divmod(seconds, 60)
    day = date.fromordinal(days + _EPOCH_ORDINAL).isoformat()
    shown = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{day}T{minutes // 60:02d}:{minutes % 60:02d}:{second + leap:02d}{shown}"


def parse_date(text: str) -> Instant:
    """Read a date as the options ``--begin-date`` and ``--end-date`` take it.

    ISO and day-of-year forms, ``MJD 59410.5``, or an observing day ``20210715``; TAI unless a
    scale is said: ``2021-07-15 UTC``, ``2021-07-15/utc``, ``2021-07-15T12:00:00Z``.

    Returns
    -------
    Instant
        The instant, with a note where the text was converted or could be read in two ways.

    Raises
    ------
    ValueError
        If the text is empty or not a date.
    """
    stripped = text.strip()
    if not stripped:
        raise ValueError("empty date (an unset variable?): leave the option out for no bound")
    body, scale = _split_scale(stripped)
    body, zulu = _strip_zulu(body)
    if zulu and scale not in (None, "utc"):
        raise ValueError(f"{text!r}: 'Z' says UTC and the suffix says {scale.upper()}")
    scale = "utc" if zulu else scale or "tai"
    match = re.fullmatch(r"mjd\s*(\S+)", body, re.IGNORECASE)
    if match:
        tai = from_mjd(match[1], scale)
    elif re.fullmatch(r"\d{8}", body, re.ASCII):
        tai = _from_calendar(f"{body[:4]}-{body[4:6]}-{body[6:]}", scale)
        midnight = f"{body} is read as midnight, {isoformat(tai, scale)} {scale.upper()}"
        return Instant(tai, f"{midnight}: not the noon at which that observing day begins")
    elif _NUMBER.fullmatch(body):
        raise ValueError(f"{text!r} is a bare number: write 'MJD {body}' for a Julian date")
    else:
        tai = _from_calendar(body, scale)
    note = f"{stripped} is {isoformat(tai)} TAI" if scale != "tai" else None
    return Instant(tai, note)


def parse_time_literal(text: str) -> int:
    """Read the inside of a query's ``T'...'`` to TAI nanoseconds (spec W9).

    ``[format/]date[/scale]``; calendar forms are UTC unless a scale is said, Julian dates TAI.

    Raises
    ------
    ValueError
        If the text is not a time.
    """
    body, scale = text.strip(), None
    form, slash, rest = body.partition("/")
    if slash and form.strip().lower() in ("iso", "isot", "fits", "yday", "mjd", "jd"):
        form, body = form.strip().lower(), rest.strip()
    else:
        form = ""
    body, scale = _split_scale(body, suffix_word=False)
    body = body.removesuffix("+00:00")
    if body[-1:] in ("Z", "z"):
        raise ValueError(f"{text!r}: leave out the Z: UTC is meant unless '/tai' follows")
    if _NUMBER.fullmatch(body) and form in ("", "mjd", "jd"):
        if not form and re.fullmatch(r"[+-]?\d+", body, re.ASCII):
            raise ValueError(f"{text!r} is a bare integer: write 'mjd/{body}', or '{body}.0'")
        days = _fraction(body) - (_JD_EPOCH if form == "jd" else _MJD_EPOCH)
        return _from_days(days, scale or "tai", text)
    return _from_calendar(body, scale or "utc")


def _offset_on(day: int) -> int:
    """TAI - UTC in seconds on a UTC day counted from 1970-01-01."""
    return max(10, 9 + bisect_right(_LEAP_DAYS, day))


def _day_length(day: int, scale: str) -> int:
    if scale == "utc" and day + 1 in _LEAP_DAYS[1:]:
        return DAY + SECOND
    return DAY


def _to_tai(day: int, within: int, scale: str, text: str) -> int:
    """TAI of `within` nanoseconds after the midnight that begins `day`, both in `scale`."""
    tai = day * DAY + within
    if scale == "utc":
        tai += _offset_on(day) * SECOND
    elif scale == "tt":
        tai -= _TT_MINUS_TAI
    if not -_LIMIT <= tai < _LIMIT - 1:
        raise ValueError(f"{text!r} is outside the years 1678 to 2261 that can be stored")
    return tai


def _from_days(days: Fraction, scale: str, text: str) -> int:
    day = days.numerator // days.denominator
    return _to_tai(day, round((days - day) * _day_length(day, scale)), scale, text)


def _from_calendar(text: str, scale: str) -> int:
    match = _ISO.fullmatch(text) or _YDAY.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a date such as 2021-07-15, 2021-07-15T12:00:00, 2021:196"
        )
    part = match.groupdict()
    year = int(part["year"])
    try:
        if part.get("yday") is None:
            ordinal = date(year, int(part["month"]), int(part["day"])).toordinal()
        else:
            yday = int(part["yday"])
            ordinal = date(year, 1, 1).toordinal() + yday - 1
            if date.fromordinal(ordinal).year != year or yday < 1:
                raise ValueError(f"year {year} has no day {yday}")
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a date: {error}") from None
    day = ordinal - _EPOCH_ORDINAL
    hour, minute = int(part["hour"] or 0), int(part["minute"] or 0)
    second = Fraction(part["second"] or 0)
    leap = hour == 23 and minute == 59 and _day_length(day, scale) > DAY
    if hour > 23 or minute > 59 or second >= (61 if leap else 60):
        raise ValueError(f"{text!r} has no such time of day")
    within = (hour * 3600 + minute * 60) * SECOND + round(second * SECOND)
    return _to_tai(day, within, scale, text)


def _fraction(value: float | int | str) -> Fraction:
    text = value.strip() if isinstance(value, str) else repr(value)
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a Julian date")
    return Fraction(text)


def _check_scale(scale: str) -> str:
    if scale not in SCALES:
        raise ValueError(f"time scale {scale!r} is not one of {', '.join(SCALES)}")
    return scale


def _strip_zulu(text: str) -> tuple[str, bool]:
    for mark in ("Z", "z", "+00:00"):
        if text.endswith(mark):
            return text.removesuffix(mark), True
    return text, False


def _split_scale(text: str, *, suffix_word: bool = True) -> tuple[str, str | None]:
    """Split a trailing ``/utc`` (or `` UTC``) from a date."""
    separator = r"(?:\s*/\s*|\s+)" if suffix_word else r"\s*/\s*"
    match = re.fullmatch(rf"(.*?){separator}([A-Za-z]+)", text)
    if match is None:
        return text, None
    return match[1].strip(), _check_scale(match[2].lower())
