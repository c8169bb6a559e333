"""What a verification says, in words: what it means, what failed, what to do."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cpflow.errors import CpflowError
from cpflow.graph import verifying_graph
from cpflow.report.verification import VerificationReport
from cpflow.report.verification_data import Collected, JudgedTest
from cpflow.verify.summary import ADVICE

_LISTED = 12


def advice_of(
    report: VerificationReport,
) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], str]]:
    """Return what each test means, and its limits as configured, by product and test.

    Meanings are those that the limits of the product's graph have written under them.
    """
    meanings, limits = {}, {}
    for ref in {ref.type: ref for ref in report.refs}.values():
        product = ref.type.removesuffix("_verification")
        config = ref.provenance.get("config", {})
        for test, text in _meanings(report, product).items():
            meanings[product, test] = text
        for test in ref.provenance.get("summary", {}).get("tests", ()):
            text = _configured(config, f"limits.{test.lower()}")
            if text:
                limits[product, test] = text
    return meanings, limits


def _meanings(report: VerificationReport, product: str) -> dict[str, str]:
    try:
        graph = verifying_graph(product, report.repository.root)
    except CpflowError:
        return {}
    kind = graph.config_class.model_fields.get("limits")
    found: dict[str, str] = {}
    for base in reversed(getattr(kind and kind.annotation, "__mro__", ())):
        for name, info in getattr(base, "model_fields", {}).items():
            if info.description:
                text = " ".join(info.description.split())
                found[name.upper()] = re.sub(r"^[A-Z_]+: ", "", text)
    return found


def _configured(config: Mapping[str, Any], key: str) -> str:
    """Return a limit as a person reads it.

    >>> _configured({"a.low": None, "a.high": 0.05, "a.sigma": 3.0}, "a")
    'up to 0.05 ± 3 errors'
    """
    low, high, sigma = (config.get(f"{key}.{name}") for name in ("low", "high", "sigma"))
    text = bounds_text(low, high)
    if text and sigma:
        text += f" ± {sigma:g} errors"
    return text


def bounds_text(low: float | None, high: float | None) -> str:
    """Return two bounds, of which one may be missing, as a person reads them.

    >>> bounds_text(-1.0, 1.0), bounds_text(0.5, None), bounds_text(None, float("nan"))
    ('-1 to 1', 'from 0.5', '')
    """
    known = [None if b is None or math.isnan(b) else f"{b:.4g}" for b in (low, high)]
    if known[0] is None:
        return "" if known[1] is None else f"up to {known[1]}"
    return f"from {known[0]}" if known[1] is None else f"{known[0]} to {known[1]}"


def lead_of(verdict: str, collected: Collected) -> list[tuple[str, str]]:
    """Return what a person should know before certifying: kind ("", "warn") and sentence."""
    out = []
    failing = sum(unit["verdict"] == "fail" for unit in collected.units)
    of = f"{failing} of {len(collected.units)} products fail. " if len(collected.units) > 1 else ""
    out.append(
        (
            "",
            {
                "pass": "Every required test passes: it can be certified.",
                "waived": "Some required tests fail, and every one of these is documented by a "
                "waiver: it can be certified.",
                "no_data": "No required test fails, but some had nothing to judge by: find out "
                "why before you certify.",
                "fail": of + "Do not certify before each failure is understood; cpflow waive "
                "documents what may fail.",
            }[verdict],
        )
    )
    for unit in collected.units:
        if unit["replaced"]:
            out.append(
                ("warn", f"{unit['label']}: it has other content now than what was verified here.")
            )
    known = [unit for unit in collected.units if unit["exposures"]]
    if any(unit["construction"] is None for unit in known):
        out.append(("warn", "Of some product it is not known from which exposures it was made."))
    elif known and all(unit["construction"] == unit["exposures"] for unit in known):
        out.append(
            (
                "warn",
                "Every exposure is one that the product was made from. Verify with others, too: "
                "faults that all its inputs share do not show here.",
            )
        )
    return out


def failures_of(
    collected: Collected, meanings: Mapping[tuple[str, str], str]
) -> list[dict[str, Any]]:
    """Return the required tests that fail or have no data, with where, how much, and advice."""
    found = []
    several = len({unit["detector"] for unit in collected.units}) > 1
    for key, test in collected.tests.items():
        if not test.places:
            continue
        found.append(
            {
                "product": test.product,
                "test": test.test,
                "failed": test.counts["fail"],
                "no_data": test.counts["no_data"] if test.severity == "required" else 0,
                "of": sum(n for verdict, n in test.counts.items() if verdict),
                "meaning": meanings.get(key, ""),
                "advice": ADVICE.get(test.test, ""),
                "where": _where(test, several),
                "worst": worst_text(test, several) if test.counts["fail"] else "",
            }
        )
    return sorted(found, key=lambda one: -one["failed"])


def _where(test: JudgedTest, several: bool) -> str:
    places: dict[int, list[str]] = {}
    for number, amp in sorted((-1 if d is None else d, amp) for d, amp in test.places):
        places.setdefault(number, []).append(amp or "the detector")
    if several:
        listed = [f"detector {number}: {shortened(amps)}" for number, amps in places.items()]
        text = "; ".join(listed[:_LISTED])
        if len(listed) > _LISTED:
            text += f"; and {len(listed) - _LISTED} more detectors"
    else:
        text = "; ".join(shortened(amps) for amps in places.values())
    exposures = sorted(e for e in test.exposures if e >= 0)
    if not exposures:
        return f"{text}, over the whole run"
    number_of = str(exposures[0]) if len(exposures) == 1 else f"{len(exposures)} exposures"
    return f"{text} in {number_of}"


def shortened(names: Sequence[str]) -> str:
    """Return names in one text, the first ones of many.

    >>> shortened(["A", "B"])
    'A, B'
    """
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def worst_text(test: JudgedTest, several: bool) -> str:
    """Return the row with the smallest margin as a person reads it."""
    row = test.worst
    if not row:
        return ""
    units = "" if row["units"] in ("", "1") else f" {row['units']}"
    error = f" ± {row['error']:.2g}" if math.isfinite(row["error"]) else ""
    at = [f"detector {row['detector']}" if several else "", row["amp"]]
    at.append(str(row["exposure"]) if row["exposure"] >= 0 else "")
    place = " ".join(part for part in at if part)
    limits = bounds_text(row["low"], row["high"])
    return f"{row['value']:.4g}{error}{units} where {limits} is allowed: {place}"


def judged_tests(
    collected: Collected,
    meanings: Mapping[tuple[str, str], str],
    limits: Mapping[tuple[str, str], str],
) -> list[dict[str, Any]]:
    """Return all tests: meaning, limits beside the values, how many came out how."""
    return [
        {
            "product": test.product,
            "test": test.test,
            "severity": test.severity,
            "meaning": meanings.get(key, ""),
            "limits": limits.get(key, ""),
            "applied": bounds_text(_loosest(test.low, min), _loosest(test.high, max)),
            "units": "" if test.units == "1" else test.units,
            "counts": test.counts,
            "worst": test.worst,
        }
        for key, test in collected.tests.items()
    ]


def _loosest(span: tuple[float, float], choose: Any) -> float:
    return math.nan if math.isnan(span[0]) else float(choose(span))
