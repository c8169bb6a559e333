"""Progress of long work: a bar on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cpflow.scheduler.events import Event, Listener

if TYPE_CHECKING:
    from rich.progress import Progress

logger = logging.getLogger(__name__)


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
    """Yield a listener that shows a run's tasks; nothing but log lines if there is no terminal."""
    bar = _bar()
    if not (bar.console.is_terminal or bar.console.is_jupyter):
        yield lambda event: logger.debug("%s", event)
        return
    rows: dict[str, object] = {}

    def listen(event: Event) -> None:
        if event.kind == "started":
            rows[event.product] = bar.add_task(event.product, total=event.total)
        elif event.kind == "progress" and event.product in rows:
            bar.update(rows[event.product], completed=event.done)  # type: ignore[arg-type]
        elif event.kind in ("finished", "failed") and event.product in rows:
            bar.remove_task(rows.pop(event.product))  # type: ignore[arg-type]

    with bar:
        yield listen


@contextmanager
def progress_counter(description: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, total) that shows a bar on a terminal."""
    bar = _bar()
    if not (bar.console.is_terminal or bar.console.is_jupyter):
        yield lambda done, total: None
        return
    with bar:
        row = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(row, completed=done, total=total)
