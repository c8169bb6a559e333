"""The page of a verification: self-contained HTML that filters and sorts by itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cpflow.camera import Camera, Detector
from cpflow.registry import DatasetRef, Waiver
from cpflow.report.mosaic import detector_corners
from cpflow.report.verification import VerificationReport
from cpflow.report.verification_data import Collected
from cpflow.report.verification_pictures import Pictures, residual_pictures
from cpflow.report.verification_words import advice_of, failures_of, judged_tests, lead_of
from cpflow.report.verified import VERDICTS
from cpflow.timespan import isoformat

_PICTURES_OF_DETECTOR = 60
_PICTURES_OF_MOSAIC = 24


@dataclass
class _Applied:
    """What became of the waivers, over all products."""

    used: dict[str, Waiver] = field(default_factory=dict)
    unused: dict[str, Waiver] = field(default_factory=dict)
    expired: dict[str, Waiver] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)

    def listed(self) -> list[dict[str, Any]]:
        """Return them as rows of a table: those that count, that did, and that do not."""
        found = []
        for state, waivers in (("", self.used), ("expired", self.expired), ("", self.unused)):
            for id_, waiver in waivers.items():
                if waivers is self.unused and (id_ in self.used or id_ in self.expired):
                    continue
                expires = "never" if waiver.expires is None else isoformat(waiver.expires)
                found.append(
                    {
                        "id": waiver.short,
                        "test": waiver.test,
                        "scope": waiver.scope + (" (everything)" if waiver.is_broad else ""),
                        "category": waiver.category.value,
                        "comment": waiver.comment,
                        "reference": waiver.reference or "",
                        "author": waiver.author,
                        "expires": expires[:19],
                        "state": state or f"waives {self.rows[id_]}"
                        if waivers is self.used
                        else state or "documents nothing here",
                    }
                )
        return found


def write_pages(report: VerificationReport, path: Path, *, pages: bool = False) -> list[Path]:
    """Write the page of a run; with `pages`, one of each product too, which it links to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    links: dict[str, str] = {}
    written = [path]
    if pages and len(report.refs) > 1:
        for ref in report.refs:
            target = path.with_name(f"{path.stem}-{_slug(ref)}.html")
            one = replace(report, refs=(ref,))
            target.write_text(page_of(one, up=path.name), encoding="utf-8")
            links[ref.id] = target.name
            written.append(target)
    path.write_text(page_of(report, links=links), encoding="utf-8")
    return written


def _slug(ref: DatasetRef) -> str:
    parts = [ref.type.removesuffix("_verification"), ref.data_id.detector]
    parts.append(ref.data_id.physical_filter)
    return "-".join(str(part) for part in parts if part is not None).replace("/", "_")


