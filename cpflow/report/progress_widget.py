"""Progress of a run in a notebook."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape
from typing import Any

from cpflow.scheduler.events import Event
from cpflow.scheduler.tally import Tally

_MOST = 12
_INTERVAL = 0.2


class ProgressWidget:
    """Bars of the products in flight, the dashboard's address, and in the end the summary.

    Parameters
    ----------
    interval : float
        Seconds between two updates of a bar, at least: each is a message to the browser.
    clock : callable
        Seconds, of which only differences matter.
    """

    def __init__(
        self, interval: float = _INTERVAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        import ipywidgets

        self.interval, self.clock = interval, clock
        self.widgets = ipywidgets
        self.head = ipywidgets.HTML()
        self.bars = ipywidgets.VBox()
        self.box = ipywidgets.VBox([self.head, self.bars])
        self._rows: dict[str, Any] = {}
        self._drawn: dict[str, float] = {}
        self._tally = Tally()
        self._link = ""

    def show(self) -> ProgressWidget:
        """Display it, and return it."""
        from IPython.display import display

        display(self.box)  # type: ignore[no-untyped-call]
        return self

    def __call__(self, event: Event) -> None:
        """Draw what happened."""
        self._tally(event)
        name = event.product
        if event.kind == "run_started":
            self._clear()
            self._link = ""
            self._draw_head()
        elif event.kind == "cluster":
            link = escape(event.text, quote=True)
            self._link = f'<br><a href="{link}" target="_blank">{link}</a>'
            self._draw_head()
        elif event.kind == "started" and len(self._rows) < _MOST and name not in self._rows:
            row = self.widgets.IntProgress(
                value=0,
                max=max(1, event.total),
                description=name,
                style={"description_width": "24em"},
                layout={"width": "48em"},
            )
            self._rows[name] = row
            self.bars.children = (*self.bars.children, row)
        elif event.kind == "progress" and name in self._rows:
            if self.clock() - self._drawn.get(name, -self.interval) >= self.interval:
                self._drawn[name] = self.clock()
                self._rows[name].value = event.done
        elif event.kind in ("kept", "finished", "failed", "blocked"):
            row = self._rows.pop(name, None)
            if row is not None:
                self.bars.children = tuple(one for one in self.bars.children if one is not row)
                row.close()
            self._draw_head()
        elif event.kind == "run_ended":
            self._clear()
            self._draw_head()

    def _clear(self) -> None:
        for row in self._rows.values():
            row.close()
        self._rows.clear()
        self._drawn.clear()
        self.bars.children = ()

    def _draw_head(self) -> None:
        if not self._tally.began:
            return
        text = "\n".join(self._tally.summary().lines())
        self.head.value = f"<pre>{escape(text)}</pre>{self._link}"
