"""What the verifications of a product come to, with the waivers that hold now."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cpflow.errors import NoDataError
from cpflow.products import VERIFIED, verification_name
from cpflow.registry import DatasetRef, Waiver
from cpflow.timespan import isoformat, utc_to_tai

if TYPE_CHECKING:
    from cpflow.repo.repository import Repository

logger = logging.getLogger(__name__)


class Status(StrEnum):
    """What is known of a product."""

    VERIFIED = "verified"
    WAIVED = "waived"
    """Tests fail, and all of them are documented."""
    FAILED = "failed"
    NO_DATA = "no_data"
    """No test fails, but required ones had nothing to test by."""
    UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the newest verification of a product says, waivers applied.

    `failures` are "[exposure] [amplifier] TEST", without those that are waived; where the status is
    "no_data", of the tests that had no data. `counts` are rows by verdict.
    """

    product: DatasetRef
    status: Status
    counts: Mapping[str, int] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    """Those that document a failure."""
    expired: tuple[Waiver, ...] = ()
    """Those that would document what fails, had they not expired."""
    unused: tuple[Waiver, ...] = ()
    over_broad: tuple[Waiver, ...] = ()
    verification: str | None = None
    """UUID of the verification."""
    run: str | None = None
    """RUN of the verification."""
    stale: tuple[str, ...] = ()
    """RUNs of verifications of other content, which do not count."""
    stored: bool = True
    """Whether the table of the verification could be opened, to apply waivers."""

    @property
    def is_clean(self) -> bool:
        """Whether it was verified, and whatever failed is documented."""
        return self.status in (Status.VERIFIED, Status.WAIVED)

    @property
    def detail(self) -> str:
        """The verdict in one line, without the status."""
        if self.status is Status.UNVERIFIED:
            if self.stale:
                return f"verified was other content than it has now: {', '.join(self.stale)}"
            if self.product.type not in VERIFIED:
                return f"cpflow has no verification of {self.product.type}"
            return "it has no verification"
        tests = sum(n for verdict, n in self.counts.items() if verdict != "informational")
        by = ", ".join(waiver.short for waiver in self.waivers)
        waived = f"{self.counts.get('waived', 0)} waived by {by}" if by else ""
        if self.status is Status.VERIFIED:
            return f"{tests} tests pass"
        if self.status is Status.WAIVED:
            return f"of {tests} tests {waived}"
        named = Counter(name.rsplit(" ", 1)[-1] for name in self.failures)
        listed = ", ".join(f"{test} x {n}" for test, n in sorted(named.items()))
        count = self.counts.get("fail" if self.status is Status.FAILED else "no_data", 0)
        what = "fail" if self.status is Status.FAILED else "have no data"
        return f"{count} of {tests} tests {what}: {listed or 'none is required'}" + (
            f"; {waived}" if waived else ""
        )

    @property
    def text(self) -> str:
        """The verdict in one line."""
        return f"{self.status}: {self.detail}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What else should be said, one sentence each."""
        found = []
        if self.stale and self.status is not Status.UNVERIFIED:
            found.append(f"verifications of other content do not count: {', '.join(self.stale)}")
        if not self.stored:
            found.append("the table of its verification is gone: no waiver can be applied")
        for waiver in self.expired:
            assert waiver.expires is not None
            found.append(
                f"waiver {waiver.short} of {waiver.test} expired at {isoformat(waiver.expires)} TAI"
            )
        found += [
            f"waiver {waiver.short} of {waiver.test} is about every detector, amplifier and "
            "exposure: narrow it"
            for waiver in self.over_broad
        ]
        found += [
            f"waiver {waiver.short} of {waiver.test} ({waiver.scope}) documents nothing that fails"
            for waiver in self.unused
        ]
        return tuple(found)

    def __str__(self) -> str:
        return f"{self.product}: {self.text}"


def verdict_of(repository: Repository, ref: DatasetRef, at: int | None = None) -> Verdict:
    """Return what the newest verification of a product comes to; see `verdicts_of`."""
    return verdicts_of(repository, [ref], at)[0]


def verdicts_of(
    repository: Repository, refs: Sequence[DatasetRef], at: int | None = None
) -> list[Verdict]:
    """Return what the newest verification of each product comes to.

    A verification counts if it was made with the product and its candidate had the content that
    the product has. Tables are opened only where a test failed: the summary in the registry says
    so.

    Parameters
    ----------
    repository : Repository
    refs : sequence of DatasetRef
    at : int, optional
        TAI nanoseconds as of which waivers count; by default now.

    Returns
    -------
    list of Verdict
        In the order of `refs`.
    """
    registry = repository.registry
    instant = utc_to_tai(time.time_ns()) if at is None else at
    by_type: dict[str, set[str]] = {}
    for ref in refs:
        by_type.setdefault(ref.type, set()).add(ref.id)
    made: dict[str, list[DatasetRef]] = {}
    waivers: dict[str, list[Waiver]] = {}
    for kind, ids in by_type.items():
        made.update(registry.users_of_type(ids, [verification_name(kind)]))
        waivers[kind] = registry.waivers(kind, history=True)
    return [
        _verdict(repository, ref, made.get(ref.id, []), waivers[ref.type], instant) for ref in refs
    ]


