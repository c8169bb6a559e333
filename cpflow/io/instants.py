"""Times in headers: ISO texts and Julian dates to TAI nanoseconds, and back to a clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from cpflow.io.cards import Value
from cpflow.io.values import BadValueError, as_number, as_text
from cpflow.timespan import from_iso, from_mjd, tai_to_utc

_TT_MINUS_TAI: Final = 32_184_000_000
_JD_MINUS_MJD: Final = Decimal("2400000.5")
_MICROSECOND: Final = 1_000
_EPOCH: Final = datetime(1970, 1, 1)  # in the time scale of the header


def parse_instant(value: Value, scale: str, form: str | None = None) -> int:
    """Return a header's time in TAI nanoseconds.

    A Julian date is rounded to a microsecond: as a float it is not known better than that.

    Parameters
    ----------
    value : str or number
    scale : {'utc', 'tai', 'tt'}
    form : {'iso', 'mjd', 'jd'}, optional
        By default a number is a modified Julian date, a text an ISO date.

    Raises
    ------
    BadValueError
        If it is not such a time.
    """
    try:
        if form is None:
            form = "iso" if isinstance(value, str) else "mjd"
        if form == "iso":
            return from_iso(as_text(value), scale)
        days = Decimal(repr(as_number(value)))
        if form == "jd":
            days -= _JD_MINUS_MJD
        return round(from_mjd(str(days), scale) / _MICROSECOND) * _MICROSECOND
    except BadValueError:
        raise
    except ValueError as error:
        raise BadValueError(str(error)) from None


def clock(tai: int, scale: str, shift_hours: float = 0.0) -> datetime:
    """Return what a clock in `scale` shows, to the microsecond."""
    ns = tai + _TT_MINUS_TAI if scale == "tt" else tai_to_utc(tai) if scale == "utc" else tai
    return _EPOCH + timedelta(microseconds=ns // _MICROSECOND, hours=shift_hours)
