"""For how long a product holds, as a person looks at it: nights, dates, metrics against time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.exposure import Exposure
from cpflow.report.pictures import png_bytes, save
from cpflow.report.verification import verification_report
from cpflow.timespan import isoformat, parse_date
from cpflow.verify.rows import COLUMNS
from cpflow.verify.validity import (
    Night,
    Range,
    ValidityOptions,
    day_of,
    nights,
    trend,
    valid_range,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cpflow.registry import DatasetRef
    from cpflow.repo import Repository
    from cpflow.scheduler import Run

_COLOURS = {"pass": "#009E73", "fail": "#D55E00", "untested": "0.6"}
_PANELS = 6


@dataclass(frozen=True)
class Validity:
    """For how long a product holds.

    Parameters
    ----------
    product : str
        What was verified, and from which run.
    run : str
        The RUN of the verification.
    nights : tuple of Night
    range : Range
    begin, end : str or None
        Proposed dates, TAI, half-open; None is open. Both None where no night passes.
    trends : mapping of str to (float, float)
        Of each statistic, by amplifier averages: slope per day and its error.
    table : mapping
        Columns of the verification.
    """

    product: str
    run: str
    nights: tuple[Night, ...]
    range: Range
    begin: str | None
    end: str | None
    trends: Mapping[str, tuple[float, float]]
    table: Mapping[str, npt.NDArray[Any]] = field(repr=False)

    def __repr__(self) -> str:
        if self.range.first is None:
            return f"<Validity of {self.product}: none, {self.range.reason_before}>"
        tested = sum(night.verdict != "untested" for night in self.nights)
        return (
            f"<Validity of {self.product}: [{self.begin or 'open'}, {self.end or 'open'}) from "
            f"{tested} nights>"
        )

    def lines(self) -> list[str]:
        """Return what a person reads: each night, the proposal, and why it ends there."""
        out = []
        for night in self.nights:
            note = " (made from it)" if night.construction else ""
            if night.changed:
                note += f" (the camera differs: {', '.join(night.changed)})"
            tests = ", ".join(f"{name} in {n}" for name, n in night.failed_tests.items())
            out.append(
                f"{night.day_obs}  {night.verdict:8}  {night.passed} of {night.exposures} pass"
                f"{note}{': ' + tests if tests else ''}"
            )
        if self.range.first is None:
            out.append(f"proposed: nothing; {self.range.reason_before}")
            return out
        out.append(f"proposed: --begin-date {self.begin} --end-date {self.end or '(open)'}")
        out.append(f"before: {self.range.reason_before or 'nothing fails, nothing else is tested'}")
        out.append(f"after: {self.range.reason_after or 'nothing fails, nothing else is tested'}")
        for a, b in self.range.gaps:
            out.append(f"note: nothing was tested between {a} and {b}")
        return out

    def as_dict(self) -> dict[str, Any]:
        """Return all of it but the table, as plain data."""
        return {
            "product": self.product,
            "run": self.run,
            "begin": self.begin,
            "end": self.end,
            "first": self.range.first,
            "last": self.range.last,
            "reason_before": self.range.reason_before,
            "reason_after": self.range.reason_after,
            "gaps": [list(gap) for gap in self.range.gaps],
            "nights": [
                {
                    "day_obs": n.day_obs,
                    "exposures": n.exposures,
                    "passed": n.passed,
                    "verdict": n.verdict,
                    "failed_tests": dict(n.failed_tests),
                    "construction": n.construction,
                    "changed": list(n.changed),
                }
                for n in self.nights
            ],
            "trends": {name: {"per_day": s, "error": e} for name, (s, e) in self.trends.items()},
        }

    @property
    def figure(self) -> Figure:
        """The statistics that were tested against time: median and range of the amplifiers."""
        return validity_figure(self)

    def save(self, path: str | Path) -> None:
        """Write the figure as PNG, SVG or PDF."""
        save(self.figure, Path(path))

    def _repr_html_(self) -> str:
        import base64

        picture = base64.b64encode(png_bytes(self.figure)).decode()
        text = escape("\n".join(self.lines()))
        return f'<pre>{text}</pre><img src="data:image/png;base64,{picture}">'


def assess(
    product: str,
    run: str,
    table: Mapping[str, npt.NDArray[Any]],
    exposures: Sequence[Exposure],
    construction: Sequence[Exposure],
    options: ValidityOptions,
) -> Validity:
    """Propose for how long a product holds.

    Parameters
    ----------
    product, run : str
        For the reader.
    table : mapping
        Columns of a verification, waivers applied.
    exposures : sequence of Exposure
        Those that were verified.
    construction : sequence of Exposure
        Those that the product was made from.
    options : ValidityOptions
    """
    made_from = [e.exposure for e in construction]
    differs = {e.exposure: changed_state(e, construction) for e in exposures}
    days = {e.exposure: e.day_obs for e in exposures}
    found = nights(table, days, made_from, options, differs)
    proposed = valid_range(found, [e.day_obs for e in construction], options)
    begin = end = None
    if proposed.first is not None and proposed.last is not None:
        every = [*exposures, *construction]
        begin = isoformat(_night_bound(proposed.first, every, 0))
        end = None if proposed.open_end else isoformat(_night_bound(proposed.last, every, 1))
    return Validity(product, run, found, proposed, begin, end, _trends(table), table)


def changed_state(exposure: Exposure, construction: Sequence[Exposure]) -> tuple[str, ...]:
    """Return which settings of the camera an exposure has that no exposure of `construction` has.

    Settings are what the instrument file keeps of the header; numbers that are within 1 % are the
    same.
    """
    names = []
    for name, value in exposure.extra.items():
        known = {e.extra.get(name) for e in construction} - {None}
        if value is None or not known or value in known:
            continue
        if isinstance(value, float) and any(
            isinstance(k, int | float) and abs(k - value) <= 0.01 * abs(value) for k in known
        ):
            continue
        names.append(name)
    return tuple(sorted(names))


def _night_bound(day_obs: int, exposures: Sequence[Exposure], after: int) -> int:
    """Return noon of an observing day, or of the next; midnight if exposures are not between."""
    day = day_of(day_obs)
    noon = [
        parse_date(datetime.combine(day + timedelta(days=d), time(12)).isoformat()).tai
        for d in (0, 1)
    ]
    own = [e.timespan for e in exposures if e.day_obs == day_obs]
    if all(
        span.begin is not None
        and span.end is not None
        and noon[0] <= span.begin
        and span.end <= noon[1]
        for span in own
    ):
        return noon[after]
    return parse_date((day + timedelta(days=after)).isoformat()).tai


def _trends(table: Mapping[str, npt.NDArray[Any]]) -> dict[str, tuple[float, float]]:
    found = {}
    for name in _statistics(table):
        chosen = (table["statistic"] == name) & (table["exposure"] >= 0)
        mjd, value = _by_exposure(table, chosen)
        found[name] = trend(mjd, value, np.full(len(value), np.nan))
    return found


def _statistics(table: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    """Return the statistics of exposures that a test looks at, those that fail first."""
    chosen = (table["test"] != "") & (table["exposure"] >= 0) & (table["amp"] != "")
    names = list(dict.fromkeys(str(name) for name in table["statistic"][chosen]))
    failed = {str(n) for n in table["statistic"][chosen & (table["verdict"] == "fail")]}
    return sorted(names, key=lambda name: name not in failed)


def _by_exposure(
    table: Mapping[str, npt.NDArray[Any]], chosen: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return time and median over the amplifiers of each exposure."""
    exposures = np.unique(table["exposure"][chosen])
    mjd = np.full(len(exposures), np.nan)
    value = np.full(len(exposures), np.nan)
    for i, exposure in enumerate(exposures):
        own = chosen & (table["exposure"] == exposure)
        values = table["value"][own]
        mjd[i] = table["mjd"][own][0]
        if np.isfinite(values).any():
            value[i] = np.nanmedian(values)
    return mjd, value