def unwaived(repository: Repository, refs: Sequence[DatasetRef]) -> dict[str, Mapping[str, Any]]:
    """Return the summaries of what a run made, those of verifications with waivers applied.

    Parameters
    ----------
    repository : Repository
    refs : sequence of DatasetRef

    Returns
    -------
    dict
        By the name of each; one whose failures are all documented has the verdict "waived".
    """
    at = utc_to_tai(time.time_ns())
    found: dict[str, Mapping[str, Any]] = {}
    for ref in refs:
        summary = ref.provenance["summary"]
        if summary.get("verdict", "pass") != "pass":
            product = _verified_product(repository, ref, summary)
            if product is not None:
                waivers = repository.registry.waivers(product.type, history=True)
                verdict = _judged(repository, product, ref, summary, (), waivers, at)
                if verdict.status is Status.WAIVED:
                    logger.info("%s: %s", ref, verdict.text)
                    summary = {**summary, "verdict": "waived"}
        found[str(ref)] = summary
    return found


def _verified_product(
    repository: Repository, verification: DatasetRef, summary: Mapping[str, Any]
) -> DatasetRef | None:
    for used in repository.registry.lineage(verification.id).datasets:
        try:
            ref = repository.registry.dataset(used)
        except NoDataError:
            continue
        if ref.type == summary["verifies"] and ref.checksum == summary["candidate"]:
            return ref
    return None


def _verdict(
    repository: Repository,
    product: DatasetRef,
    verifications: Sequence[DatasetRef],
    waivers: Sequence[Waiver],
    at: int,
) -> Verdict:
    stale: list[str] = []
    for verification in reversed(verifications):
        summary = _summary(repository, verification)
        if summary.get("candidate") == product.checksum:
            return _judged(repository, product, verification, summary, tuple(stale), waivers, at)
        stale.append(verification.run)
    return Verdict(product, Status.UNVERIFIED, stale=tuple(stale))


def _summary(repository: Repository, verification: DatasetRef) -> Mapping[str, Any]:
    summary = verification.provenance.get("summary")
    if isinstance(summary, Mapping) and "verdict" in summary:
        return summary
    from cpflow.verify.summary import summary as summarise

    return summarise(repository.open_dataset(verification))


def _judged(
    repository: Repository,
    product: DatasetRef,
    verification: DatasetRef,
    summary: Mapping[str, Any],
    stale: tuple[str, ...],
    waivers: Sequence[Waiver],
    at: int,
) -> Verdict:
    counts = dict(summary["counts"])
    verdict = str(summary["verdict"])
    said: dict[str, Any] = {
        "verification": verification.id,
        "run": verification.run,
        "stale": stale,
    }
    if verdict == "pass":
        unused, over_broad = _idle(product, waivers, at)
        return Verdict(
            product, Status.VERIFIED, counts, unused=unused, over_broad=over_broad, **said
        )
    if not verification.stored:
        status = Status.FAILED if verdict == "fail" else Status.NO_DATA
        failures = tuple(summary.get("failures", ()))
        return Verdict(product, status, counts, failures, stored=False, **said)
    from cpflow.verify.summary import failure_names, overall
    from cpflow.verify.waivers import apply_waivers, text_column

    dataset = repository.open_dataset(verification)
    table: dict[str, Any] = {
        name: text_column(dataset[name].values) for name in ("amp", "test", "severity", "verdict")
    }
    table["exposure"] = dataset["exposure"].values
    waived = apply_waivers(table, waivers, _candidate(product), at)
    table["verdict"] = waived.verdict
    counts = {str(name): n for name, n in sorted(Counter(waived.verdict.tolist()).items()) if name}
    after = overall(table["severity"], waived.verdict)
    if after == "pass":
        status, failures = (Status.WAIVED if waived.used else Status.VERIFIED), ()
    else:
        status = Status.FAILED if after == "fail" else Status.NO_DATA
        failures = tuple(failure_names(table, ("fail",) if after == "fail" else ("no_data",)))
    return Verdict(
        product,
        status,
        counts,
        failures,
        waived.used,
        waived.expired,
        waived.unused,
        waived.over_broad,
        **said,
    )


def _idle(
    product: DatasetRef, waivers: Sequence[Waiver], at: int
) -> tuple[tuple[Waiver, ...], tuple[Waiver, ...]]:
    """Return the waivers about a product whose tests all pass, and the broad ones of them."""
    in_force = [waiver for waiver in waivers if waiver.state(at) == "in force"]
    if not in_force:
        return (), ()
    from cpflow.verify.waivers import is_about

    about = tuple(waiver for waiver in in_force if is_about(waiver, _candidate(product)))
    return about, tuple(waiver for waiver in about if waiver.is_broad)


def _candidate(product: DatasetRef) -> Any:
    from cpflow.verify.waivers import Candidate

    data_id = product.data_id
    return Candidate(
        product.type,
        data_id.instrument,
        data_id.detector,
        data_id.physical_filter,
        product.checksum,
    )
