"""``cpflow logs``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from cpflow.repo import Repository
    from cpflow.scheduler.tally import RunSummary, Tally

_WARNINGS = 20
_SERIOUS = {"WARNING", "ERROR", "CRITICAL"}
_POLL = 0.2


@click.command("logs")
@click.argument("repo")
@click.argument("run", required=False)
@click.option("--events", is_flag=True, help="Print the events, one JSON object per line.")
@click.option("--log", "whole", is_flag=True, help="Print the whole log.")
@click.option("-f", "--follow", is_flag=True, help="Print the log, or events, until the run ends.")
@click.option("--json", "as_json", is_flag=True, help="The summary as one JSON object.")
def command(
    repo: str, run: str | None, events: bool, whole: bool, follow: bool, as_json: bool
) -> None:
    """Say what became of a run: what is done, what failed and why, and the warnings of its log.

    RUN is a RUN or a chain; without it, it is the run that wrote last. Runs that go on, failed, or
    were killed have logs, too.

    \b
    cpflow logs repo                        what happened last
    cpflow logs repo u/me/biasGen --follow  what happens now
    """
    from cpflow.cli.output import show_json
    from cpflow.errors import NoDataError, UsageError
    from cpflow.repo import Repository
    from cpflow.store import EVENTS, RUN_LOG

    if events + whole + as_json > 1 or (as_json and follow):
        raise UsageError(
            "--events, --log and --json exclude each other, as --json and --follow",
            hint="give one of them",
        )
    with Repository(repo) as repository:
        name = _run_named(repository, run)
        directory = repository.store.logs(name)
        wanted = EVENTS if events else RUN_LOG
        if (follow or events or whole) and not (directory / wanted).is_file():
            raise NoDataError(f"run {name} has no {wanted} in {directory}")
        if follow:
            for line in _followed(repository, name, directory, wanted):
                click.echo(line)
        elif events or whole:
            with (directory / wanted).open(encoding="utf-8") as handle:
                for line in handle:
                    click.echo(line, nl=False)
        if events or whole:
            return
        summary = _summary(repository, name, _tally(directory / EVENTS))
        if as_json:
            show_json({**summary.as_dict(), "directory": str(directory)})
            return
        for line in summary.lines():
            click.echo(line)
        if not follow:
            _show_warnings(directory / RUN_LOG)
        click.echo(f"logs: {directory}")


def _run_named(repository: Repository, run: str | None) -> str:
    """Return the name of a run that has logs.

    Raises
    ------
    NoDataError
        If there is none.
    """
    from cpflow.errors import NoDataError

    store = repository.store
    candidates = logged = store.logged_runs()
    if run is not None:
        candidates = [name for name in logged if name == run]
    if run is not None and not candidates:
        # A run joins its chain when it has something to offer. Before, it is just named after it.
        names = repository.registry.collection_names()
        held = repository.registry.flatten(run) if run in names else []
        candidates = [name for name in logged if name in held or name.startswith(f"{run}/")]
    if not candidates:
        what = repr(run) if run is not None else "any run"
        raise NoDataError(
            f"there are no logs of {what} in {store.root}",
            hint="cpflow collections lists the runs; those of older versions wrote no logs",
        )
    return max(candidates, key=lambda name: _written(store.logs(name)))


def _written(directory: Path) -> float:
    return max(path.stat().st_mtime for path in directory.iterdir() if path.is_file())


def _summary(repository: Repository, run: str, tally: Tally) -> RunSummary:
    """Return what became of a run, given the count of its events.

    Raises
    ------
    NoDataError
        If it has none.
    """
    from cpflow.errors import NoDataError
    from cpflow.scheduler.tally import State

    if not tally.began:
        raise NoDataError(f"run {run} wrote no events", hint="--log prints its log")
    found = tally.summary()
    if found.state is State.GOING_ON and not repository.store.is_running(run):
        return tally.summary(State.KILLED)
    return found


def _tally(path: Path) -> Tally:
    """Count the events of a file.

    Raises
    ------
    DataError
        If one cannot be read.
    """
    from cpflow.errors import DataError
    from cpflow.scheduler.journal import read_events
    from cpflow.scheduler.tally import Tally

    tally = Tally()
    try:
        for event in read_events(path) if path.is_file() else ():
            tally(event)
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}", hint="--log prints the log") from error
    return tally


def _show_warnings(path: Path) -> None:
    """Print the last warnings and errors of a log."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as handle:
        lines = [line.rstrip("\n") for line in handle if _SERIOUS.intersection(line.split()[1:2])]
    if not lines:
        return
    all_of_them = f"warnings and errors: {len(lines)}"
    if len(lines) > _WARNINGS:
        all_of_them += f", here the last {_WARNINGS}; --log prints all"
    click.echo(all_of_them)
    for line in lines[-_WARNINGS:]:
        click.echo(f"  {line}")


def _followed(repository: Repository, run: str, directory: Path, name: str) -> Iterator[str]:
    """Yield lines of a file, as they are written, until the run has ended or was killed."""
    from cpflow.scheduler.events import read_event
    from cpflow.scheduler.tally import State, Tally
    from cpflow.store import EVENTS

    tally = Tally()
    with (
        (directory / EVENTS).open(encoding="utf-8") as events,
        (directory / name).open(encoding="utf-8") as shown,
    ):
        told, lines = _Growing(events), _Growing(shown)
        while True:
            for line in told.lines():
                tally(read_event(line))
            # Asked before the lines are read: all that was written until then is.
            ended = tally.began and _summary(repository, run, tally).state is not State.GOING_ON
            yield from lines.lines()
            if ended:
                return
            time.sleep(_POLL)


class _Growing:
    """Reads a file that somebody writes to."""

    def __init__(self, handle: TextIO) -> None:
        self.handle = handle
        self._half = ""

    def lines(self) -> Iterator[str]:
        """Yield the full lines that are new, without line breaks."""
        while line := self.handle.readline():
            self._half += line
            if line.endswith("\n"):
                yield self._half.rstrip("\n")
                self._half = ""