def page_of(
    report: VerificationReport,
    *,
    pictures: int | None = None,
    links: dict[str, str] | None = None,
    up: str = "",
) -> str:
    """Return the page.

    Parameters
    ----------
    report : VerificationReport
    pictures : int, optional
        At most so many exposures are shown; by default as many as stay small.
    links : dict, optional
        Addresses of the pages of verifications, by id.
    up : str
        Address of the page of the run.
    """
    from jinja2 import Environment, PackageLoader

    camera = _camera(report)
    detectors = {detector.id: detector for detector in camera}
    collected, applied = Collected(), _Applied()
    for one in report.verified():
        number = one.ref.data_id.detector
        detector = None if number is None else detectors.get(number)
        names = () if detector is None else detector.amplifier_names
        collected.add(one, names, "" if detector is None else detector.name)
        for waivers, kind in ((applied.used, "used"), (applied.unused, "unused")):
            waivers.update((waiver.id, waiver) for waiver in getattr(one.waived, kind))
        applied.expired.update((waiver.id, waiver) for waiver in one.waived.expired)
        applied.rows.update(name for name in one.waived.waiver.tolist() if name)
    verdict = max((unit["verdict"] for unit in collected.units), key=VERDICTS.index)
    meanings, limits = advice_of(report)
    shown = _pictures(report, camera, collected, pictures)
    environment = Environment(
        loader=PackageLoader("cpflow.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    html: str = environment.get_template("verification.html").render(
        verdict=verdict,
        title=_title(collected),
        units=collected.units,
        lead=lead_of(verdict, collected),
        counts=_counts(collected),
        failures=failures_of(collected, meanings),
        tests=judged_tests(collected, meanings, limits),
        exposures=[collected.exposures[number] for number in sorted(collected.exposures)],
        waivers=applied.listed(),
        at=isoformat(report.at)[:19],
        pictures=shown,
        ref=report.refs[0],
        provenance=report.refs[0].provenance,
        links=links or {},
        up=up,
        complete=collected.complete,
        count=collected.count,
        data=collected.payload(),
        plane=_plane(detectors, collected),
    )
    return html


def _camera(report: VerificationReport) -> Camera:
    """Return the detectors that were verified, of the first instrument."""
    instrument = report.refs[0].data_id.instrument
    numbers = {
        ref.data_id.detector
        for ref in report.refs
        if ref.data_id.detector is not None and ref.data_id.instrument == instrument
    }
    found = (report.repository.detector(instrument, number) for number in sorted(numbers))
    return Camera(instrument, tuple(found))


def _title(collected: Collected) -> str:
    if len(collected.units) == 1:
        return str(collected.units[0]["label"])
    products = ", ".join(dict.fromkeys(unit["product"] for unit in collected.units))
    filters = sorted({unit["filter"] for unit in collected.units if unit["filter"]})
    of = f", {len(filters)} filters" if len(filters) > 1 else "".join(f", {f}" for f in filters)
    detectors = {unit["detector"] for unit in collected.units}
    return f"{products} of {collected.units[0]['instrument']}, {len(detectors)} detectors{of}"


def _counts(collected: Collected) -> list[tuple[str, int]]:
    total: Counter[str] = Counter()
    for unit in collected.units:
        total.update(unit["counts"])
    names = ("pass", "fail", "waived", "no_data", "informational")
    return [(name, total[name]) for name in names]


def _pictures(
    report: VerificationReport, camera: Camera, collected: Collected, most: int | None
) -> list[dict[str, Any]]:
    """Return pictures of the worst exposures, of each product and filter."""
    groups: dict[tuple[str, str | None], list[DatasetRef]] = {}
    for ref in report.refs:
        if ref.data_id.instrument == camera.instrument:
            groups.setdefault((ref.type, ref.data_id.physical_filter), []).append(ref)
    found = []
    for refs in groups.values():
        of_detector = len(refs) == 1
        limit = _PICTURES_OF_DETECTOR if of_detector else _PICTURES_OF_MOSAIC
        exposures = _worst_first(report, refs, collected)
        chosen = exposures[: min(limit, most or limit)]
        made = residual_pictures(report.repository, refs, camera, chosen)
        if made is not None and made.pictures:
            found.append(_group(made, refs, collected, len(groups) > 1, len(exposures)))
    return found


def _worst_first(
    report: VerificationReport, refs: Sequence[DatasetRef], collected: Collected
) -> list[int]:
    """Return the exposures of the residuals, that with the smallest margin first."""
    numbers: set[int] = set()
    for ref in refs:
        dataset = report.repository.open_dataset(ref)
        if "residual" in dataset:
            numbers.update(int(e) for e in dataset["frame"].values)

    def key(exposure: int) -> tuple[bool, float, int]:
        known = collected.exposures[exposure]
        return not known["counts"]["fail"], known["worst"], exposure

    return sorted(numbers & set(collected.exposures), key=key)


def _group(
    made: Pictures, refs: Sequence[DatasetRef], collected: Collected, named: bool, count: int
) -> dict[str, Any]:
    name = refs[0].type.removesuffix("_verification")
    if refs[0].data_id.physical_filter is not None:
        name += f" {refs[0].data_id.physical_filter}"
    return {
        "name": name if named else "",
        "product": refs[0].type.removesuffix("_verification"),
        "filter": refs[0].data_id.physical_filter or "",
        "low": made.low,
        "high": made.high,
        "units": "" if made.units == "1" else made.units,
        "binning": made.binning,
        "count": count,
        "pictures": [
            {
                "source": picture.source,
                "extent": json.dumps([round(float(edge), 6) for edge in picture.extent]),
                "width": picture.shape[1],
                "height": picture.shape[0],
                **collected.exposures[picture.exposure],
            }
            for picture in made.pictures
        ],
    }


def _plane(detectors: dict[int, Detector], collected: Collected) -> str:
    """Return where detectors and amplifiers lie in the focal plane, as JSON."""
    chosen = [detector for detector in detectors.values() if detector.amplifiers]
    if not chosen:
        return "null"
    unit, corners = detector_corners(chosen)
    boxes: list[list[Any]] = []
    for detector, (left, right, bottom, top) in zip(chosen, corners.tolist(), strict=True):
        x = (right - left) / detector.shape[1]
        y = (top - bottom) / detector.shape[0]
        for amplifier in detector:
            box = amplifier.detector_box
            edges = (
                left + box.x0 * x,
                left + box.x1 * x,
                bottom + box.y0 * y,
                bottom + box.y1 * y,
            )
            boxes.append([detector.id, amplifier.name, *(round(edge, 4) for edge in edges)])
    plane = {
        "unit": unit,
        "detectors": [
            [detector.id, detector.name, *(round(edge, 4) for edge in edges)]
            for detector, edges in zip(chosen, corners.tolist(), strict=True)
        ],
        "amps": boxes,
    }
    return json.dumps(plane, separators=(",", ":")).replace("<", "\\u003c")
