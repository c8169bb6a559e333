"""From the headers of a raw file to an exposure record, by the rules of its instrument."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cpflow.errors import RawError
from cpflow.exposure import Exposure
from cpflow.io.cards import Value
from cpflow.io.evaluate import Evaluation
from cpflow.io.values import BadValueError, as_integer, as_logical, as_number, as_text, is_blank
from cpflow.timespan import SECOND, Timespan, isoformat

if TYPE_CHECKING:
    from cpflow.io.rules import HeaderRules

logger = logging.getLogger(__name__)

_INTEGERS: Final = ("exposure", "day_obs", "seq_num")
_TIMES: Final = ("exposure_time", "dark_time")
_ANGLES: Final = ("tracking_ra", "tracking_dec", "azimuth", "zenith_angle")
_LOGICALS: Final = ("can_see_sky", "has_simulated")
_TEXTS: Final = (
    "observation_type",
    "physical_filter",
    "band",
    "observation_reason",
    "target_name",
    "science_program",
    "group",
)
_MEND: Final = "mend the keyword, or leave the file out"


def merge_headers(headers: Sequence[Mapping[str, Value]], names: Sequence[str]) -> dict[str, Value]:
    """Merge the headers of some HDUs into one; a keyword of a later one wins.

    Parameters
    ----------
    headers : sequence of mapping
        One for each HDU.
    names : sequence of str
        ``primary``, ``image`` (the first HDU with a two-dimensional image), or an EXTNAME. An HDU
        that is not there is left out.
    """
    merged: dict[str, Value] = {}
    for name in names:
        if name == "primary":
            found = headers[:1]
        elif name == "image":
            found = [h for h in headers if h.get("ZNAXIS", h.get("NAXIS")) == 2][:1]
        else:
            found = [h for h in headers if str(h.get("EXTNAME", "")).lower() == name.lower()][:1]
        for header in found:
            merged.update(header)
    return merged


def translate(
    headers: Sequence[Mapping[str, Value]],
    rules: HeaderRules,
    path: str | Path,
    instrument: str,
) -> Exposure:
    """Translate headers to an exposure record.

    An exposure time that the header does not give is None, and the exposure is then as long as its
    dates say. A dark time that is missing, or shorter than the exposure time, is the exposure time;
    a warning says so.

    Parameters
    ----------
    headers : sequence of mapping
        One for each HDU.
    rules : HeaderRules
    path : str or path
        Of the file; rules may look at its name, errors name it.
    instrument : str
        Name of the instrument.

    Raises
    ------
    RawError
        If the file is not of this instrument, or a field that every exposure must have is missing,
        blank or nonsense. Names file, keyword and remedy.
    """
    header = merge_headers(headers, rules.merge)
    _identify(header, rules, str(path), instrument)
    return _Translation(Evaluation(rules, header, str(path)), instrument).exposure()


def detector_of(
    headers: Sequence[Mapping[str, Value]], rules: HeaderRules, path: str | Path
) -> int | str | None:
    """Return id or name of the detector that a file holds; None if the rules do not say.

    Raises
    ------
    RawError
        If the rules should give one and the header does not.
    """
    if not rules.detector:
        return None
    translation = _Translation(
        Evaluation(rules, merge_headers(headers, rules.merge), str(path)), ""
    )
    value = translation.required("detector")
    if isinstance(value, float):
        return int(value)
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _identify(header: Mapping[str, Value], rules: HeaderRules, path: str, instrument: str) -> None:
    for key, patterns in rules.identify.items():
        value = header.get(key)
        if is_blank(value) or any(re.search(p, as_text(value), re.IGNORECASE) for p in patterns):
            continue
        raise RawError(
            f"{key} is {value!r}: this is not a file of {instrument}",
            file=path,
            hint="name the instrument that it belongs to: --instrument NAME",
        )


class _Translation:
    """One header on its way to an exposure record."""

    def __init__(self, evaluation: Evaluation, instrument: str) -> None:
        self.evaluation = evaluation
        self.instrument = instrument
        self.path = evaluation.path
        self.id: int | None = None

    def exposure(self) -> Exposure:
        begin = self._instant("begin")
        if begin is None:
            raise self._missing("begin", "begin time")
        # The id is mostly made of these two: a fault in them is best told as theirs.
        day_obs = self._integer("day_obs")
        if not _is_day(day_obs):
            raise self._error(f"{self._origin('day_obs')} gives {day_obs}, not a day YYYYMMDD")
        seq_num = self._integer("seq_num")
        self.id = self._integer("exposure")
        seconds = self._seconds("exposure_time")
        texts: dict[str, Any] = {name: self._text(name) for name in _TEXTS}
        observation_type = texts.pop("observation_type")
        if observation_type is None:
            raise self._missing("observation_type", "observation type")
        physical_filter = texts.pop("physical_filter") or "unknown"
        angles: dict[str, Any] = {name: self._angle(name) for name in _ANGLES}
        obs_id = self._text("obs_id")
        if obs_id is None:
            raise self._missing("obs_id", "observation id")
        return Exposure(
            instrument=self.instrument,
            exposure=self.id,
            obs_id=obs_id,
            day_obs=day_obs,
            seq_num=seq_num,
            timespan=self._timespan(begin, seconds),
            observation_type=observation_type,
            physical_filter=physical_filter,
            exposure_time=seconds,
            dark_time=self._dark_time(seconds),
            has_simulated=bool(self._logical("has_simulated")),
            can_see_sky=self._logical("can_see_sky"),
            **texts,
            **angles,
            extra={name: self._plain(f"extra.{name}") for name in self.evaluation.rules.extra},
        )

    def required(self, name: str) -> Value:
        """Return the value of a name that must have one."""
        value = self._plain(name)
        if value is None:
            raise self._missing(name, name.replace("_", " "))
        return value

    def _plain(self, name: str) -> Value:
        try:
            found = self.evaluation.find(name)
        except BadValueError as error:
            raise self._error(f"{name.removeprefix('extra.')}: {error}") from error
        return None if found is None else found.value

    def _integer(self, name: str) -> int:
        value = self.required(name)
        try:
            number = as_integer(value)
        except BadValueError as error:
            raise self._error(f"{self._origin(name)}: {error}") from error
        if not 0 <= number < 2**63:
            raise self._error(f"{self._origin(name)} gives {number}, out of range for {name}")
        return number

    def _seconds(self, name: str) -> float | None:
        value = self._plain(name)
        if value is None:
            blank = self.evaluation.blank_keywords(name)
            if blank:
                raise self._error(f"{blank[0]} is blank, so there is no {name.replace('_', ' ')}")
            return None
        try:
            number = float(as_number(value))
        except BadValueError as error:
            raise self._error(f"{self._origin(name)}: {error}") from error
        if number < 0:
            raise self._error(f"{self._origin(name)} is {number}, a negative time")
        return number

    def _dark_time(self, exposure_time: float | None) -> float | None:
        dark = self._seconds("dark_time")
        if exposure_time is None:
            return dark
        if dark is None:
            if self.evaluation.table["dark_time"]:
                logger.warning(
                    "%s: %s is missing: the exposure time, %s s, is taken as dark time",
                    self.path,
                    self._origin("dark_time"),
                    exposure_time,
                )
            return exposure_time
        if dark < exposure_time:
            logger.warning(
                "%s: the dark time, %s s, is less than the exposure time, %s s, which is taken "
                "instead",
                self.path,
                dark,
                exposure_time,
            )
            return exposure_time
        return dark

    def _angle(self, name: str) -> float | None:
        # Pointing decides nothing in a calibration, and biases often have none worth the name.
        try:
            value = self._plain(name)
            return None if value is None else float(as_number(value))
        except (BadValueError, RawError) as error:
            reason = error.message if isinstance(error, RawError) else str(error)
            logger.warning("%s: %s is left out: %s", self.path, name, reason)
            return None

    def _logical(self, name: str) -> bool | None:
        value = self._plain(name)
        if value is None:
            return None
        try:
            return as_logical(value)
        except BadValueError as error:
            raise self._error(f"{self._origin(name)}: {error}") from error

    def _text(self, name: str) -> str | None:
        value = self._plain(name)
        return None if value is None else as_text(value)

    def _instant(self, name: str) -> int | None:
        try:
            return self.evaluation.instant(name)
        except BadValueError as error:
            raise self._error(f"{self._origin(name)}: {error}") from error

    def _timespan(self, begin: int, seconds: float | None) -> Timespan:
        end = self._instant("end")
        if end is None:
            end = begin + round((seconds or 0.0) * SECOND)
        if end < begin:
            logger.warning(
                "%s: the exposure ends (%s) before it begins (%s): taken as instantaneous",
                self.path,
                isoformat(end),
                isoformat(begin),
            )
            end = begin
        try:
            return Timespan(begin, end)
        except ValueError as error:
            raise self._error(f"an exposure time of {seconds} s cannot be: {error}") from error

    def _origin(self, name: str) -> str:
        """Return where a value comes from, for messages."""
        return self.evaluation.origin(name) or name

    def _error(self, message: str, hint: str = _MEND) -> RawError:
        return RawError(message, file=self.path, exposure=self.id, hint=hint)

    def _missing(self, name: str, shown: str) -> RawError:
        blank = self.evaluation.blank_keywords(name)
        keywords = " or ".join(self.evaluation.keywords(name))
        if blank:
            return self._error(f"{blank[0]} is blank, so there is no {shown}")
        tried = f" ({keywords} is missing or not as expected)" if keywords else ""
        parts = self.evaluation.known_parts(name)
        made_of = f" from {', '.join(f'{k} {v}' for k, v in parts.items())}" if parts else ""
        return self._error(
            f"the header gives no {shown}{made_of}{tried}",
            f"mend the header, or give the instrument file another rule for {name}",
        )


def _is_day(number: int) -> bool:
    try:
        date(number // 10000, number // 100 % 100, number % 100)
    except ValueError:
        return False
    return True
