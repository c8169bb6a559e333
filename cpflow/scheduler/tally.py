"""What a run came to, added up from its events: while it goes on, at its end, or years later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from cpflow.scheduler.events import Event, time_text
from cpflow.sizes import size_text

_SHOWN = 20


class State(StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    """Some products failed, the others were published."""
    FAILED = "failed"
    """All products failed."""
    INTERRUPTED = "interrupted"
    LOST = "lost"
    """The cluster went away."""
    CRASHED = "crashed"
    """An error that is of no product, in the database for instance."""
    GOING_ON = "going on"
    KILLED = "killed"
    """It did not end, and its process is no more."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A product that was not made; `blocked` if another one, that it needs, failed."""

    product: str
    text: str
    detector: int | None = None
    exposure: int | None = None
    file: str | None = None
    hint: str | None = None
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run came to.

    Parameters
    ----------
    run : str
    state : State
    reason : str
        Why it ended so, where that is not a matter of single products.
    started, ended : datetime
        Of the last attempt, UTC; the last event, if it did not end.
    attempts : int
        How often it was begun: it is resumed from the second on.
    products, done, resumed : int
        Products of the plan; of these finished, in this attempt or an earlier one; and how many
        were begun with parts that earlier attempts had left.
    tasks : int
        Tasks that were run. On a cluster those of a product count when it is finished.
    bytes_to_read : int
        Raw data that the plan says the products read that were begun; what was done before is
        not read again.
    slowest : str
        The product that took longest from its first task to its last, `slowest_seconds`. Several
        are computed at once.
    failures : tuple of Failure
    """

    run: str
    state: State
    started: datetime
    ended: datetime
    reason: str = ""
    attempts: int = 1
    products: int = 0
    done: int = 0
    resumed: int = 0
    tasks: int = 0
    bytes_to_read: int = 0
    slowest: str = ""
    slowest_seconds: float = 0.0
    failures: tuple[Failure, ...] = ()

    @property
    def seconds(self) -> float:
        """Wall time of the last attempt."""
        return (self.ended - self.started).total_seconds()

    @property
    def failed(self) -> int:
        """Products that failed by themselves."""
        return sum(not one.blocked for one in self.failures)

    @property
    def blocked(self) -> int:
        """Products that were not made for want of others."""
        return sum(one.blocked for one in self.failures)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "run": self.run,
            "state": self.state.value,
            "reason": self.reason,
            "started": time_text(self.started),
            "ended": time_text(self.ended),
            "seconds": round(self.seconds, 3),
            "attempts": self.attempts,
            "products": self.products,
            "done": self.done,
            "failed": self.failed,
            "blocked": self.blocked,
            "resumed": self.resumed,
            "tasks": self.tasks,
            "bytes_to_read": self.bytes_to_read,
            "slowest": (
                {"product": self.slowest, "seconds": round(self.slowest_seconds, 3)}
                if self.slowest
                else None
            ),
            "failures": [
                {name: getattr(one, name) for name in Failure.__dataclass_fields__}
                for one in self.failures
            ],
        }

    def lines(self, *, failures: bool = True) -> Iterator[str]:
        """Yield it as a short block of text; without `failures` only their number."""
        counts = [f"{self.done} of {self.products} products done"]
        counts += [f"{self.failed} failed"] if self.failed else []
        counts += [f"{self.blocked} blocked by these"] if self.blocked else []
        counts += [f"{self.resumed} resumed"] if self.resumed else []
        yield f"run {self.run}: {self.state}; {', '.join(counts)}"
        took = f"attempt {self.attempts}: " if self.attempts > 1 else ""
        most = "at most " if self.resumed else ""
        yield (
            f"  {took}{duration_text(self.seconds)}, {self.tasks} tasks, "
            f"{most}{size_text(self.bytes_to_read)} of raw data to read"
        )
        if self.slowest and self.products > 1:
            yield f"  slowest: {self.slowest}, {duration_text(self.slowest_seconds)}"
        if self.reason:
            yield f"  {self.reason}"
        if not failures:
            return
        ordered = sorted(self.failures, key=lambda one: one.blocked)
        for one in ordered[:_SHOWN]:
            yield from _failure_lines(one)
        if len(ordered) > _SHOWN:
            yield f"  and {len(ordered) - _SHOWN} more"


def _failure_lines(one: Failure) -> Iterator[str]:
    if one.blocked:
        yield f"  blocked: {one.text}"
        return
    yield f"  failed: {one.product}: {one.text}"
    where = [
        f"exposure {one.exposure}" if one.exposure is not None else "",
        f"detector {one.detector}" if one.detector is not None else "",
        f"file {one.file}" if one.file else "",
    ]
    yield f"    {', '.join(part for part in where if part)}"
    if one.hint:
        yield f"    hint: {one.hint}"


def duration_text(seconds: float) -> str:
    """Return a duration as a person says it."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


