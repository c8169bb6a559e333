"""One verification as it counts now: its table, waivers applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import NoDataError
from cpflow.registry import DatasetRef, Waiver
from cpflow.repo import Repository
from cpflow.verify.rows import COLUMNS
from cpflow.verify.summary import overall
from cpflow.verify.waivers import Candidate, Waived, apply_waivers, text_column

# From good to bad.
VERDICTS = ("pass", "waived", "no_data", "fail")


@dataclass(frozen=True)
class Verified:
    """One verification as it counts now.

    Parameters
    ----------
    ref : DatasetRef
        The verification.
    candidate : Candidate
        The product that it is of.
    candidate_id, candidate_run : str
    columns : mapping of str to array
        The table; `verdict` has waivers applied, and beside the stored columns there are `waiver`
        (an id, or "") and `construction` (whether the exposure went into the product).
    waived : Waived
    construction : frozenset of int, or None
        Exposures that the product was made from; None if that is not known.
    replaced : bool
        Whether the product has other content now than what was verified.
    """

    ref: DatasetRef
    candidate: Candidate
    candidate_id: str
    candidate_run: str
    columns: Mapping[str, npt.NDArray[Any]]
    waived: Waived
    construction: frozenset[int] | None
    replaced: bool = False

    @cached_property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        found = overall(self.columns["severity"], self.columns["verdict"])
        return "waived" if found == "pass" and self.waived.used else found

    @cached_property
    def counts(self) -> dict[str, int]:
        """Rows by verdict."""
        found = Counter(self.columns["verdict"].tolist())
        return {name: found[name] for name in (*VERDICTS, "informational") if found[name]}

    @cached_property
    def exposures(self) -> tuple[int, ...]:
        """What was looked at."""
        return tuple(int(e) for e in np.unique(self.columns["exposure"]) if e >= 0)

    @cached_property
    def open_rows(self) -> npt.NDArray[np.intp]:
        """Rows of required tests that neither pass nor are waived."""
        verdict = self.columns["verdict"]
        required = self.columns["severity"] == "required"
        return np.flatnonzero(required & ((verdict == "fail") | (verdict == "no_data")))

    @property
    def label(self) -> str:
        """The product in a person's words."""
        data_id = self.ref.data_id
        parts = [f"{self.candidate.product} of {data_id.instrument}"]
        if data_id.detector is not None:
            parts.append(f"detector {data_id.detector}")
        if data_id.physical_filter is not None:
            parts.append(f"filter {data_id.physical_filter}")
        return ", ".join(parts)


def read_verification(
    repository: Repository, ref: DatasetRef, waivers: Sequence[Waiver], at: int
) -> Verified:
    """Read a verification, and apply the waivers that count at an instant, TAI nanoseconds."""
    dataset = repository.open_dataset(ref)
    stored = dataset[list(COLUMNS)].compute()
    columns = {
        name: text_column(stored[name].values)
        if kind.startswith("U")
        else np.asarray(stored[name].values, kind)
        for name, kind in COLUMNS.items()
    }
    candidate = Candidate.of(dataset.attrs)
    waived = apply_waivers(columns, waivers, candidate, at)
    id_ = str(dataset.attrs.get("candidate_id", ""))
    checksum, construction = _made_from(repository, id_, ref.data_id.instrument)
    built_from = np.array(sorted(construction or ()), np.int64)
    columns |= {
        "verdict": waived.verdict,
        "waiver": waived.waiver,
        "construction": np.isin(columns["exposure"], built_from),
    }
    return Verified(
        ref,
        candidate,
        id_,
        str(dataset.attrs.get("candidate_run", "")),
        columns,
        waived,
        construction,
        replaced=checksum not in (None, candidate.checksum),
    )


def summary_of(one: Verified) -> dict[str, Any]:
    """Return a verification in a few words, as plain data."""
    known = one.construction or frozenset()
    inside = sum(exposure in known for exposure in one.exposures)
    failed = Counter(str(one.columns["test"][i]) for i in one.open_rows)
    return {
        "label": one.label,
        "product": one.candidate.product,
        "instrument": one.ref.data_id.instrument,
        "detector": one.ref.data_id.detector,
        "filter": one.ref.data_id.physical_filter,
        "verdict": one.verdict,
        "counts": one.counts,
        "failed_tests": dict(sorted(failed.items())),
        "candidate": one.candidate.checksum,
        "candidate_id": one.candidate_id,
        "candidate_run": one.candidate_run,
        "replaced": one.replaced,
        "verification": one.ref.id,
        "run": one.ref.run,
        "exposures": len(one.exposures),
        "construction": None if one.construction is None else inside,
        "waivers": [waiver.id for waiver in one.waived.used],
    }


def full_columns(one: Verified) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of a verification beside those that say what it is of."""
    n = len(one.columns["test"])
    data_id = one.ref.data_id
    return {
        "product": np.full(n, one.candidate.product),
        "instrument": np.full(n, data_id.instrument),
        "detector": np.full(n, -1 if data_id.detector is None else data_id.detector, np.int64),
        "filter": np.full(n, data_id.physical_filter or ""),
        "candidate": np.full(n, one.candidate.checksum),
        **one.columns,
    }


def _made_from(
    repository: Repository, id_: str, instrument: str
) -> tuple[str | None, frozenset[int] | None]:
    """Return a product's checksum and exposures; a product without raws has those of its inputs."""
    registry = repository.registry
    try:
        checksum = registry.dataset(id_).checksum
        lineage = registry.lineage(id_)
        raws = list(lineage.raws)
        if not raws:
            raws = [use for made in lineage.datasets for use in registry.lineage(made).raws]
    except NoDataError:
        return None, None
    found = frozenset(use.exposure for use in raws if use.instrument == instrument)
    return checksum, found or None
