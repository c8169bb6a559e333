"""A verification in a few words: its verdict, how many tests came out how, and what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cpflow.errors import VerificationError

if TYPE_CHECKING:
    import xarray as xr

_SHOWN = 50
# What a failure may come from, and what to do about it.
ADVICE = {
    "PROCESSING": "too many pixels look like cosmic rays: mask defects, or look for light",
    "CR_NOISE": "pixels stand out that are no cosmic rays: mask defects",
    "REPEATED": "the same pixels stand out again and again: mask defects",
    "COLUMN": "a column stands out: mask defects",
    "NOISE": "more noise than expected: other electronics settings, light, or a wrong read noise",
    "ALIVE": "an amplifier has no noise: it is not read out",
    "SCALE": "the candidate is not what these exposures have: an old one, swapped amplifiers, or a "
    "wrong time in their headers",
    "STRUCTURE": "structure is left: an old candidate, light, or other settings",
    "LEVEL": "a level is left: light, or overscan that does not follow the image",
    "PERSISTENT": "pixels stand out in most exposures and are not masked: build defects again, "
    "from these exposures too",
    "MASKED": "so much is masked that little is left: look at the thresholds of the defects",
    "RATE": "the dark current is not that of the camera: light, or a warm detector",
    "GRADIENT": "the dark has structure: a light leak, or glow of an amplifier",
    "RESPONSE": "an amplifier is brighter than its neighbours: its gain changed, or amplifiers are "
    "swapped",
    "FLATNESS": "structure is left: another filter, another illumination, or dust that moved",
    "SATURATED": "pixels are saturated: leave the brightest flats out",
    "SCATTER": "amplifiers differ: their gains changed since the flat was made",
    "EXPOSURE_SCATTER": "detectors differ: the flats of the focal plane do not belong together",
    "RESIDUAL": "what the candidate should take out is still there",
    "IMPROVES": "subtracting it makes the sky no more even: too few exposures, or another sky",
    "DRIFT": "the level drifts: let the camera settle, or build for a shorter span",
}


def overall(severity: Iterable[str], verdict: Iterable[str]) -> str:
    """Return the verdict of a verification: fail, no_data or pass.

    Parameters
    ----------
    severity, verdict : iterable of str
        Of each row, waivers applied; what is waived fails nothing.
    """
    required = {v for s, v in zip(severity, verdict, strict=True) if s == "required"}
    if "fail" in required:
        return "fail"
    if "no_data" in required or not required:
        return "no_data"
    return "pass"


def failure_names(table: Mapping[str, Any], verdicts: Sequence[str] = ("fail",)) -> list[str]:
    """Return what failed as "[exposure] [amplifier] TEST", in the order of the rows."""
    chosen = np.isin(table["verdict"], verdicts) & (np.asarray(table["severity"]) == "required")
    names = []
    for i in np.flatnonzero(chosen):
        exposure = int(table["exposure"][i])
        parts = ["" if exposure < 0 else str(exposure), table["amp"][i], table["test"][i]]
        names.append(" ".join(str(part) for part in parts if part))
    return names


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Return the summary of a finished verification, as plain data."""
    columns = {
        name: dataset[name].values for name in ("exposure", "amp", "test", "severity", "verdict")
    }
    counts = Counter(str(verdict) for verdict in columns["verdict"] if verdict)
    failures = failure_names(columns)
    failed = Counter(name.rsplit(" ", 1)[-1] for name in failures)
    return {
        "verifies": str(dataset.attrs.get("verifies", "")),
        "candidate": str(dataset.attrs.get("candidate_checksum", "")),
        "verdict": overall(columns["severity"], columns["verdict"]),
        "counts": dict(sorted(counts.items())),
        "tests": sorted({str(test) for test in columns["test"] if test}),
        "failed_tests": dict(sorted(failed.items())),
        "failures": failures[:_SHOWN],
    }


def sentence(found: Mapping[str, Any]) -> str:
    """Return a summary as one line."""
    counts = ", ".join(f"{n} {verdict}" for verdict, n in found["counts"].items())
    text = f"{found['verdict']} ({counts})"
    if found["failed_tests"]:
        failed = ", ".join(f"{test} x {n}" for test, n in found["failed_tests"].items())
        text += f"; failed: {failed}"
    return text


def refuse_failures(summaries: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise if a verification among the summaries of products did not pass.

    Raises
    ------
    VerificationError
        Naming each product, the tests that failed, and what that may come from.
    """
    failed = {
        label: found
        for label, found in summaries.items()
        if found.get("verdict", "pass") not in ("pass", "waived")
    }
    if not failed:
        return
    tests = {test for found in failed.values() for test in found["failed_tests"]}
    advice = [f"{test}: {ADVICE[test]}" for test in sorted(tests) if test in ADVICE]
    lines = [f"{label}: {sentence(found)}" for label, found in failed.items()]
    for found in failed.values():
        lines += [f"  {name}" for name in found["failures"][:5]]
    raise VerificationError(
        f"{len(failed)} of {len(summaries)} verifications did not pass\n" + "\n".join(lines),
        hint="; ".join([*advice, "cpflow report shows each test, cpflow waive documents one"]),
    )