@dataclass(slots=True)
class _Product:
    """One product, or a solution over detectors, of which `is_product` is False."""

    label: str
    started: datetime
    total: int
    size: int
    is_product: bool
    done: int = 0
    finished: datetime | None = None


class Tally:
    """A listener that adds events up; a run that begins again starts a new count.

    Examples
    --------
    >>> tally = Tally()
    >>> tally(Event("run_started", total=1, run="u/me/biasGen/1"))
    >>> tally.summary().state.value
    'going on'
    """

    def __init__(self) -> None:
        self._begun: Event | None = None
        self._last: Event | None = None
        self._clear()

    def _clear(self) -> None:
        self._resumed = self._kept = 0
        self._products: list[_Product] = []
        self._latest: dict[str, _Product] = {}
        self._failures: list[Failure] = []

    def __call__(self, event: Event) -> None:
        """Take one event into account."""
        if event.kind == "run_started":
            self._begun = event
            self._clear()
        elif event.kind == "kept":
            self._kept += 1
        elif event.kind == "resumed":
            self._resumed += 1
        elif event.kind == "started":
            # Steps of a chain may make products of one label, one after the other.
            one = _Product(
                event.product, event.time, event.total, event.size, event.detector is not None
            )
            self._products.append(one)
            self._latest[event.product] = one
        elif event.kind in ("progress", "finished") and event.product in self._latest:
            self._latest[event.product].done = event.done
            if event.kind == "finished":
                self._latest[event.product].finished = event.time
        elif event.kind in ("failed", "blocked"):
            self._failures.append(
                Failure(
                    event.product,
                    event.text,
                    event.detector,
                    event.exposure,
                    event.file,
                    event.hint,
                    event.kind == "blocked",
                )
            )
        self._last = event

    @property
    def began(self) -> bool:
        """Whether there is a run at all."""
        return self._begun is not None

    def state(self) -> State:
        """Return how a run ends whose products are all done or failed."""
        if not self._failures:
            return State.COMPLETE
        done = self._kept or any(one.finished and one.is_product for one in self._products)
        return State.INCOMPLETE if done else State.FAILED

    def summary(self, state: State | None = None) -> RunSummary:
        """Return what it came to so far; `state` if it is known better than by the events.

        Raises
        ------
        ValueError
            If no run began.
        """
        if self._begun is None or self._last is None:
            raise ValueError("no run began")
        ended = self._last if self._last.kind == "run_ended" else None
        times = [
            ((one.finished - one.started).total_seconds(), one.label)
            for one in self._products
            if one.finished is not None and one.is_product
        ]
        seconds, slowest = max(times, default=(0.0, ""))
        return RunSummary(
            run=self._begun.run,
            state=state or (State(ended.text) if ended else State.GOING_ON),
            started=self._begun.time,
            ended=self._last.time,
            reason=(ended.hint or "") if ended else "",
            attempts=self._begun.done + 1,
            products=self._begun.total,
            done=len(times) + self._kept,
            resumed=self._resumed,
            tasks=sum(one.done for one in self._products),
            bytes_to_read=sum(one.size for one in self._products),
            slowest=slowest,
            slowest_seconds=seconds,
            failures=tuple(self._failures),
        )
