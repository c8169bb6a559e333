"""Progress of long work: bars on a terminal, widgets in a notebook, plain log lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from cpflow.scheduler.events import Event, Listener
from cpflow.scheduler.tally import duration_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

logger = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between two plain lines about one product, at least."""

_BARS = 12


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


@contextmanager
def progress_listener() -> Iterator[Listener]:
    """Yield a listener that shows a run's tasks, in the way that fits to where it is shown."""
    if in_notebook():
        if find_spec("ipywidgets") is not None:
            from cpflow.report.progress_widget import ProgressWidget

            yield ProgressWidget().show()
        else:
            yield PlainProgress()
        return
    bar = _bar()
    if not _on_terminal(bar):
        yield PlainProgress()
        return
    with bar:
        yield BarProgress(bar)


def in_notebook() -> bool:
    """Whether this is a notebook, which can show widgets."""
    try:
        shell = get_ipython()  # type: ignore[name-defined]
    except NameError:
        return False
    return bool(shell.__class__.__name__ == "ZMQInteractiveShell")


class PlainProgress:
    """Tells by log lines what is done: at start and finish of a product, and now and then.

    Parameters
    ----------
    interval : float
        Seconds between two lines about one product, at least.
    clock : callable
        Seconds, of which only differences matter.

    Notes
    -----
    That a product failed is logged by the run itself, with the reason.
    """

    def __init__(
        self, interval: float = INTERVAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.interval, self.clock = interval, clock
        self._started: dict[str, float] = {}
        self._told: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Log a line, if it is time for one."""
        name, now = event.product, self.clock()
        if event.kind == "started":
            self._started[name] = self._told[name] = now
            self._tell(event, f"{event.total} tasks")
        elif event.kind == "progress" and name in self._told:
            if now - self._told[name] < self.interval or event.done == event.total:
                return
            self._told[name] = now
            took = now - self._started[name]
            left = duration_text(took * (event.total - event.done) / max(1, event.done))
            self._tell(event, f"{event.done} of {event.total} tasks, about {left} left")
        elif event.kind == "finished" and name in self._told:
            del self._told[name]
            self._tell(event, f"finished in {duration_text(now - self._started.pop(name))}")
        elif event.kind == "failed":
            self._told.pop(name, None)

    def _tell(self, event: Event, text: str) -> None:
        logger.info("%s: %s", event.product, text, extra={"detector": event.detector})


class BarProgress:
    """Shows a bar for each product in flight, and one for all products of a run.

    Parameters
    ----------
    bar : rich.progress.Progress
    most : int
        Bars at once; what begins while so many are there is counted, but not shown by itself.
    """

    def __init__(self, bar: Progress, most: int = _BARS) -> None:
        self.bar, self.most = bar, most
        self._rows: dict[str, TaskID] = {}
        self._all: TaskID | None = None

    def __call__(self, event: Event) -> None:
        """Draw what happened."""
        if event.kind == "run_started":
            self._end()
            if event.total > 1:
                self._all = self.bar.add_task("products", total=event.total)
        elif event.kind == "started" and self._has_room(event.product):
            self._rows[event.product] = self.bar.add_task(event.product, total=event.total)
        elif event.kind == "progress" and event.product in self._rows:
            self.bar.update(self._rows[event.product], completed=event.done)
        elif event.kind in ("kept", "finished", "failed", "blocked"):
            if event.product in self._rows:
                self.bar.remove_task(self._rows.pop(event.product))
            # A solution over detectors is no product.
            if self._all is not None and event.detector is not None:
                self.bar.advance(self._all)
        elif event.kind == "run_ended":
            self._end()

    def _has_room(self, product: str) -> bool:
        return len(self._rows) < self.most and product not in self._rows

    def _end(self) -> None:
        for row in (*self._rows.values(), *(() if self._all is None else (self._all,))):
            self.bar.remove_task(row)
        self._rows.clear()
        self._all = None


def _on_terminal(bar: Progress) -> bool:
    # Rich also takes FORCE_COLOR for one, which Jupyter sets for the commands of its cells.
    return bar.console.is_terminal and bar.console.file.isatty()


@contextmanager
def progress_counter(description: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, total) that shows a bar on a terminal."""
    bar = _bar()
    if not (_on_terminal(bar) or bar.console.is_jupyter):
        yield lambda done, total: None
        return
    with bar:
        row = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(row, completed=done, total=total)
