"""Raw frames of other detectors that a product needs: crosstalk crosses from one to the next."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cpflow.exposure import Exposure, RawFile
from cpflow.plan.lookup import Calibration
from cpflow.registry import DatasetRef
from cpflow.repo import Repository
from cpflow.stack import Stack, open_stack
from cpflow.steps.tables import source_detectors

logger = logging.getLogger(__name__)


def stacks_beside(
    repository: Repository,
    path: Sequence[str],
    instrument: str,
    stack: Stack,
    crosstalk: Calibration | None,
) -> dict[int, Stack]:
    """Return the raw frames of the detectors whose signal is subtracted from this one.

    Parameters
    ----------
    repository : Repository
    path : sequence of str
        Collections with raw frames.
    instrument : str
    stack : Stack
        Of the detector that is corrected.
    crosstalk : Calibration, or None

    Returns
    -------
    dict of int to Stack
        By detector. Raw frames that are missing are named, and nothing is subtracted for them.
    """
    if crosstalk is None:
        return {}
    numbers = sorted(
        {
            number
            for source in crosstalk.sources
            for number in source_detectors(
                repository.open_dataset(source)
                if isinstance(source, DatasetRef)
                else source.dataset
            )
        }
    )
    if not numbers or not stack.sources:
        return {}
    ids = ", ".join(str(e.exposure) for e in stack.exposures)
    listed = ", ".join(map(str, numbers))
    query = f"instrument='{instrument}' AND exposure IN ({ids}) AND detector IN ({listed})"
    found: dict[int, list[tuple[Exposure, RawFile]]] = {}
    for pair in repository.select(query, collections=path):
        found.setdefault(pair[1].detector, []).append(pair)
    wanted = {e.exposure for e in stack.exposures}
    for number in numbers:
        lacking = wanted - {e.exposure for e, _ in found.get(number, [])}
        if lacking:
            logger.warning(
                "detector %d: the crosstalk from detector %d is not subtracted from %d exposures, "
                "as there are no raw frames of it: %s",
                stack.detector.id,
                number,
                len(lacking),
                ", ".join(map(str, sorted(lacking)[:10])),
                extra={"detector": stack.detector.id},
            )
    return {
        number: open_stack(
            repository.detector(instrument, number),
            pairs,
            root=str(repository.root),
            band_rows=stack.band_rows,
        )
        for number, pairs in sorted(found.items())
    }


def raws_beside(stack: Stack) -> list[tuple[Exposure, RawFile]]:
    """Return the raw frames of other detectors that a stack uses."""
    return [
        (source.exposure, source.raw) for other in stack.beside.values() for source in other.sources
    ]
