"""What is in force: explaining a look-up, and taking certifications back."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cpflow.errors import UsageError
from cpflow.products import product_name
from cpflow.registry import Certification, Explanation
from cpflow.repo.repository import Repository
from cpflow.timespan import Timespan


def explain(
    repository: Repository,
    exposure: int,
    detector: int | None = None,
    *,
    collections: str | Sequence[str] = (),
    types: str | Sequence[str] | None = None,
    instrument: str | None = None,
) -> list[Explanation]:
    """Show which calibrations apply to an exposure, and why the others do not (spec V30).

    Parameters
    ----------
    repository : Repository
    exposure : int
        Exposure id.
    detector : int, optional
        May be left out if the instrument has only one.
    collections : str or sequence of str
        Searched in this order; by default those that a run searches.
    types : str or sequence of str, optional
        Product types; by default all.
    instrument : str, optional
        May be left out if there is only one.

    Raises
    ------
    NoDataError
        If there is no such exposure.
    UsageError
        If the detector has to be named, or the instrument has none of that number.
    """
    registry = repository.registry
    record = registry.exposure(exposure, instrument=instrument)
    known = [one.id for one in registry.detectors(record.instrument)]
    if detector is None and len(known) == 1:
        detector = known[0]
    if detector not in known:
        what = "name one of them" if detector is None else f"there is no detector {detector}"
        raise UsageError(
            f"{record.instrument} has {len(known)} detectors: {what}",
            hint="--detector N; `cpflow records REPO detector` lists them",
        )
    path = [collections] if isinstance(collections, str) else list(collections)
    given = [types] if isinstance(types, str) else types
    names = None if given is None else [product_name(name) for name in given]
    return registry.explain(record, detector, path or repository.default_inputs(), names)


def decertify(
    repository: Repository,
    collection: str,
    product: str,
    span: Timespan,
    *,
    detectors: Collection[int] | None = None,
    where: str | None = None,
    dry_run: bool = False,
) -> tuple[list[Certification], list[Certification]]:
    """Take a span away from what is certified, in one transaction (spec V15 to V19).

    Parameters
    ----------
    repository : Repository
    collection : str
        CALIBRATION collection.
    product : str
        Product type.
    span : Timespan
        What to take away.
    detectors : collection of int, optional
        Only these.
    where : str, optional
        Only products that a data query selects.
    dry_run : bool
        Change nothing.

    Returns
    -------
    tuple of list of Certification
        The rows that overlap the span, and what is left of them.
    """
    kind = product_name(product)
    registry = repository.registry
    data_ids = None
    if where or detectors is not None:
        found = registry.datasets(kind, collections=[collection], where=where or "")
        data_ids = [
            ref.data_id for ref in found if detectors is None or ref.data_id.detector in detectors
        ]
    return registry.decertify(collection, kind, span, data_ids, dry_run=dry_run)
