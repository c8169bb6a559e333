"""Bring raw frames into a repository: metadata, checksum and byte layout, recorded once."""

from __future__ import annotations

import logging
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from cpflow.errors import CollectionTypeError, CpflowError, NoDataError, RawError
from cpflow.exposure import Exposure, RawFile
from cpflow.io.checksum import file_checksum
from cpflow.io.instrument import Instrument, geometry_of
from cpflow.io.raw import ScannedRaw, scan_raw
from cpflow.permissions import make_directory, share
from cpflow.registry import CollectionType
from cpflow.registry.names import check_collection_name
from cpflow.repo.repository import Repository

logger = logging.getLogger(__name__)

Transfer = Literal["direct", "copy", "link"]
SUFFIXES = (".fits", ".fit", ".fts", ".fits.fz", ".fit.fz", ".fits.gz", ".fit.gz")


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that was not ingested, and why."""

    path: str
    error: CpflowError


@dataclass(slots=True)
class IngestReport:
    """What became of each file."""

    added: list[Path] = field(default_factory=list)
    already: list[Path] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def __repr__(self) -> str:
        return (
            f"<IngestReport: {len(self.added)} added, {len(self.already)} already there, "
            f"{len(self.refused)} refused>"
        )


def raw_files(paths: Iterable[str | Path]) -> list[Path]:
    """Return the FITS files that paths name; a directory is searched.

    Raises
    ------
    NoDataError
        If a path does not exist, or a directory holds no FITS file.
    """
    found: list[Path] = []
    for given in paths:
        path = Path(given)
        if path.is_dir():
            inside = sorted(
                p for p in path.rglob("*") if p.is_file() and p.name.lower().endswith(SUFFIXES)
            )
            if not inside:
                raise NoDataError(
                    f"{path} holds no FITS files ({', '.join(SUFFIXES)})",
                    hint="name the directory that does; files of other names are named one by one",
                )
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise NoDataError(
                f"{path} does not exist",
                hint="is it spelled right? a pattern that fits nothing reaches cpflow as it is",
            )
    return list(dict.fromkeys(path.resolve() for path in found))


def ingest(
    repository: Repository,
    paths: Iterable[str | Path],
    *,
    instrument: str | None = None,
    transfer: Transfer = "direct",
    output_run: str | None = None,
    update_records: bool = False,
    fail_fast: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> IngestReport:
    """Ingest raw frames.

    Every file is looked at first; then each exposure goes in with all its files in one
    transaction. What is there already is left alone; a file that cannot be used is reported and the
    others go in.

    Parameters
    ----------
    repository : Repository
    paths : iterable of path
        Files, or directories to search.
    instrument : str, optional
        May be left out if the repository has only one.
    transfer : {"direct", "copy", "link"}
        Record the absolute path; copy into the repository; or link (hard, else symbolic).
    output_run : str, optional
        By default ``<instrument>/raw/all``.
    update_records : bool
        Overwrite exposure records that differ.
    fail_fast : bool
        Stop at the first file that cannot be used.
    threads : int, optional
    progress : callable, optional
        Called with (files done, files in all).

    Returns
    -------
    IngestReport

    Raises
    ------
    NoDataError
        If there is no file.
    RawError
        With `fail_fast`, for the first file that cannot be used.
    """
    files = raw_files(paths)
    found = repository.instrument(instrument)
    run = f"{found.name}/raw/all" if output_run is None else output_run
    _check_run(repository, run)
    report = IngestReport()
    scanned: dict[int, list[tuple[Path, ScannedRaw]]] = defaultdict(list)
    for done, (path, result) in enumerate(_scan_all(files, found, threads), start=1):
        if isinstance(result, CpflowError):
            if fail_fast:
                raise result
            report.refused.append(Refused(str(path), result))
            logger.error("%s", result)
        else:
            scanned[result.exposure.exposure].append((path, result))
        if progress is not None:
            progress(done, len(files))
    for exposure in sorted(scanned):
        _add(repository, found, run, scanned[exposure], transfer, update_records, fail_fast, report)
    return report


def _check_run(repository: Repository, name: str) -> None:
    """Refuse a collection that cannot take raw frames, once, not for each of them."""
    registry = repository.registry
    if check_collection_name(name) not in registry.collection_names():
        return
    kind = registry.collection(name).type
    if kind is not CollectionType.RUN:
        raise CollectionTypeError(
            f"{name} is a {kind} collection, and raw frames go into a RUN",
            hint="name another with --output-run, or leave that out",
        )


def _scan_all(
    files: Sequence[Path], instrument: Instrument, threads: int | None
) -> Iterator[tuple[Path, ScannedRaw | CpflowError]]:
    def scan(path: Path) -> ScannedRaw | CpflowError:
        try:
            return scan_raw(path, instrument)
        except CpflowError as error:
            return error

    workers = threads or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        yield from zip(files, pool.map(scan, files), strict=True)


def _add(
    repository: Repository,
    instrument: Instrument,
    run: str,
    scanned: list[tuple[Path, ScannedRaw]],
    transfer: Transfer,
    update_records: bool,
    fail_fast: bool,
    report: IngestReport,
) -> None:
    """Put one exposure with all its files into the registry."""
    exposure = scanned[0][1].exposure
    created: list[Path] = []
    try:
        raws: list[RawFile] = []
        for path, item in scanned:
            _check_one_exposure(exposure, item, path)
            _register_geometry(repository, instrument, item, path)
            for raw in item.raws:
                raws.append(_transferred(repository, raw, exposure, path, transfer, created))
        result = repository.registry.add_exposure(exposure, raws, run, update=update_records)
        if result.error is not None:
            raise result.error
    except (CpflowError, OSError) as error:
        for path in created:
            path.unlink(missing_ok=True)
        for path, _ in scanned:
            failure = _named(error, path, exposure.exposure)
            if fail_fast:
                raise failure from error
            report.refused.append(Refused(str(path), failure))
            logger.error("%s", failure)
        return
    states = set(result.raws.values())
    target = report.added if states & {"added", "updated"} else report.already
    target.extend(path for path, _ in scanned)


def _named(error: Exception, path: Path, exposure: int) -> CpflowError:
    if isinstance(error, RawError):
        return error
    if isinstance(error, CpflowError):
        return RawError(error.message, file=str(path), exposure=exposure, hint=error.hint)
    return RawError(f"cannot be transferred: {error}", file=str(path), exposure=exposure)


def _check_one_exposure(exposure: Exposure, item: ScannedRaw, path: Path) -> None:
    if replace(item.exposure, extra=exposure.extra) != exposure:
        raise RawError(
            "two files of one exposure disagree about it",
            file=str(path),
            exposure=exposure.exposure,
            hint="ingest them separately, or mend the header of one",
        )


def _register_geometry(
    repository: Repository, instrument: Instrument, item: ScannedRaw, path: Path
) -> None:
    """Keep the geometry of a camera that only headers describe; refuse another one later."""
    for detector in item.detectors:
        repository.registry.register_detector(
            instrument.name, detector.id, detector.name, geometry_of(detector)
        )


def _transferred(
    repository: Repository,
    raw: RawFile,
    exposure: Exposure,
    path: Path,
    transfer: Transfer,
    created: list[Path],
) -> RawFile:
    root = repository.root
    if path.is_relative_to(root):
        return replace(raw, path=path.relative_to(root).as_posix())
    if transfer == "direct":
        return replace(raw, path=str(path))
    target = root / "raw" / exposure.instrument / str(exposure.day_obs) / path.name
    stored = replace(raw, path=target.relative_to(root).as_posix())
    if target.exists():
        # Left by a process that died before it was registered, or ingested already.
        if file_checksum(target) != raw.checksum:
            raise RawError(
                f"cannot be transferred: {target} is another file",
                file=str(path),
                exposure=exposure.exposure,
                hint="rename one of them, or ingest with --transfer direct",
            )
        return stored
    make_directory(target.parent)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    if transfer == "copy":
        shutil.copyfile(path, temporary)
        share(temporary)
    else:
        try:
            os.link(path, temporary)
        except OSError:
            temporary.symlink_to(path)
    temporary.rename(target)
    created.append(target)
    return stored