def validity_figure(validity: Validity) -> Figure:
    """Draw nights and statistics against time, with limits and the proposed range."""
    from matplotlib.figure import Figure

    table = validity.table
    names = _statistics(table)[:_PANELS]
    figure = Figure(figsize=(9, 1.2 + 1.7 * len(names)), layout="constrained")
    ratios = [0.5, *(1.0 for _ in names)]
    grid = figure.subplots(1 + len(names), 1, sharex=True, height_ratios=ratios, squeeze=False)
    axes = grid[:, 0]
    figure.suptitle(validity.product)
    for night in validity.nights:
        at = datetime.combine(day_of(night.day_obs), time(18))
        fraction = night.passed / night.exposures
        marker = "s" if night.construction else "o"
        axes[0].plot(at, fraction, marker, color=_COLOURS[night.verdict])
    axes[0].set_ylim(-0.1, 1.1)
    axes[0].set_ylabel("pass")
    for axis, name in zip(axes[1:], names, strict=True):
        _draw_statistic(axis, table, name)
    if validity.range.first is not None and validity.range.last is not None:
        begin = datetime.combine(day_of(validity.range.first), time(12))
        end = datetime.combine(day_of(validity.range.last) + timedelta(days=1), time(12))
        for axis in axes:
            axis.axvspan(begin, end, color="#56B4E9", alpha=0.15)
    axes[0].set_title(
        "squares: nights of the inputs; shaded: proposed range", fontsize="small", loc="left"
    )
    figure.autofmt_xdate()
    return figure


def _draw_statistic(axis: Any, table: Mapping[str, npt.NDArray[Any]], name: str) -> None:
    chosen = (table["statistic"] == name) & (table["exposure"] >= 0) & (table["amp"] != "")
    epoch = datetime(1858, 11, 17)
    for exposure in np.unique(table["exposure"][chosen]):
        own = chosen & (table["exposure"] == exposure)
        values = table["value"][own]
        if not np.isfinite(values).any():
            continue
        at = epoch + timedelta(days=float(table["mjd"][own][0]))
        middle, low, high = np.nanmedian(values), np.nanmin(values), np.nanmax(values)
        failed = bool((table["verdict"][own] == "fail").any())
        axis.errorbar(
            at,
            middle,
            yerr=[[middle - low], [high - middle]],
            fmt=".",
            color=_COLOURS["fail" if failed else "pass"],
            linewidth=0.8,
        )
    for bound in ("low", "high"):
        limits = table[bound][chosen]
        if np.isfinite(limits).any():
            axis.axhline(float(np.nanmedian(limits)), color="0.4", linestyle="--", linewidth=0.8)
    axis.set_ylabel(name)


def validity_of(
    repository: Repository, product: DatasetRef, run: Run, options: ValidityOptions
) -> Validity:
    """Propose for how long a product holds, from a run that verified it."""
    tables = [one.columns for one in verification_report(repository, run.name).verified()]
    table = {name: np.concatenate([one[name] for one in tables]) for name in COLUMNS}
    lineage = repository.registry.lineage(product.id)
    construction = [
        repository.registry.exposure(number, instrument=product.data_id.instrument)
        for number in sorted({use.exposure for use in lineage.raws})
    ]
    label = f"{product.type} in {product.run}"
    return assess(label, run.name, table, run.plan.exposures, construction, options)
