"""Ingest files into a repository that is thrown away, to see what would become of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cpflow.camera import Detector
from cpflow.exposure import Exposure, RawFile
from cpflow.io.instrument import Instrument
from cpflow.repo.ingest import Refused, ingest
from cpflow.repo.repository import Repository


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would become of files.

    Parameters
    ----------
    taken : list of (Exposure, RawFile)
        A pair for each detector of each file.
    refused : list of Refused
        Files that would not go in.
    detectors : dict of int to Detector
        Those that have files.
    """

    taken: list[tuple[Exposure, RawFile]]
    refused: list[Refused]
    detectors: dict[int, Detector]

    def __repr__(self) -> str:
        return f"<Rehearsal: {len(self.taken)} taken, {len(self.refused)} refused>"


def rehearse_ingest(
    instrument: Instrument,
    paths: Iterable[str | Path],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Rehearsal:
    """Ingest files into a new repository with one instrument, and forget it.

    Parameters
    ----------
    instrument : Instrument
    paths : iterable of path
        Files, or directories to search.
    progress : callable, optional
        Called with (files done, files in all).

    Raises
    ------
    NoDataError
        If there is no file.
    """
    with tempfile.TemporaryDirectory(prefix="cpflow-") as directory:
        root = Path(directory) / "repo"
        with Repository.create(root) as repository:
            repository.register_instrument(instrument)
            report = ingest(repository, paths, progress=progress)
            taken = repository.registry.select("")
            numbers = sorted({raw.detector for _, raw in taken})
            detectors = {n: repository.detector(instrument.name, n) for n in numbers}
    return Rehearsal(taken, report.refused, detectors)
