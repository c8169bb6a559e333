"""Certifying products with their verdicts (verification 5.1)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from cpflow.errors import UsageError, VerificationError
from cpflow.products import VERIFIED
from cpflow.registry import Certification
from cpflow.repo.repository import Repository
from cpflow.repo.verdicts import Status, Verdict, verdicts_of
from cpflow.timespan import Timespan

logger = logging.getLogger(__name__)

_SHOWN = 10
_SHOWN_FAILURES = 5


def certify(
    repository: Repository,
    source: str,
    collection: str,
    types: Sequence[str],
    span: Timespan,
    *,
    where: str | None = None,
    search_all_inputs: bool = False,
    allow_incomplete: bool = False,
    replace: bool = False,
    reason: str | None = None,
) -> list[Certification]:
    """Certify the products of a run or chain; record the verdict of each.

    With each goes its status, and as reason the one given. Where none is given, the reason says
    what is waived, fails, or had no data.

    Parameters
    ----------
    repository : Repository
    source, collection : str
        Where they are, and the CALIBRATION collection.
    types : sequence of str
        Product types.
    span : Timespan
        When they hold.
    where, search_all_inputs, allow_incomplete, replace : optional
        As for `Registry.certify_from`.
    reason : str, optional
        Why; lets products pass that the repository's policy would refuse.

    Raises
    ------
    VerificationError
        If the policy is ``require``, no reason is given, and a product is not verified or failed.
    """
    if reason is not None and not reason.strip():
        raise UsageError("the reason is empty (an unset variable?)")
    registry = repository.registry
    refs = registry.to_certify(
        source,
        types,
        where,
        search_all_inputs=search_all_inputs,
        allow_incomplete=allow_incomplete,
    )
    verdicts = verdicts_of(repository, refs)
    if repository.policy == "require" and reason is None:
        _refuse(verdicts)
    done = registry.certify(
        collection,
        refs,
        span,
        replace=replace,
        create=True,
        verdicts={
            verdict.product.id: (verdict.status.value, reason or _reason(verdict))
            for verdict in verdicts
        },
    )
    _tell(verdicts)
    return done


def _reason(verdict: Verdict) -> str | None:
    plain = verdict.status in (Status.VERIFIED, Status.UNVERIFIED)
    return None if plain else verdict.detail


def _tell(verdicts: Sequence[Verdict]) -> None:
    runs = sorted({verdict.product.run for verdict in verdicts})
    counts = Counter(verdict.status for verdict in verdicts)
    counted = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    unclean = [verdict for verdict in verdicts if not verdict.is_clean]
    logger.info("certified %d datasets of %s: %s", len(verdicts), ", ".join(runs), counted)
    _listed("certified, but %s", [str(verdict) for verdict in unclean])
    notes = [f"{v.product}: {note}" for v in verdicts for note in v.notes]
    _listed("%s", notes)


def _listed(form: str, lines: Sequence[str]) -> None:
    for line in lines[:_SHOWN]:
        logger.warning(form, line)
    if len(lines) > _SHOWN:
        logger.warning(form, f"{len(lines) - _SHOWN} more like these")


def _refuse(verdicts: Sequence[Verdict]) -> None:
    refused = [verdict for verdict in verdicts if not verdict.is_clean]
    if not refused:
        return
    lines = []
    for verdict in refused[:_SHOWN]:
        lines.append(str(verdict))
        lines += [f"  {name}" for name in verdict.failures[:_SHOWN_FAILURES]]
        if len(verdict.failures) > _SHOWN_FAILURES:
            lines.append(f"  and {len(verdict.failures) - _SHOWN_FAILURES} more")
        lines += [f"  {note}" for note in verdict.notes]
    if len(refused) > _SHOWN:
        lines.append(f"and {len(refused) - _SHOWN} more products")
    raise VerificationError(
        f"{len(refused)} of {len(verdicts)} products are not certified: the policy of this "
        "repository requires a verification that passes\n" + "\n".join(lines),
        hint="; ".join(_remedies(refused)),
    )


def _remedies(refused: Sequence[Verdict]) -> list[str]:
    found = []
    unverified = sorted({v.product.type for v in refused if v.status is Status.UNVERIFIED})
    for kind in unverified:
        if kind in VERIFIED:
            found.append(f"verify it: cpflow run -p verify/{kind} --candidate RUN")
    tests = {name.rsplit(" ", 1)[-1] for v in refused for name in v.failures}
    if tests:
        from cpflow.verify.summary import ADVICE

        found += [f"{test}: {ADVICE[test]}" for test in sorted(tests) if test in ADVICE]
        found.append(
            "document what fails: cpflow waive REPO PRODUCT TEST --category C --comment WHY"
        )
    found.append("certify it all the same, which is recorded: --reason WHY")
    return found
