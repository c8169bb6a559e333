"""Limits of tests: what a statistic may be, how much its own noise excuses, who is exempt.

A test fails where its statistic is beyond a limit by more than its own error explains: a limit says
what matters to the instrument, an error says what the exposures can tell. So a threshold holds for
few pixels and for many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import ConfigDict, model_validator

from cpflow.options import Options

Severity = Literal["required", "informational", "off"]


class Limit(Options):
    """What one statistic may be.

    A statistic passes from `low` to `high`, both included, each moved outwards by `sigma` times
    the statistic's own error. A bound that is None does not exist.
    """

    low: float | None = None
    high: float | None = None
    sigma: float = 0.0
    severity: Severity = "required"

    @model_validator(mode="after")
    def _ordered(self) -> Limit:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low={self.low} is above high={self.high}")
        if self.sigma < 0:
            raise ValueError("sigma is zero or more")
        return self


class Override(Options):
    """Another limit for some detectors or amplifiers of a camera.

    What is None is as for all others; `detector` and `amp` that are None mean all.
    """

    test: str
    detector: int | None = None
    amp: str | None = None
    low: float | None = None
    high: float | None = None
    sigma: float | None = None
    severity: Severity | None = None

    def holds(self, test: str, detector: int, amp: str) -> bool:
        """Whether it is about this test of this amplifier."""
        return (
            self.test == test
            and self.detector in (None, detector)
            and (self.amp is None or self.amp == amp)
        )


class Limits(Options):
    """Base of the limits of a product: each field is a `Limit`, under the name of its test."""

    # What is written under a test is shown in reports.
    model_config = ConfigDict(use_attribute_docstrings=True)

    overrides: tuple[Override, ...] = ()

    def limit(self, test: str, detector: int, amp: str = "") -> Limit:
        """Return the limit of a test for an amplifier, or for a detector.

        Parameters
        ----------
        test : str
            In capitals, as "NOISE".
        detector : int
        amp : str
            Empty for the detector.
        """
        limit: Limit = getattr(self, test.lower())
        for override in self.overrides:
            if override.holds(test, detector, amp):
                changed = override.model_dump(
                    exclude_none=True, exclude={"test", "detector", "amp"}
                )
                limit = Limit.model_validate({**limit.model_dump(), **changed})
        return limit

    @model_validator(mode="after")
    def _known(self) -> Limits:
        names = sorted(name.upper() for name in type(self).model_fields if name != "overrides")
        for override in self.overrides:
            if override.test not in names:
                raise ValueError(
                    f"an override is of the test {override.test!r}; tests are {', '.join(names)}"
                )
        return self


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a statistic did: the bounds as they were applied, the margin, and the verdict."""

    low: float
    high: float
    margin: float
    verdict: str


def judge(value: float, error: float, limit: Limit) -> Judgement:
    """Judge a statistic.

    Parameters
    ----------
    value : float
        NaN where there is nothing to judge: `no_data`.
    error : float
        Its standard deviation; NaN where it is not known, which excuses nothing.
    limit : Limit

    Returns
    -------
    Judgement
        Bounds are NaN where there are none. The margin is 1 at the ideal and 0 at a bound: the
        middle of two bounds, zero for a single one. Where a single bound is zero or on the wrong
        side of it, the margin is the distance from the bound in units of the widening.
    """
    widening = limit.sigma * (error if math.isfinite(error) else 0.0)
    low = math.nan if limit.low is None else limit.low - widening
    high = math.nan if limit.high is None else limit.high + widening
    if not math.isfinite(value):
        return Judgement(low, high, math.nan, "no_data")
    verdict = "fail" if value < low or value > high else "pass"
    if limit.severity == "informational":
        verdict = "informational"
    return Judgement(low, high, _margin(value, low, high), verdict)


def _margin(value: float, low: float, high: float) -> float:
    if math.isnan(low) and math.isnan(high):
        return math.nan
    if not math.isnan(low) and not math.isnan(high):
        middle, half = (low + high) / 2, (high - low) / 2
        if half > 0:
            return 1 - abs(value - middle) / half
        return 1.0 if value == middle else -math.inf
    if math.isnan(low):
        # The ideal is zero; a statistic below it is as good.
        return min(1.0, 1 - value / high) if high > 0 else high - value
    return min(1.0, value / low - 1) if low > 0 else value - low
