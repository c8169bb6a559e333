"""Displays of progress: how often they speak, and that they cope with products in flight."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console
from rich.progress import Progress

from cpflow.report.progress import BarProgress, PlainProgress, in_notebook, progress_listener
from cpflow.scheduler.events import Event

ONE, TWO = "bias of X detector 1", "bias of X detector 2"


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "cpflow")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "cpflow.report.progress"]


def run_of_two(listen, clock, steps=1000, seconds=60.0):
    """Two products in flight, their tasks one after the other."""
    listen(Event("run_started", total=2))
    for name, detector in ((ONE, 1), (TWO, 2)):
        listen(Event("started", name, 0, steps, detector=detector))
    for i in range(steps):
        clock.now += seconds / steps
        for name, detector in ((ONE, 1), (TWO, 2)):
            listen(Event("progress", name, i + 1, steps, key=f"k{i}", detector=detector))
    for name, detector in ((ONE, 1), (TWO, 2)):
        listen(Event("finished", name, steps, steps, detector=detector))
    listen(Event("run_ended", text="complete"))


def test_plain_lines_come_every_five_seconds_for_each_product(lines, caplog):
    clock = Clock()
    run_of_two(PlainProgress(clock=clock), clock)
    for name, detector in ((ONE, 1), (TWO, 2)):
        own = [line for line in lines() if line.startswith(name)]
        assert own[0] == f"{name}: 1000 tasks"
        assert own[-1] == f"{name}: finished in 60.0 s"
        # 60 seconds, a line each 5 of them, the last of which is the end.
        assert 10 <= len(own) - 2 <= 12
        assert {r.detector for r in caplog.records if r.getMessage().startswith(name)} == {detector}


def test_plain_lines_tell_what_is_left(lines):
    clock = Clock()
    listen = PlainProgress(clock=clock)
    listen(Event("started", ONE, 0, 100))
    clock.now += 10
    listen(Event("progress", ONE, 25, 100))
    assert lines()[-1] == f"{ONE}: 25 of 100 tasks, about 30.0 s left"


def test_a_quick_product_has_two_lines(lines):
    clock = Clock()
    run_of_two(PlainProgress(clock=clock), clock, seconds=1.0)
    assert len(lines()) == 4


def test_a_product_that_failed_is_silent_afterwards(lines):
    clock = Clock()
    listen = PlainProgress(clock=clock)
    listen(Event("started", ONE, 0, 9))
    listen(Event("failed", ONE, text="it ends"))
    clock.now += 60
    listen(Event("progress", ONE, 3, 9))
    listen(Event("finished", ONE, 9, 9))
    assert len(lines()) == 1, "the run itself logs the failure"


def bars():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    bar = Progress(console=console, auto_refresh=False)
    return bar, BarProgress(bar, most=3)


def test_a_bar_for_each_product_in_flight_and_one_for_all():
    bar, listen = bars()
    listen(Event("run_started", total=9))
    for i in range(5):
        listen(Event("started", f"p{i}", 0, 10, detector=i))
    listen(Event("progress", "p1", 4, 10, detector=1))
    listen(Event("progress", "p4", 4, 10, detector=4))
    shown = {task.description: (task.completed, task.total) for task in bar.tasks}
    assert shown == {"products": (0, 9), "p0": (0, 10), "p1": (4, 10), "p2": (0, 10)}
    listen(Event("finished", "p1", 10, 10, detector=1))
    listen(Event("failed", "p4", detector=4))
    listen(Event("blocked", "p7", detector=7))
    assert {t.description: t.completed for t in bar.tasks} == {"products": 3, "p0": 0, "p2": 0}
    listen(Event("run_ended", text="incomplete"))
    assert not bar.tasks


def test_bars_survive_a_second_run():
    """As in a night: one listener, one run after the other, of which the first is cut off."""
    bar, listen = bars()
    for _ in range(2):
        listen(Event("run_started", total=2))
        listen(Event("started", ONE, 0, 10, detector=1))
        assert len(bar.tasks) == 2


def test_without_a_terminal_lines_are_logged(lines):
    assert not in_notebook()
    with progress_listener() as listen:
        listen(Event("started", ONE, 0, 3))
    assert lines() == [f"{ONE}: 3 tasks"]


def test_the_widget_shows_what_is_in_flight_and_in_the_end_the_summary():
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    from cpflow.report.progress_widget import ProgressWidget

    clock = Clock()
    widget = ProgressWidget(clock=clock)
    widget(Event("run_started", total=2, run="u/me/<x>"))
    widget(Event("cluster", text='http://127.0.0.1:8787/"status'))
    widget(Event("started", ONE, 0, 10, detector=1))
    widget(Event("started", TWO, 0, 10, detector=2))
    widget(Event("progress", ONE, 3, 10, detector=1))
    widget(Event("progress", ONE, 4, 10, detector=1))
    assert [(b.description, b.value, b.max) for b in widget.bars.children] == [
        (ONE, 3, 10), (TWO, 0, 10),
    ]  # fmt: skip
    clock.now += 1
    widget(Event("progress", ONE, 5, 10, detector=1))
    assert widget.bars.children[0].value == 5
    assert 'href="http://127.0.0.1:8787/&quot;status"' in widget.head.value
    widget(Event("finished", ONE, 10, 10, detector=1))
    widget(Event("failed", TWO, text="it <ends>", detector=2, exposure=4))
    assert widget.bars.children == ()
    widget(Event("run_ended", text="incomplete"))
    assert "u/me/&lt;x&gt;: incomplete; 1 of 2 products done, 1 failed" in widget.head.value
    assert "it &lt;ends&gt;" in widget.head.value
