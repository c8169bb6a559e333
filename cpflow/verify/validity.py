"""For how long a product holds, by verifying it with exposures of other nights (verification 5.3).

Nights are walked through from those that the product was made from, in both directions, until it
fails for several nights, the camera changes, or nothing was tested for too long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.options import Options


class ValidityOptions(Options):
    """When a night passes, and where the walk ends."""

    pass_fraction: float = 0.8
    """Exposures of a night that have to pass."""
    min_exposures: int = 2
    """A night with fewer exposures is not tested."""
    max_bad_nights: int = 2
    """So many failing nights one after the other end the range."""
    max_gap_days: int = 30
    """A longer time without a tested night ends the range."""
    open_end: bool = False
    """Leave the end open where nothing ends the range."""


@dataclass(frozen=True, slots=True)
class Night:
    """What a night of exposures says.

    Parameters
    ----------
    day_obs : int
        Its observing day, YYYYMMDD.
    exposures, passed : int
    verdict : str
        "pass", "fail", or "untested" with too few exposures.
    failed_tests : mapping of str to int
        In how many exposures each test failed.
    construction : bool
        Whether the product was made from exposures of this night.
    changed : tuple of str
        What of the camera's state differs from that of the construction.
    """

    day_obs: int
    exposures: int
    passed: int
    verdict: str
    failed_tests: Mapping[str, int]
    construction: bool
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Range:
    """The nights for which a product is proposed, both included, and why it ends where it does.

    `first` and `last` are None where no night passes; `open_end` means that nothing ended it.
    """

    first: int | None
    last: int | None
    open_end: bool
    reason_before: str
    reason_after: str
    gaps: tuple[tuple[int, int], ...] = ()
    """Nights between which nothing was tested for more than a week, inside the range."""


def nights(
    table: Mapping[str, Any],
    days: Mapping[int, int],
    construction: Iterable[int],
    options: ValidityOptions,
    changed: Mapping[int, Sequence[str]] | None = None,
) -> tuple[Night, ...]:
    """Judge each night of a verification.

    Parameters
    ----------
    table : mapping
        Columns `exposure`, `test`, `severity` and `verdict` of a verification, waivers applied.
        Rows that are not of an exposure do not count.
    days : mapping of int to int
        The observing day of each exposure that was verified.
    construction : iterable of int
        Exposures that the product was made from.
    options : ValidityOptions
    changed : mapping of int to sequence of str, optional
        By exposure, what of the camera's state differs from that of the construction.

    Returns
    -------
    tuple of Night
        In order.
    """
    required = np.asarray(table["severity"]) == "required"
    failed = required & np.isin(table["verdict"], ("fail", "no_data"))
    failures: dict[int, set[str]] = {exposure: set() for exposure in days}
    for exposure, test in zip(
        np.asarray(table["exposure"])[failed], np.asarray(table["test"])[failed], strict=True
    ):
        if int(exposure) in failures:
            failures[int(exposure)].add(str(test))
    made_from = set(construction)
    found = []
    for day in sorted(set(days.values())):
        own = [exposure for exposure, of_day in days.items() if of_day == day]
        passed = sum(not failures[exposure] for exposure in own)
        verdict = "pass" if passed >= options.pass_fraction * len(own) else "fail"
        if len(own) < options.min_exposures:
            verdict = "untested"
        tests = Counter(test for exposure in own for test in failures[exposure])
        differs = sorted({name for e in own for name in (changed or {}).get(e, ())})
        found.append(
            Night(
                day,
                len(own),
                passed,
                verdict,
                dict(tests.most_common()),
                any(exposure in made_from for exposure in own),
                tuple(differs),
            )
        )
    return tuple(found)


def valid_range(
    found: Sequence[Night], construction_days: Sequence[int], options: ValidityOptions
) -> Range:
    """Propose the nights for which a product holds.

    Parameters
    ----------
    found : sequence of Night
    construction_days : sequence of int
        Observing days of the exposures that it was made from; the walk begins there.
    options : ValidityOptions
    """
    start = min(construction_days), max(construction_days)
    inside = [n for n in found if start[0] <= n.day_obs <= start[1]]
    after = [n for n in found if n.day_obs > start[1]]
    before = [n for n in reversed(found) if n.day_obs < start[0]]
    last, reason_after = _walk(start[1], after, options)
    first, reason_before = _walk(start[0], before, options)
    tested = [n for n in inside if n.verdict != "untested"]
    if tested and not any(n.verdict == "pass" for n in tested):
        reason = f"it fails in the nights that it was made from: {_tests(tested[0])}"
        return Range(None, None, False, reason, reason)
    kept = [n.day_obs for n in found if first <= n.day_obs <= last and n.verdict == "pass"]
    days = sorted({*kept, *start})
    gaps = tuple((a, b) for a, b in pairwise(days) if _days(a, b) > 7)
    return Range(
        first, last, options.open_end and not reason_after, reason_before, reason_after, gaps
    )


def _walk(start: int, outward: Sequence[Night], options: ValidityOptions) -> tuple[int, str]:
    """Return the last night that is reached, and what ended the walk; empty if nothing did."""
    reached = tested = start
    bad: list[Night] = []
    for night in outward:
        if night.changed:
            return reached, f"the camera changed by {night.day_obs}: {', '.join(night.changed)}"
        if night.verdict == "untested":
            continue
        gap = _days(tested, night.day_obs)
        if gap > options.max_gap_days:
            return reached, f"nothing was tested for {gap} days from {tested} to {night.day_obs}"
        tested = night.day_obs
        if night.verdict == "pass":
            reached, bad = night.day_obs, []
            continue
        bad.append(night)
        if len(bad) >= options.max_bad_nights:
            return reached, f"it fails from {bad[0].day_obs} on: {_tests(bad[0])}"
    if bad:
        return reached, f"it fails in the last night, {bad[0].day_obs}: {_tests(bad[0])}"
    return reached, ""


def _tests(night: Night) -> str:
    return ", ".join(f"{test} in {n}" for test, n in night.failed_tests.items()) or "too few pass"


def _days(a: int, b: int) -> int:
    return abs((day_of(b) - day_of(a)).days)


def day_of(day_obs: int) -> date:
    """Return an observing day YYYYMMDD as a date; controllers may add thousands of years.

    Raises
    ------
    ValueError
        If it is no date.
    """
    return date(day_obs // 10000, day_obs // 100 % 100, day_obs % 100)


def trend(mjd: npt.ArrayLike, value: npt.ArrayLike, error: npt.ArrayLike) -> tuple[float, float]:
    """Fit a straight line to a statistic; return its slope per day and the error of that.

    The error is the larger of what the errors say and what the scatter about the line says; NaN
    with fewer than three values.
    """
    t, y, e = (np.asarray(x, np.float64) for x in (mjd, value, error))
    known = np.isfinite(t) & np.isfinite(y)
    t, y, e = t[known], y[known], e[known]
    if t.size < 3 or np.ptp(t) == 0:
        return float("nan"), float("nan")
    x = t - t.mean()
    power = float(x @ x)
    slope = float(x @ y) / power
    residual = y - y.mean() - slope * x
    scatter = np.sqrt(float(residual @ residual) / (t.size - 2) / power)
    stated = np.sqrt(np.nansum((x * e) ** 2)) / power
    return slope, float(max(scatter, stated))
