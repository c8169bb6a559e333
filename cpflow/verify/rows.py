"""The tidy table of a verification: one row for each statistic of each amplifier and exposure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.exposure import Exposure
from cpflow.stack import Column, tabulate
from cpflow.verify.limits import Judgement, Limit, Limits, judge

if TYPE_CHECKING:
    import xarray as xr

_NOTHING = Judgement(math.nan, math.nan, math.nan, "")
_NS_PER_DAY = 86_400_000_000_000
# TAI nanoseconds are counted from 1970; that instant as a modified Julian date.
_MJD_OF_1970 = 40587.0
_TEXT = "U40"
COLUMNS = {
    "exposure": "int64",
    "day_obs": "int64",
    "mjd": "float64",
    "amp": _TEXT,
    "statistic": _TEXT,
    "test": _TEXT,
    "value": "float64",
    "error": "float64",
    "units": _TEXT,
    "low": "float64",
    "high": "float64",
    "margin": "float64",
    "severity": _TEXT,
    "verdict": _TEXT,
}


@dataclass(frozen=True, slots=True)
class Of:
    """What a row is about: an exposure or the whole run, an amplifier or the whole detector."""

    exposure: int = -1
    day_obs: int = -1
    mjd: float = math.nan
    amp: str = ""

    @classmethod
    def exposed(cls, exposure: Exposure, amp: str = "") -> Of:
        """Return what is about an exposure."""
        span = exposure.timespan
        mjd = math.nan
        if span.begin is not None and span.end is not None:
            mjd = _MJD_OF_1970 + (span.begin + (span.end - span.begin) / 2) / _NS_PER_DAY
        return cls(exposure.exposure, exposure.day_obs, mjd, amp)


@dataclass
class Rows:
    """Rows of a verification in the making.

    Parameters
    ----------
    limits : Limits
        What is judged by.
    detector : int
    """

    limits: Limits
    detector: int
    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def record(
        self, of: Of, statistic: str, value: float, units: str, error: float = math.nan
    ) -> None:
        """Add a statistic that no test looks at."""
        self._add(of, statistic, "", value, units, error, "", _NOTHING)

    def test(
        self,
        of: Of,
        test: str,
        value: float,
        units: str,
        error: float = math.nan,
        *,
        statistic: str = "",
        limit: Limit | None = None,
    ) -> None:
        """Judge a statistic and add it.

        Parameters
        ----------
        of : Of
        test : str
            Its name; a field of the tests in lower case.
        value, error : float
        units : str
        statistic : str
            What is judged; by default it is called as the test is.
        limit : Limit, optional
            Instead of the configured one, where it depends on the exposure.
        """
        if limit is None:
            limit = self.limits.limit(test, self.detector, of.amp)
        if limit.severity == "off":
            self._add(of, statistic or test, "", value, units, error, "", _NOTHING)
            return
        judgement = judge(value, error, limit)
        self._add(of, statistic or test, test, value, units, error, limit.severity, judgement)

    def _add(
        self,
        of: Of,
        statistic: str,
        test: str,
        value: float,
        units: str,
        error: float,
        severity: str,
        judgement: Judgement,
    ) -> None:
        self.rows.append(
            (
                of.exposure,
                of.day_obs,
                of.mjd,
                of.amp,
                statistic,
                test,
                float(value),
                float(error),
                units,
                judgement.low,
                judgement.high,
                judgement.margin,
                severity,
                judgement.verdict,
            )
        )

    def table(self) -> dict[str, npt.NDArray[Any]]:
        """Return the columns."""
        columns: Sequence[Sequence[Any]] = list(zip(*self.rows, strict=True)) or [()] * len(COLUMNS)
        return {
            name: np.array(column, dtype)
            for (name, dtype), column in zip(COLUMNS.items(), columns, strict=True)
        }


def tabulated(table: Any, count: int) -> xr.Dataset:
    """Return a delayed table of so many rows as a lazy dataset."""
    columns = {name: Column(("row",), dtype, {}) for name, dtype in COLUMNS.items()}
    return tabulate(table, columns, {"row": count}, {})


def count_rows(fill: Callable[[], Rows]) -> int:
    """Return how many rows a verification will have: those that it has without any measurement."""
    return len(fill().rows)
