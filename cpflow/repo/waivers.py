"""Documenting a failed test of a product, with what the repository knows of camera and products."""

from __future__ import annotations

import getpass
import logging

from cpflow.errors import NoDataError, UsageError
from cpflow.products import VERIFIED, product_name, verification_name
from cpflow.registry import DatasetRef, Waiver
from cpflow.registry.names import nearest
from cpflow.repo.repository import Repository
from cpflow.timespan import isoformat

logger = logging.getLogger(__name__)


def waive(
    repository: Repository,
    product: str,
    test: str,
    *,
    category: str,
    comment: str,
    instrument: str | None = None,
    detector: int | None = None,
    amp: str | None = None,
    exposure: int | None = None,
    physical_filter: str | None = None,
    candidate: str | DatasetRef | None = None,
    reference: str | None = None,
    expires: int | None = None,
    author: str | None = None,
) -> Waiver:
    """Document a failed test: it then counts as waived, never as passed.

    Parameters
    ----------
    repository : Repository
    product, test : str
        Product type, and the exact name of the test.
    category : {'permanent', 'uncorrectable', 'below-science-impact', 'threshold-wrong'}
    comment : str
        Why it may fail.
    instrument : str, optional
        May be left out if there is only one.
    detector, amp, exposure, physical_filter : optional
        What it is restricted to; what is left out is all of them.
    candidate : str or DatasetRef, optional
        The only product that it is about, or the name of a collection that holds one; also sets
        its detector and filter.
    reference : str, optional
        Link or ticket.
    expires : int, optional
        TAI nanoseconds from which on it does not count; never, if it is left out.
    author : str, optional
        By default the user.

    Raises
    ------
    UsageError
        If there is no such product, amplifier, filter or category, or nothing says why.
    NoDataError
        If there is no such exposure, or the collection holds no such product.
    ConflictError
        If there is one in force already that is about the same.
    """
    kind = _verified(product)
    name = repository.instrument(instrument).name
    checksum = None
    if candidate is not None:
        ref = _candidate(repository, kind, name, candidate, detector, physical_filter)
        checksum = ref.checksum
        detector, physical_filter = ref.data_id.detector, ref.data_id.physical_filter
    _check_scope(repository, kind, name, detector, amp, exposure, physical_filter)
    _look_up(repository, kind, test)
    waiver = repository.registry.add_waiver(
        kind,
        test,
        instrument=name,
        category=category,
        comment=comment,
        author=getpass.getuser() if author is None else author,
        detector=detector,
        amp=amp,
        exposure=exposure,
        physical_filter=physical_filter,
        candidate=checksum,
        reference=reference,
        expires=expires,
    )
    until = "it never expires" if expires is None else f"until {isoformat(expires)} TAI"
    logger.info("waiver %s: %s", waiver.short, until)
    if waiver.is_broad:
        logger.warning(
            "waiver %s is about every detector, amplifier and exposure of %s: narrow it",
            waiver.short,
            name,
        )
    return waiver


def _verified(product: str) -> str:
    if product in VERIFIED:
        return product
    kind = product_name(product)
    if kind not in VERIFIED:
        raise UsageError(
            f"cpflow verifies no {kind}, so there is nothing to waive",
            hint=f"it verifies {', '.join(sorted(VERIFIED))}",
        )
    return kind


def _candidate(
    repository: Repository,
    product: str,
    instrument: str,
    candidate: str | DatasetRef,
    detector: int | None,
    physical_filter: str | None,
) -> DatasetRef:
    if isinstance(candidate, DatasetRef):
        found = [candidate]
        where = candidate.run
    else:
        where = candidate
        found = repository.registry.datasets(product, [where], instrument=instrument)
    chosen = {
        ref.id: ref
        for ref in found
        if ref.type == product
        and ref.data_id.instrument == instrument
        and detector in (None, ref.data_id.detector)
        and physical_filter in (None, ref.data_id.physical_filter)
    }
    if not chosen:
        raise NoDataError(f"{where} holds no {product} that this could be about")
    if len(chosen) > 1:
        listed = "".join(f"\n  {ref}" for ref in list(chosen.values())[:10])
        raise UsageError(
            f"{where} holds {len(chosen)} products that this could be about:{listed}",
            hint="name one with --detector, and --filter; or name a RUN",
        )
    return next(iter(chosen.values()))


def _check_scope(
    repository: Repository,
    product: str,
    instrument: str,
    detector: int | None,
    amp: str | None,
    exposure: int | None,
    physical_filter: str | None,
) -> None:
    registry = repository.registry
    detectors = [record.id for record in registry.detectors(instrument)]
    if detector is not None and detector not in detectors:
        raise UsageError(
            f"{instrument} has no detector {detector}",
            hint="'cpflow records REPO detector' lists them",
        )
    if amp is not None:
        known = {
            amplifier.name
            for one in repository.camera(instrument).detectors
            if detector in (None, one.id)
            for amplifier in one.amplifiers
        }
        # A camera that only its headers describe has no amplifiers before it is ingested.
        if known and amp not in known:
            where = "" if detector is None else f" detector {detector}"
            raise UsageError(
                f"{instrument}{where} has no amplifier {amp!r}",
                hint=nearest(amp, known) or f"amplifiers: {', '.join(sorted(known))}",
            )
    if exposure is not None:
        registry.exposure(exposure, instrument=instrument)
    if physical_filter is not None:
        if "physical_filter" not in VERIFIED[product]:
            raise UsageError(
                f"a {product} has no filter, so a waiver of it has none", hint="leave --filter out"
            )
        filters = [record.name for record in registry.physical_filters(instrument)]
        if physical_filter not in filters:
            raise UsageError(
                f"{instrument} has no filter {physical_filter!r}",
                hint=nearest(physical_filter, filters) or f"filters: {', '.join(filters)}",
            )


def _look_up(repository: Repository, product: str, test: str) -> None:
    """Warn of a test that no verification has had: it may be mistyped, or still to come."""
    registry = repository.registry
    kind = verification_name(product)
    if kind not in {one.name for one in registry.dataset_types()}:
        return
    tests: set[str] = set()
    for ref in registry.datasets(kind):
        tests.update(ref.provenance.get("summary", {}).get("tests", ()))
    if tests and test not in tests:
        logger.warning(
            "no verification of %s so far has a test %r; %s",
            product,
            test,
            nearest(test, tests) or f"tests: {', '.join(sorted(tests))}",
        )
