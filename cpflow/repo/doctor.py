"""Is a repository sound? Registry, products, raw files, and what crashes left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from cpflow.errors import AccessError, CpflowError, UsageError
from cpflow.findings import Finding, Level, error, problems, sound
from cpflow.io.checksum import file_checksum
from cpflow.registry import DatasetRef
from cpflow.repo.content import content_problem
from cpflow.repo.ingest import SUFFIXES
from cpflow.repo.repository import Repository
from cpflow.store import LOGS, Staging

_RAW = "raw"
_STALE = 3600

__all__ = ["Finding", "Level", "clean", "examine", "summary"]


def examine(repository: Repository, *, checksum: bool = False) -> list[Finding]:
    """Compare registry and files of a repository.

    Parameters
    ----------
    repository : Repository
    checksum : bool
        Read every product and raw file and compare its content; otherwise existence and size.

    Returns
    -------
    list of Finding
        Errors first.
    """
    return problems(
        [
            *_registry(repository),
            *_products(repository, checksum),
            *_raws(repository, checksum),
            *_readable("staging", _stagings(repository)),
            *_readable("store", _orphans(repository)),
            *_readable("raw files", _strays(repository)),
            *_readable("logs", _logs(repository)),
        ]
    )


def clean(repository: Repository, findings: list[Finding]) -> list[Finding]:
    """Remove what crashes left behind, and return the findings that it dealt with.

    Interrupted runs cannot be resumed afterwards. Nothing that the registry knows is touched.
    """
    store = repository.store
    # Somebody may have registered a product since, or be resuming a run.
    orphans = {one.leftover for one in (*_orphans(repository), *_logs(repository))}
    done = []
    for one in findings:
        if one.leftover is None:
            continue
        path = store.absolute(one.leftover)
        if one.leftover.startswith("products/"):
            if one.leftover not in orphans:
                continue
            store.remove(one.leftover)
        elif one.leftover.startswith(f"{LOGS}/"):
            if one.leftover not in orphans:
                continue
            store.remove_logs(_logged(one.leftover))
        elif path.is_dir():
            staging = Staging(path)
            runs = _runs(staging)
            try:
                with store.locked(staging):
                    store.discard(staging)
            except UsageError:
                continue
            for run in set(runs) - set(repository.registry.collection_names()):
                store.remove_logs(run)
        else:
            path.unlink(missing_ok=True)
        done.append(one)
    return done


def summary(repository: Repository) -> Finding:
    """Say what was compared, where nothing is wrong."""
    registry = repository.registry
    products = sum(1 for ref in registry.datasets() if ref.stored)
    return sound(
        "products",
        f"{products}, and {len(registry.raw_places())} raw files, as registered; nothing was left "
        "behind",
    )


def _readable(subject: str, found: Iterator[Finding]) -> Iterator[Finding]:
    """Yield findings, and that the rest cannot be looked at, if a directory is not for this user.

    A lock of a staging directory is a file that is opened for writing.
    """
    try:
        yield from found
    except (OSError, AccessError) as failure:
        yield error(
            subject,
            f"cannot be looked at: {failure if isinstance(failure, OSError) else failure.message}",
            "run this as a user who may build here",
        )


def _registry(repository: Repository) -> Iterator[Finding]:
    for problem in repository.registry.problems():
        if "network file system" in problem:
            yield Finding(
                Level.WARNING,
                "registry",
                problem,
                "move it: `cpflow init NEW --db postgresql+psycopg://...`, then export-collections "
                "and import-collections",
            )
        elif "its file was given up" in problem:
            yield Finding(
                Level.ERROR, "registry", problem, "`cpflow decertify` it, or certify another"
            )
        else:
            yield Finding(Level.ERROR, "registry", problem, "bring the database back from a backup")


def _products(repository: Repository, checksum: bool) -> Iterator[Finding]:
    for ref in repository.registry.datasets():
        if not ref.stored:
            continue
        problem = _product_problem(repository, ref, checksum)
        if problem is not None:
            held = sorted({c.collection for c in repository.registry.certifications_of(ref.id)})
            certified = f"; it is certified in {', '.join(held)}" if held else ""
            yield Finding(
                Level.ERROR,
                f"product {ref}",
                problem + certified,
                "bring the file back, or build it again and certify that with --replace",
            )


def _product_problem(repository: Repository, ref: DatasetRef, checksum: bool) -> str | None:
    try:
        path = repository.store.absolute(ref.path)
        if not path.is_dir():
            return f"{path} is missing"
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    except (CpflowError, OSError) as failure:
        return str(failure)
    if ref.size and size != ref.size:
        return f"{path} is damaged: it has {size} bytes, not {ref.size}"
    if checksum:
        return content_problem(path, ref.checksum)
    return None


def _raws(repository: Repository, checksum: bool) -> Iterator[Finding]:
    for raw in repository.registry.raw_places():
        try:
            path = repository.store.absolute(raw.path)
            problem = _raw_problem(path, raw.size, raw.checksum if checksum else None)
        except (OSError, CpflowError) as failure:
            problem = str(failure)
        if problem is not None:
            yield Finding(
                Level.ERROR,
                f"raw of exposure {raw.exposure}, detector {raw.detector} in {raw.run}",
                problem,
                "bring the file back, or ingest it from elsewhere with --update-records",
            )


def _raw_problem(path: Path, size: int, checksum: str | None) -> str | None:
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        return f"{path} is missing"
    if found != size:
        return f"{path} is damaged: it has {found} bytes, not {size}"
    if checksum is not None and file_checksum(path) != checksum:
        return f"{path} is damaged: its content has changed since it was ingested"
    return None


def _stagings(repository: Repository) -> Iterator[Finding]:
    for staging in repository.store.leftovers():
        facts = staging.facts()
        what = f"run {facts['run']}" if facts.get("run") else "something unfinished"
        resumable = "the same command resumes it; " if facts.get("graph") else ""
        yield Finding(
            Level.WARNING,
            "staging",
            f"{what} was interrupted, or failed in part, and left {staging.path}",
            f"{resumable}--clean drops it",
            staging.path.relative_to(repository.root).as_posix(),
        )


def _orphans(repository: Repository) -> Iterator[Finding]:
    store = repository.store
    # In this order: what is registered while we look is no orphan, and neither is what a process
    # has put in place and is about to register.
    paths = store.product_paths()
    busy = [run for staging in store.in_use() for run in _runs(staging)]
    known = {ref.path for ref in repository.registry.datasets()}
    for path in paths:
        parents = {parent.as_posix() for parent in Path(path).parents}
        if path in known or parents & known:
            continue
        if any(path.startswith(store.relative(run, "")) for run in busy):
            continue
        yield Finding(
            Level.WARNING,
            "store",
            f"{store.absolute(path)} belongs to no dataset",
            "--clean removes it",
            path,
        )


def _runs(staging: Staging) -> list[str]:
    facts = staging.facts()
    return [facts["run"], *facts.get("runs", ())] if facts else []


def _logs(repository: Repository) -> Iterator[Finding]:
    store = repository.store
    # In this order, as for products.
    logged = store.logged_runs()
    if not logged:
        return
    staged = {run for staging in store.stagings() for run in _runs(staging)}
    known = staged.union(repository.registry.collection_names())
    for run in logged:
        if run not in known:
            yield Finding(
                Level.WARNING,
                "logs",
                f"{store.logs(run)} are logs of a run that is not there",
                "--clean removes them",
                store.logs(run).relative_to(repository.root).as_posix(),
            )


def _logged(leftover: str) -> str:
    """Return the run whose logs these are."""
    return unquote(leftover.removeprefix(f"{LOGS}/"))


def _strays(repository: Repository) -> Iterator[Finding]:
    root, now = repository.root, time.time()
    files = [Path(d) / name for d, _, names in os.walk(root / _RAW) for name in names]
    known = {raw.path for raw in repository.registry.raw_places()} if files else set()
    for path in sorted(files):
        relative = path.relative_to(root).as_posix()
        if path.name.startswith(".") and path.name.endswith(".tmp"):
            if now - path.lstat().st_mtime > _STALE:
                problem = f"{path} was being copied when the process died"
                yield Finding(Level.WARNING, "raw files", problem, "--clean removes it", relative)
        elif relative not in known and path.name.lower().endswith(SUFFIXES):
            # Raw data: nobody but its owner deletes it.
            yield Finding(
                Level.WARNING,
                "raw files",
                f"{path} belongs to no exposure",
                "`cpflow ingest` it, or delete it",
            )
