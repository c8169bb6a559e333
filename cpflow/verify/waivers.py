"""Applying waivers to a verification: a failure that is documented is waived, never passed.

Waivers are never written into a table: they are applied when it is read, as of an instant, so that
one that expires or is taken back stops counting by itself (verification 5.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from cpflow.registry import Waiver

    Text = npt.NDArray[np.str_]

WAIVED = "waived"
# Of a required test, what a waiver can document.
_FAILURES = ("fail", "no_data")


@dataclass(frozen=True, slots=True)
class Candidate:
    """The product that a verification is of."""

    product: str
    instrument: str
    detector: int | None
    physical_filter: str | None
    checksum: str

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Candidate:
        """Take it from the attributes of a verification."""
        detector, name = attributes.get("detector"), attributes.get("filter")
        return cls(
            str(attributes.get("verifies", "")),
            str(attributes.get("instrument", "")),
            None if detector is None else int(detector),
            None if name is None else str(name),
            str(attributes.get("candidate_checksum", "")),
        )


@dataclass(frozen=True, slots=True)
class Waived:
    """A table of verification with waivers applied.

    Parameters
    ----------
    waiver : array of str
        For each row the id of the waiver that documents it, or "".
    verdict : array of str
        For each row the verdict that counts.
    used : tuple of Waiver
        Those that document a row.
    unused : tuple of Waiver
        Those in force for this product that document nothing here: the test passes, the exposure
        was not verified, or a narrower one documents it.
    expired : tuple of Waiver
        Those that would document what now fails, had they not expired.
    over_broad : tuple of Waiver
        Those in force that nothing but the instrument narrows.
    """

    waiver: Text
    verdict: Text
    used: tuple[Waiver, ...]
    unused: tuple[Waiver, ...]
    expired: tuple[Waiver, ...]
    over_broad: tuple[Waiver, ...]


def apply_waivers(
    table: Mapping[str, Any], waivers: Sequence[Waiver], candidate: Candidate, at: int
) -> Waived:
    """Apply waivers to the rows of a verification.

    Only failures of required tests, and required tests without data, are waived. Of several waivers
    that are about a row the narrowest counts, of these the oldest.

    Parameters
    ----------
    table : mapping
        Columns `exposure`, `amp`, `test`, `severity` and `verdict`; an `xarray.Dataset` is one.
    waivers : sequence of Waiver
        Any; also expired and revoked ones, and those of other products.
    candidate : Candidate
        What was verified.
    at : int
        TAI nanoseconds. A waiver counts from the instant at which it was made up to the one at
        which it expires or is revoked, which is not in it.

    Returns
    -------
    Waived
    """
    exposure = np.asarray(table["exposure"])
    amp, test, severity, verdict = (
        text_column(table[name]) for name in ("amp", "test", "severity", "verdict")
    )
    failed = (severity == "required") & np.isin(verdict, _FAILURES)

    def rows_of(waiver: Waiver) -> npt.NDArray[np.bool_]:
        rows: npt.NDArray[np.bool_] = failed & (test == waiver.test)
        if waiver.amp is not None:
            rows = rows & (amp == waiver.amp)
        if waiver.exposure is not None:
            rows = rows & (exposure == waiver.exposure)
        return rows

    about = [waiver for waiver in waivers if is_about(waiver, candidate)]
    in_force = [waiver for waiver in about if waiver.state(at) == "in force"]
    by = np.full(verdict.shape, -1)
    for i in sorted(range(len(in_force)), key=lambda i: _narrowness(in_force[i]), reverse=True):
        by[rows_of(in_force[i]) & (by < 0)] = i
    ids = np.array(["", *(waiver.id for waiver in in_force)])
    left = failed & (by < 0)
    used = {in_force[i].id for i in np.unique(by[by >= 0])}
    return Waived(
        waiver=ids[by + 1],
        # `where` finds the width: assigning into the column would cut the word.
        verdict=np.where(by >= 0, WAIVED, verdict),
        used=tuple(waiver for waiver in in_force if waiver.id in used),
        unused=tuple(waiver for waiver in in_force if waiver.id not in used),
        expired=tuple(
            waiver
            for waiver in about
            if waiver.state(at) == "expired" and bool((rows_of(waiver) & left).any())
        ),
        over_broad=tuple(waiver for waiver in in_force if waiver.is_broad),
    )


def is_about(waiver: Waiver, candidate: Candidate) -> bool:
    """Whether a waiver may document a failure of a product."""
    return (
        waiver.product == candidate.product
        and waiver.instrument == candidate.instrument
        and waiver.detector in (None, candidate.detector)
        and waiver.physical_filter in (None, candidate.physical_filter)
        and waiver.candidate in (None, candidate.checksum)
    )


def text_column(values: Any) -> Text:
    """Return a column of text with a fixed width, however it is stored.

    >>> text_column(np.array(["pass", ""], dtype=object)).dtype.kind
    'U'
    """
    return np.array([str(value) for value in np.asarray(values).ravel()], dtype=np.str_)


def _narrowness(waiver: Waiver) -> tuple[int, int]:
    own = (
        waiver.exposure,
        waiver.amp,
        waiver.detector,
        waiver.physical_filter,
        waiver.candidate,
    )
    return sum(value is not None for value in own), -waiver.created
