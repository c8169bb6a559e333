"""What a header value means as a number, a logical or a text."""

from __future__ import annotations

import math

from cpflow.io.cards import Value


class BadValueError(ValueError):
    """A value that is not what a field needs."""


def is_blank(value: Value) -> bool:
    """Whether a keyword is there without saying anything."""
    return value is None or (isinstance(value, str) and not value.strip())


def as_number(value: Value) -> float | int:
    """Return a finite number.

    Raises
    ------
    BadValueError
        If the value is not one.
    """
    if isinstance(value, bool) or value is None:
        raise BadValueError(f"{value!r} is not a number")
    if isinstance(value, str):
        text = value.strip()
        try:
            value = int(text) if text.lstrip("+-").isdecimal() else float(text.replace("_", "?"))
        except ValueError:
            raise BadValueError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise BadValueError(f"{value} is not a finite number")
    return value


def as_integer(value: Value) -> int:
    """Return a whole number.

    Raises
    ------
    BadValueError
        If the value is not one.
    """
    number = as_number(value)
    if number != int(number):
        raise BadValueError(f"{number} is not a whole number")
    return int(number)


def as_logical(value: Value) -> bool:
    """Return a logical.

    Raises
    ------
    BadValueError
        If the value is not one.
    """
    if isinstance(value, bool):
        return value
    known = {"t": True, "true": True, "yes": True, "1": True}
    known |= {"f": False, "false": False, "no": False, "0": False}
    found = known.get(str(value).strip().lower())
    if found is None:
        raise BadValueError(f"{value!r} is neither true nor false")
    return found


def as_text(value: Value) -> str:
    """Return a value as text without outer blanks."""
    return str(value).strip()
