"""Events and their lines, and what they add up to."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpflow.errors import BuildError, NoDataError, RawError
from cpflow.scheduler.events import Event, event_line, fan_out, named, read_event, time_text
from cpflow.scheduler.tally import State, Tally, duration_text

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ONE, TWO = "bias of X detector 1", "bias of X detector 2"


def at(seconds, kind, product="", done=0, total=0, **more):
    return Event(
        kind, product, done, total, run="r", time=BEGIN + timedelta(seconds=seconds), **more
    )


def test_a_line_is_one_json_object_with_the_promised_keys():
    line = event_line(at(0, "progress", ONE, 3, 9, key="write-1", detector=1))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-01-02T03:04:05.000Z", "run": "r", "kind": "progress", "product": ONE,
        "detector": 1, "done": 3, "total": 9, "key": "write-1", "text": "",
    }  # fmt: skip


@given(
    text=st.text(),
    key=st.text(),
    detector=st.none() | st.integers(0, 300),
    hint=st.none() | st.text(min_size=1),
    done=st.integers(0, 10**9),
    when=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),
)
def test_lines_are_read_back_whatever_they_hold(text, key, detector, hint, done, when):
    whole = when.replace(microsecond=when.microsecond // 1000 * 1000, tzinfo=UTC)
    event = Event(
        "failed", "p", done, text=text, key=key, detector=detector, hint=hint, time=whole, run="a/b"
    )
    line = event_line(event)
    assert "\n" not in line
    assert read_event(line + "\n") == event


def test_what_a_later_version_adds_is_passed_over():
    values = json.loads(event_line(at(0, "started", ONE, total=2)))
    assert read_event(json.dumps({**values, "colour": "red"})) == at(0, "started", ONE, total=2)


@pytest.mark.parametrize("line", ["", "{", "[]", "3", '{"time": "2026-01-01T00:00:00Z"}', "null"])
def test_a_line_that_is_no_event_is_refused(line):
    with pytest.raises(ValueError):
        read_event(line)


def test_times_are_utc():
    there = timezone(timedelta(hours=-4))
    assert time_text(datetime(2026, 1, 1, 22, tzinfo=there)) == "2026-01-02T02:00:00.000Z"


def test_the_place_of_an_error_is_kept():
    error = RawError("it ends too early", file="/a.fits", exposure=7, detector=3, hint="drop it")
    event = Event.of_error("failed", ONE, error, detector=9)
    assert (event.text, event.file, event.exposure, event.detector, event.hint) == (
        "it ends too early", "/a.fits", 7, 3, "drop it",
    )  # fmt: skip
    assert Event.of_error("failed", ONE, NoDataError("nothing"), detector=9).detector == 9


def test_of_several_exposures_the_first_is_the_place_and_all_are_named():
    causes = [RawError("it ends", exposure=i, file=f"/{i}", detector=0) for i in range(7, 40)]
    error = BuildError("33 of 60 exposures cannot be used", causes=causes, hint="drop them")
    event = Event.of_error("failed", ONE, error)
    assert (event.exposure, event.file, event.detector, event.hint) == (7, "/7", 0, "drop them")
    assert event.text.startswith("33 of 60 exposures cannot be used: it ends; also 8, 9, 10,")
    assert event.text.endswith("26, 27 and more")
    alone = Event.of_error("failed", ONE, BuildError("1 of 60", causes=causes[:1]))
    assert alone.text == "1 of 60: it ends"


def test_several_hear_the_same_in_their_order():
    heard = []
    both = fan_out(lambda e: heard.append((1, e)), lambda e: heard.append((2, e)))
    named("run/1", both)(Event("started", ONE))
    assert [(who, e.run, e.kind) for who, e in heard] == [
        (1, "run/1", "started"), (2, "run/1", "started"),
    ]  # fmt: skip


def interleaved():
    """Two products in flight, of which one fails, and a third that is blocked by it."""
    return [
        at(0, "run_started", total=3, text="bias"),
        at(1, "resumed", ONE, 2, 5, detector=1),
        at(1, "started", ONE, 0, 4, detector=1, size=100),
        at(2, "started", TWO, 0, 6, detector=2, size=200),
        at(3, "progress", TWO, 1, 6, detector=2, key="a"),
        at(3, "progress", ONE, 1, 4, detector=1, key="a"),
        at(4, "progress", TWO, 2, 6, detector=2, key="b"),
        at(5, "failed", TWO, text="ends", detector=2, exposure=8, file="/b.fits", hint="drop it"),
        at(5, "blocked", "dark of X detector 2", text="needs it", detector=2),
        at(7, "finished", ONE, 4, 4, detector=1),
        at(8, "published", "bias (...)", text="r"),
        at(9, "run_ended", text="incomplete"),
    ]


def test_a_tally_of_products_in_flight():
    tally = Tally()
    for event in interleaved():
        tally(event)
    found = tally.summary()
    assert found.state is State.INCOMPLETE
    assert tally.state() is State.INCOMPLETE
    assert (found.products, found.done, found.failed, found.blocked, found.resumed) == (
        3, 1, 1, 1, 1,
    )  # fmt: skip
    assert (found.tasks, found.bytes_to_read, found.seconds) == (6, 300, 9.0)
    assert (found.slowest, found.slowest_seconds) == (ONE, 6.0)
    text = "\n".join(found.lines())
    for part in ("1 of 3 products done", "1 failed", "exposure 8", "detector 2", "/b.fits",
                 "hint: drop it", "1 resumed", "slowest: " + ONE):  # fmt: skip
        assert part in text
    assert "hint" not in "\n".join(found.lines(failures=False))
    assert json.loads(json.dumps(found.as_dict()))["failures"][0] == {
        "product": TWO, "text": "ends", "detector": 2, "exposure": 8, "file": "/b.fits",
        "hint": "drop it", "blocked": False,
    }  # fmt: skip


def test_a_tally_of_lines_is_that_of_the_events():
    live, read = Tally(), Tally()
    for event in interleaved():
        live(event)
        read(read_event(event_line(event)))
    assert read.summary() == live.summary()


@pytest.mark.parametrize("count", range(1, len(interleaved())))
def test_a_run_that_was_cut_off_is_going_on(count):
    tally = Tally()
    for event in interleaved()[:count]:
        tally(event)
    assert tally.summary().state is State.GOING_ON
    assert tally.summary(State.KILLED).state is State.KILLED
    assert list(tally.summary().lines())


def test_an_attempt_begins_a_new_count():
    tally = Tally()
    for event in interleaved()[:-1]:
        tally(event)
    tally(at(20, "run_started", done=1, total=3, text="bias"))
    tally(at(24, "run_ended", text="interrupted", hint="stopped"))
    found = tally.summary()
    assert (found.attempts, found.done, found.failures, found.seconds) == (2, 0, (), 4.0)
    assert found.reason == "stopped"
    tally(Event("run_started", run="another", total=1))
    assert tally.summary().attempts == 1


def test_states():
    tally = Tally()
    with pytest.raises(ValueError):
        tally.summary()
    for event in interleaved()[:9]:
        tally(event)
    assert tally.state() is State.FAILED, "nothing was done"
    assert {one.value for one in State} >= {"complete", "interrupted", "lost", "crashed"}


def test_two_products_of_one_label_are_two():
    """Steps of a chain may make the same type twice."""
    tally = Tally()
    tally(at(0, "run_started", total=2))
    for begin in (1, 10):
        tally(at(begin, "started", ONE, 0, 2, detector=1))
        tally(at(begin + 2, "progress", ONE, 1, 2, detector=1))
        tally(at(begin + 3, "finished", ONE, 2, 2, detector=1))
    assert (tally.summary().done, tally.summary().tasks) == (2, 4)


def test_solutions_over_detectors_are_no_products():
    tally = Tally()
    tally(at(0, "run_started", total=1))
    tally(at(0, "started", "flat of X, all detectors", 0, 5))
    tally(at(9, "finished", "flat of X, all detectors", 5, 5))
    assert (tally.summary().done, tally.summary().tasks, tally.summary().slowest) == (0, 5, "")


def test_durations():
    assert [duration_text(s) for s in (0.04, 99.0, 120.0, 7200.0)] == [
        "0.0 s", "99.0 s", "2.0 min", "2.0 h",
    ]  # fmt: skip


def test_every_field_is_written():
    from cpflow.scheduler import events

    assert {f.name for f in fields(Event)} == {"time", *events._ALWAYS, *events._SOMETIMES}
