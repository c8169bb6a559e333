"""What the page of a verification shows, as compact JSON: rows by column, names by number."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from cpflow.report.verified import Verified, summary_of

# A browser filters and sorts so many at once; more are too many for a page, too.
MOST_ROWS = 60_000
# Of what fails, where not everything is shown.
_MOST_FAILURES = 20_000
_VERDICTS = ("", "pass", "informational", "waived", "no_data", "fail")
_SEVERITIES = ("", "required", "informational")
_NUMBERS = {"value": "x", "error": "d", "low": "l", "high": "h", "margin": "m"}

Columns = Mapping[str, npt.NDArray[Any]]


Name = TypeVar("Name", bound=Hashable)
Spec = tuple[str, str, str]


@dataclass
class Numbering(Generic[Name]):
    """Numbers names in the order in which they come."""

    names: dict[Name, int] = field(default_factory=dict)

    def of(self, names: Iterable[Name]) -> npt.NDArray[np.int64]:
        """Return the number of each name."""
        known = self.names
        return np.array([known.setdefault(name, len(known)) for name in names], np.int64)


@dataclass
class JudgedTest:
    """How one test of one product did over the run."""

    product: str
    test: str
    severity: str
    units: str
    counts: Counter[str] = field(default_factory=Counter)
    low: tuple[float, float] = (math.nan, math.nan)
    """Smallest and largest that was applied."""
    high: tuple[float, float] = (math.nan, math.nan)
    worst: Mapping[str, Any] = field(default_factory=dict)
    """The row with the smallest margin."""
    places: set[tuple[Any, str]] = field(default_factory=set)
    """Detectors and amplifiers where it is open."""
    exposures: set[int] = field(default_factory=set)
    """Where it is open."""


@dataclass
class Collected:
    """Verifications of a run, read one after the other.

    `complete` is whether all rows are kept; otherwise only those that fail, and for each detector
    the worst row of each test by amplifier, and by exposure.
    """

    units: list[dict[str, Any]] = field(default_factory=list)
    tests: dict[tuple[str, str], JudgedTest] = field(default_factory=dict)
    exposures: dict[int, dict[str, Any]] = field(default_factory=dict)
    complete: bool = True
    count: int = 0
    _kept: list[tuple[int, Columns]] = field(default_factory=list)
    _amps: Numbering[str] = field(default_factory=Numbering)
    _specs: Numbering[Spec] = field(default_factory=Numbering)
    _numbers: Numbering[int] = field(default_factory=Numbering)
    _by_amp: list[list[float | int | None]] = field(default_factory=list)
    _by_exposure: list[list[float | int | None]] = field(default_factory=list)

    def add(self, one: Verified, amplifiers: Sequence[str], name: str) -> None:
        """Read a verification of a detector, whose amplifiers and name are given."""
        unit = len(self.units)
        construction = sorted(one.construction or ())
        self.units.append(
            {**summary_of(one), "amps": list(amplifiers), "name": name, "inside": construction}
        )
        self.count += len(one.columns["test"])
        self._note_tests(one)
        self._note_exposures(one)
        self._note_cells(unit, one.columns)
        self._kept.append((unit, one.columns if self.complete else _notable(one.columns)))
        if self.complete and self.count > MOST_ROWS:
            self.complete = False
            self._kept = [(i, _notable(columns)) for i, columns in self._kept]

    def _note_tests(self, one: Verified) -> None:
        columns = one.columns
        for test in dict.fromkeys(columns["test"].tolist()):
            if not test:
                continue
            own = columns["test"] == test
            first = int(np.argmax(own))
            found = self.tests.setdefault(
                (one.candidate.product, test),
                JudgedTest(one.candidate.product, test, "", ""),
            )
            # Another severity is an override, and rows without data have no units.
            if "required" in columns["severity"][own]:
                found.severity = "required"
            found.severity = found.severity or str(columns["severity"][first])
            units = Counter(columns["units"][own].tolist()).most_common(1)[0][0]
            found.units = found.units if found.units not in ("", "1") else units
            found.counts.update(columns["verdict"][own].tolist())
            found.low = _span(found.low, columns["low"][own])
            found.high = _span(found.high, columns["high"][own])
            margin = np.where(own & ~np.isnan(columns["margin"]), columns["margin"], np.inf)
            worst = int(np.argmin(margin))
            if margin[worst] < found.worst.get("margin", math.inf):
                found.worst = {
                    **{name: values[worst].item() for name, values in columns.items()},
                    "detector": one.ref.data_id.detector,
                    "filter": one.ref.data_id.physical_filter,
                }
            for i in np.intersect1d(np.flatnonzero(own), one.open_rows):
                found.places.add((one.ref.data_id.detector, str(columns["amp"][i])))
                found.exposures.add(int(columns["exposure"][i]))

    def _note_exposures(self, one: Verified) -> None:
        columns = one.columns
        numbers, first, inverse = np.unique(
            columns["exposure"], return_index=True, return_inverse=True
        )
        required = columns["severity"] == "required"
        for i, number in enumerate(numbers):
            if number < 0:
                continue
            own = inverse == i
            found = self.exposures.setdefault(
                int(number),
                {
                    "exposure": int(number),
                    "day_obs": int(columns["day_obs"][first[i]]),
                    "mjd": float(columns["mjd"][first[i]]),
                    "construction": False,
                    "counts": Counter(),
                    "worst": math.inf,
                },
            )
            found["construction"] |= bool(columns["construction"][first[i]])
            found["counts"].update(columns["verdict"][own & required].tolist())
            margin = columns["margin"][own & required]
            if margin.size and not np.isnan(margin).all():
                found["worst"] = min(found["worst"], float(np.nanmin(margin)))

    def _note_cells(self, unit: int, columns: Columns) -> None:
        tested = np.flatnonzero(columns["test"] != "")
        amps = self._amps.of(columns["amp"][tested].tolist())
        specs = self._specs.of(_specs(columns, tested))
        numbers = self._numbers.of(columns["exposure"][tested].tolist())
        worst = {"margin": columns["margin"][tested], "rank": ranks(columns)[tested]}
        self._by_amp += [[unit, *cell] for cell in cells(amps, specs, **worst)]
        self._by_exposure += [[unit, *cell] for cell in cells(numbers, specs, **worst)]

    def payload(self) -> str:
        """Return all of it as JSON that may stand within a script element."""
        rows: dict[str, list[str]] = {name: [] for name in (*"ueaswyv", *_NUMBERS.values())}
        waivers = Numbering[str]({"": 0})
        for unit, columns in self._limited():
            n = len(columns["test"])
            every = np.arange(n)
            numbered = {
                "u": np.full(n, unit),
                "e": self._numbers.of(columns["exposure"].tolist()),
                "a": self._amps.of(columns["amp"].tolist()),
                "s": self._specs.of(_specs(columns, every)),
                "w": waivers.of(columns["waiver"].tolist()),
                "y": np.array([_SEVERITIES.index(s) for s in columns["severity"]], np.int64),
                "v": np.array([_VERDICTS.index(v) for v in columns["verdict"]], np.int64),
            }
            for name, numbers in numbered.items():
                rows[name] += map(str, numbers.tolist())
            for column, name in _NUMBERS.items():
                rows[name] += map(number_text, columns[column].tolist())
        listed = ",".join(f'"{name}":[{",".join(values)}]' for name, values in rows.items())
        known = self.exposures
        head = {
            "complete": self.complete,
            "count": self.count,
            "verdicts": _VERDICTS,
            "severities": _SEVERITIES,
            "exposures": [
                [e, known[e]["day_obs"], round(known[e]["mjd"], 6)] if e in known else [e, -1, 0]
                for e in self._numbers.names
            ],
            "amps": list(self._amps.names),
            "specs": list(self._specs.names),
            "required": [
                any(one.severity == "required" for one in self.tests.values() if one.test == test)
                for _, test, _ in self._specs.names
            ],
            "waivers": [name[:8] for name in waivers.names],
            "units": [
                {
                    **{k: one[k] for k in ("label", "product", "filter", "detector", "verdict")},
                    **{k: one[k] for k in ("name", "amps", "run")},
                    "inside": [
                        self._numbers.names[e] for e in one["inside"] if e in self._numbers.names
                    ],
                }
                for one in self.units
            ],
            "cells": None
            if self.complete
            else {"amp": self._by_amp, "exposure": self._by_exposure},
        }
        text = json.dumps(head, separators=(",", ":"), allow_nan=False)
        # Within a script element nothing may look like markup.
        return f'{text[:-1]},"rows":{{{listed}}}}}'.replace("<", "\\u003c")

    def _limited(self) -> Sequence[tuple[int, Columns]]:
        total = sum(len(columns["test"]) for _, columns in self._kept)
        if self.complete or total <= _MOST_FAILURES:
            return self._kept
        margins = np.concatenate([_or_least(columns["margin"]) for _, columns in self._kept])
        chosen = np.zeros(total, bool)
        chosen[np.argsort(margins, kind="stable")[:_MOST_FAILURES]] = True
        ends = np.cumsum([len(columns["test"]) for _, columns in self._kept])
        parts = np.split(chosen, ends[:-1])
        return [
            (unit, {name: values[part] for name, values in columns.items()})
            for (unit, columns), part in zip(self._kept, parts, strict=True)
        ]


def ranks(columns: Columns) -> npt.NDArray[np.int64]:
    """Return how bad each row is: 0 passes, 1 informational and outside, 2 waived, 3, 4 fails."""
    verdict, margin = columns["verdict"], columns["margin"]
    found = np.zeros(len(verdict), np.int64)
    found[(verdict == "informational") & (margin < 0)] = 1
    for rank, name in ((2, "waived"), (3, "no_data"), (4, "fail")):
        found[verdict == name] = rank
    return found


def cells(
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    margin: npt.NDArray[np.float64],
    rank: npt.NDArray[np.int64],
) -> list[list[float | int | None]]:
    """Return for each pair of numbers the worst row: pair, margin or None, rank, rows, open rows.

    The worst is the one with the highest rank; of these, that with the smallest margin.
    """
    order = np.lexsort((_or_least(margin), -rank, second, first))
    a, b, m, r = first[order], second[order], margin[order], rank[order]
    if not a.size:
        return []
    begins = np.flatnonzero(np.r_[True, (np.diff(a) != 0) | (np.diff(b) != 0)])
    ends = np.r_[begins[1:], a.size]
    return [
        [
            int(a[i]),
            int(b[i]),
            None if math.isnan(m[i]) else float(f"{max(min(m[i], 99.0), -99.0):.3g}"),
            int(r[i]),
            int(end - i),
            int((r[i:end] >= 3).sum()),
        ]
        for i, end in zip(begins, ends, strict=True)
    ]


def number_text(value: float) -> str:
    """Return a number as JSON; what is infinite is read as such, what is unknown as null.

    >>> number_text(float("inf")), number_text(float("nan")), number_text(1 / 3)
    ('1e999', 'null', '0.333333')
    """
    if math.isnan(value):
        return "null"
    if math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    return format(value, ".6g")


def _specs(columns: Columns, chosen: npt.NDArray[np.intp]) -> list[Spec]:
    names = (columns[name][chosen].tolist() for name in ("statistic", "test", "units"))
    return list(zip(*names, strict=True))


def _notable(columns: Columns) -> Columns:
    """Return the rows of what is not well."""
    chosen = ranks(columns) >= 2
    return {name: values[chosen] for name, values in columns.items()}


def _or_least(margin: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return margins in which those that are not known come first."""
    return np.where(np.isnan(margin), -np.inf, margin)


def _span(known: tuple[float, float], more: npt.NDArray[np.float64]) -> tuple[float, float]:
    values = np.concatenate([known, more])
    finite = values[~np.isnan(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else known
