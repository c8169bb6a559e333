"""What is written about a run while it goes on: its events, and its log.

::

    <root>/logs/<run>/events.jsonl    one JSON object per line, as it happens
    <root>/logs/<run>/run.log         time, level, exposure, detector, message

Both go on when a run is resumed. Of a process that is killed they hold all up to then: each line
is one write.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cpflow.errors import AccessError, ClusterLostError, CpflowError, InterruptedRunError
from cpflow.permissions import make_directory, share
from cpflow.plan import Plan
from cpflow.scheduler.events import (
    Event,
    Listener,
    event_line,
    fan_out,
    named,
    read_event,
    time_text,
)
from cpflow.scheduler.tally import State, Tally
from cpflow.store import EVENTS, RUN_LOG, Store

logger = logging.getLogger(__name__)
_package = logging.getLogger("cpflow")


class RunLogFormatter(logging.Formatter):
    """One line per record: UTC time, level, exposure, detector, message.

    A record has the attributes ``exposure`` and ``detector`` if they were given in ``extra``; "-"
    stands for what is not known.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; line breaks in the message become " | "."""
        exposure = getattr(record, "exposure", None)
        detector = getattr(record, "detector", None)
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        return (
            f"{time_text(datetime.fromtimestamp(record.created, UTC))} {record.levelname:<7} "
            f"exposure={'-' if exposure is None else exposure} "
            f"detector={'-' if detector is None else detector} "
            + " | ".join(line.strip() for line in message.splitlines())
        )


class _Lines:
    """A file that lines are added to, each with one write; gives up at the first that fails."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        try:
            make_directory(path.parent)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            share(path)
            self._drop_half_line()
        except (OSError, AccessError) as error:
            self._give_up(error)

    def _drop_half_line(self) -> None:
        """Remove what a machine that went down left of a last line."""
        assert self._descriptor is not None
        size = end = os.fstat(self._descriptor).st_size
        while end > 0:
            begin = max(0, end - 4096)
            found = os.pread(self._descriptor, end - begin, begin).rfind(b"\n")
            if found >= 0:
                end = begin + found + 1
                break
            end = begin
        if end < size:
            os.ftruncate(self._descriptor, end)

    def add(self, line: str) -> None:
        """Add a line, which has no line break."""
        if self._descriptor is None:
            return
        content = f"{line}\n".encode(errors="replace")
        try:
            if os.write(self._descriptor, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError | AccessError) -> None:
        self.close()
        reason = error.message if isinstance(error, AccessError) else error.strerror or error
        # Of what use is a run that fails for its log?
        logger.warning("%s is not written: %s", self.path, reason)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class _RunLog(logging.Handler):
    """Writes log records to the file of a run."""

    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self.lines = lines
        self.setFormatter(RunLogFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self.lines.add(self.format(record))
        except Exception:
            self.handleError(record)

    def note(self, text: str) -> None:
        """Write something that is shown elsewhere in another way."""
        self.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 0, text, (), None))


@contextmanager
def recorded(
    store: Store, plan: Plan, run: str, listener: Listener
) -> Iterator[tuple[Listener, Tally]]:
    """Write down what happens within the block: to listen to, and a count of it.

    The log gets every record of logger "cpflow" from INFO on, from this process and from workers
    that are forwarded; records of handlers that are there already are their own affair.

    Parameters
    ----------
    store : Store
    plan : Plan
    run : str
        Name of the RUN.
    listener : callable
        Hears the events, too, with the name of the run.

    Yields
    ------
    tuple of callable and Tally
    """
    tally = Tally()
    attempts = _attempts(store.logs(run) / EVENTS)
    events = _Lines(store.logs(run) / EVENTS)
    log = _Lines(store.logs(run) / RUN_LOG)
    listen = named(run, fan_out(lambda event: events.add(event_line(event)), tally, listener))
    handler = _RunLog(log)
    before = _package.level
    if _package.getEffectiveLevel() > logging.INFO:
        _package.setLevel(logging.INFO)
    _package.addHandler(handler)
    try:
        handler.note(f"run {run}: graph {plan.graph.name}, {len(plan.products)} products")
        listen(Event("run_started", "", attempts, len(plan.products), plan.graph.name))
        try:
            yield listen, tally
        except BaseException as error:
            listen(Event("run_ended", text=_state_after(error), hint=_reason(error)))
            raise
        listen(Event("run_ended", text=tally.state()))
    finally:
        handler.note("\n".join(tally.summary().lines(failures=False)))
        _package.removeHandler(handler)
        _package.setLevel(before)
        events.close()
        log.close()


def _attempts(path: Path) -> int:
    """Return how often a run was begun."""
    try:
        if not path.is_file():
            return 0
        with path.open("rb") as lines:
            return sum(b'"kind": "run_started"' in line for line in lines)
    except OSError:
        return 0


def _state_after(error: BaseException) -> State:
    if isinstance(error, (InterruptedRunError, KeyboardInterrupt)):
        return State.INTERRUPTED
    return State.LOST if isinstance(error, ClusterLostError) else State.CRASHED


def _reason(error: BaseException) -> str:
    if isinstance(error, CpflowError):
        return error.message if error.hint is None else f"{error.message}; {error.hint}"
    return f"{type(error).__name__}: {error}"


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of a file, up to the last full line.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    with path.open(encoding="utf-8") as handle:
        for line in handle:
            if line.endswith("\n"):
                yield read_event(line)
