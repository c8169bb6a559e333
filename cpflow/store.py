"""Product files: staged out of sight, then published by a rename.

::

    <root>/products/<run>/<type>_<instrument>_<detector>[_<filter>].zarr
    <root>/.staging/<identity>/      one per plan that is running or was interrupted
    <root>/logs/<run>/               what a run wrote about itself: events.jsonl, run.log

Nothing under ``products`` is ever half written. A staging directory is keyed by the identity of its
plan, so that running the same plan again finds the bands that are done.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from cpflow.errors import CpflowError, UsageError
from cpflow.locks import hold, is_held
from cpflow.permissions import check_writable, make_directory, permitted, share, share_tree

PRODUCTS = "products"
STAGING = ".staging"
LOGS = "logs"
EVENTS, RUN_LOG = "events.jsonl", "run.log"

# Seconds: who only looks whether a directory is in use holds it for a moment; and a name is chosen
# in far less.
_A_MOMENT = 0.2
_NAMING = 60.0
# How often a directory is made again that another process found empty and removed.
_ATTEMPTS = 20


def product_file_name(
    product: str, instrument: str, detector: int | None, physical_filter: str | None
) -> str:
    """Return the directory name of one product; characters that files may not have are quoted."""
    parts = [product, instrument]
    if detector is not None:
        parts.append(str(detector))
    if physical_filter is not None:
        parts.append(physical_filter)
    return "_".join(quote(part, safe="~+-. ") for part in parts) + ".zarr"


def _quoted(run: str) -> str:
    """Return the name of a run as a path."""
    return quote(run, safe="/~+-. ")


@dataclass(frozen=True, slots=True)
class Staging:
    """The hidden directory of one plan's run."""

    path: Path
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    """Products are put together in a place of this very run: tasks of an earlier attempt, whose
    client was lost, may still be at work."""

    @property
    def lock(self) -> Path:
        """Held by the process that is at it."""
        return self.path / "lock"

    @property
    def facts_path(self) -> Path:
        """What is known of the run, as JSON."""
        return self.path / "run.json"

    def facts(self) -> dict[str, Any]:
        """Return what is known of the run; empty for a new one."""
        try:
            value: dict[str, Any] = json.loads(self.facts_path.read_text())
        except FileNotFoundError:
            return {}
        return value

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """Replace what is known of the run."""
        write_text(self.facts_path, json.dumps(facts, indent=1, sort_keys=True))

    def bands(self, product: str) -> Path:
        """Directory of the finished bands of a product."""
        return self.path / "bands" / product

    @property
    def values(self) -> Path:
        """Directory of the measurements and solutions that are done."""
        return self.path / "values"

    @property
    def products(self) -> Path:
        """Directory of the products of all attempts."""
        return self.path / "products"

    def product(self, name: str) -> Path:
        """Where a product is put together."""
        return self.products / self.attempt / name


@dataclass(frozen=True, slots=True)
class Store:
    """The files of a repository."""

    root: Path

    def staging(self, identity: str) -> Staging:
        """Return the staging directory of the plan with this identity; it may not exist yet."""
        return Staging(self.root / STAGING / identity[:32])

    def relative(self, run: str, name: str) -> str:
        """Return the path of a product relative to the root."""
        return f"{PRODUCTS}/{_quoted(run)}/{name}"

    def logs(self, run: str) -> Path:
        """Directory of what a run wrote about itself; it may not exist."""
        return self.root / LOGS / _quoted(run)

    def logged_runs(self) -> list[str]:
        """Return the names of the runs that have written about themselves."""
        found = []
        base = self.root / LOGS
        for directory, _, files in os.walk(base):
            if {EVENTS, RUN_LOG}.intersection(files):
                found.append(unquote(Path(directory).relative_to(base).as_posix()))
        return sorted(found)

    def remove_logs(self, run: str) -> None:
        """Remove what a run wrote about itself; runs below it keep theirs."""
        directory = self.logs(run)
        for name in (EVENTS, RUN_LOG):
            (directory / name).unlink(missing_ok=True)
        for empty in (directory, *directory.parents):
            if empty == self.root / LOGS:
                break
            try:
                empty.rmdir()
            except OSError:
                # Others have theirs there, or it never was.
                break

    def absolute(self, path: str) -> Path:
        """Return a stored path as an absolute one.

        Raises
        ------
        CpflowError
            If it would leave the repository.
        """
        if Path(path).is_absolute():
            return Path(path)
        full = Path(os.path.normpath(self.root / path))
        if not full.is_relative_to(self.root):
            raise CpflowError(f"path {path!r} leaves the repository {self.root}")
        return full

    @contextmanager
    def locked(self, staging: Staging) -> Iterator[None]:
        """Hold a staging directory, made if need be; two runs of one plan exclude each other.

        Raises
        ------
        UsageError
            If another process is running the same plan.
        """
        try:
            with ExitStack() as stack:
                try:
                    stack.enter_context(hold(staging.lock, seconds=_A_MOMENT))
                except BlockingIOError as error:
                    raise being_run("the same plan", staging.facts()) from error
                yield
        finally:
            # NFS keeps a file that is open, as the lock of a directory that was discarded.
            for gone in staging.path.parent.glob(f"{staging.path.name}.gone-*"):
                shutil.rmtree(gone, ignore_errors=True)

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Let one process at a time choose the name of a run, and write it into its staging.

        Raises
        ------
        UsageError
            If another process does not come to an end with it.
        """
        path = self.root / STAGING / ".naming"
        with ExitStack() as stack:
            try:
                stack.enter_context(hold(path, seconds=_NAMING))
            except BlockingIOError as error:
                raise UsageError(
                    f"another process has held {path} for {_NAMING:g} s",
                    hint="one that stands still? `fuser -v` shows it",
                ) from error
            stack.callback(path.unlink, missing_ok=True)
            yield

    def check_writable(self, runs: Iterable[str]) -> None:
        """Refuse what could not be published, before it is built.

        Raises
        ------
        AccessError
            If the user may not build in this repository, or not these runs.
        """
        for place in (STAGING, *(f"{PRODUCTS}/{_quoted(run)}" for run in runs)):
            check_writable(self.root / place)

    def publish(self, staged: Path, path: str) -> None:
        """Move a finished product into its place with one rename.

        What a crash left there without a registry entry is replaced.

        Raises
        ------
        AccessError
            If the user may not.
        """
        target = self.absolute(path)
        with permitted():
            share_tree(staged)
            sync_tree(staged)
            if target.exists():
                shutil.rmtree(target)
            for attempt in range(_ATTEMPTS):
                make_directory(target.parent)
                try:
                    staged.rename(target)
                    break
                except FileNotFoundError:
                    if attempt + 1 == _ATTEMPTS:
                        raise
            _sync_directory(target.parent)

    def discard(self, staging: Staging) -> None:
        """Remove a staging directory: its name is free at once, also while it is locked."""
        gone = staging.path.with_name(f"{staging.path.name}.gone-{uuid.uuid4().hex[:8]}")
        try:
            staging.path.rename(gone)
        except OSError:
            gone = staging.path
        # First of all: nobody is to take it for a run that was interrupted.
        with suppress(OSError):
            Staging(gone).facts_path.unlink()
        shutil.rmtree(gone, ignore_errors=True)

    def remove(self, path: str) -> None:
        """Remove a product: out of sight with one rename, then deleted.

        Directories that it leaves empty go too. What is not there is passed over.
        """
        target = self.absolute(path)
        if self.root / PRODUCTS not in target.parents:
            raise CpflowError(f"{target} is not a product of the repository {self.root}")
        if not target.exists():
            return
        doomed = self.staging(f"removed{uuid.uuid4().hex}")
        with permitted():
            make_directory(doomed.path)
            target.rename(doomed.path / target.name)
        self.discard(doomed)
        for parent in target.parents:
            if parent == self.root / PRODUCTS:
                break
            try:
                parent.rmdir()
            except OSError:
                # It holds others, perhaps of a run that is just being published.
                break

    def product_paths(self) -> list[str]:
        """Return the paths of all product directories, relative to the root."""
        found = []
        for directory, names, files in os.walk(self.root / PRODUCTS):
            # The name is no sign: a run may be called so too.
            if "zarr.json" in files:
                found.append(Path(directory).relative_to(self.root).as_posix())
                names.clear()
        return sorted(found)

    def is_running(self, run: str) -> bool:
        """Whether a process may be at work on a run: one of another machine cannot be asked.

        No lock is taken for this: a run that begins would find it held.
        """
        for staging in self.stagings():
            facts = staging.facts()
            if facts.get("run") == run:
                return facts.get("host") != socket.gethostname() or _lives(int(facts["pid"]))
        return False

    def stagings(self) -> list[Staging]:
        """Return all staging directories, whoever holds them; none is locked for this."""
        base = self.root / STAGING
        return [Staging(path) for path in sorted(base.glob("*/")) if path.is_dir()]

    def leftovers(self) -> list[Staging]:
        """Return the staging directories that no process holds."""
        return [staging for staging, held in self._stagings() if not held]

    def in_use(self) -> list[Staging]:
        """Return the staging directories that a process holds: a run that is going on."""
        return [staging for staging, held in self._stagings() if held]

    def _stagings(self) -> list[tuple[Staging, bool]]:
        return [(staging, is_held(staging.lock)) for staging in self.stagings()]


def being_run(what: str, facts: Mapping[str, Any]) -> UsageError:
    """Return the refusal of what another process is at."""
    return UsageError(
        f"{what} is being run by another process "
        f"(pid {facts.get('pid')} on {facts.get('host')}, run {facts.get('run')})",
        hint="wait for it, or stop it and run this again to resume",
    )


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def write_text(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old one or the new one, never a part."""
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    with permitted():
        with temporary.open("w") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        share(temporary)
        temporary.rename(path)


def sync_tree(path: Path) -> None:
    """Force every file below `path` to disk."""
    for directory, _, names in os.walk(path):
        for name in names:
            descriptor = os.open(Path(directory) / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        _sync_directory(Path(directory))


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
