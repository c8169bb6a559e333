"""Files of a run: whole lines whatever happens to the process, and none that stops it."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from cpflow.errors import ClusterLostError, InterruptedRunError
from cpflow.scheduler.events import Event, ignore
from cpflow.scheduler.journal import RunLogFormatter, read_events, recorded
from cpflow.store import EVENTS, RUN_LOG, Store

PLAN = SimpleNamespace(products=("a", "b"), graph=SimpleNamespace(name="bias"))
LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) +"
    r"exposure=(-|\d+) detector=(-|\d+) \S.*"
)


@pytest.fixture(autouse=True)
def quiet():
    """Leave the logger as it was."""
    package = logging.getLogger("cpflow")
    before = package.level, list(package.handlers)
    yield
    assert (package.level, list(package.handlers)) == before, "nothing is left behind"


def record(message, *arguments, level=logging.WARNING, **extra):
    made = logging.getLogger("cpflow.steps").makeRecord(
        "cpflow.steps", level, "f.py", 1, message, arguments, None, extra=extra
    )
    return RunLogFormatter().format(made)


def test_a_line_of_the_log():
    line = record("%d pixels", 3, exposure=2021012100001, detector=0)
    assert LINE.fullmatch(line)
    assert line.endswith("WARNING exposure=2021012100001 detector=0 3 pixels")
    assert record("x", level=logging.INFO).endswith("INFO    exposure=- detector=- x")


def test_a_message_of_several_lines_is_one_line():
    line = record("it failed\n  hint: drop it\n")
    assert LINE.fullmatch(line)
    assert line.endswith("it failed | hint: drop it")
    try:
        raise ValueError("no")
    except ValueError:
        made = logging.makeLogRecord({"msg": "x", "levelname": "ERROR", "exc_info": sys.exc_info()})
    assert LINE.fullmatch(RunLogFormatter().format(made))


def test_times_do_not_depend_on_the_time_zone(monkeypatch):
    made = logging.makeLogRecord({"msg": "x", "created": 0.0})
    assert RunLogFormatter().format(made).startswith("1970-01-01T00:00:00.000Z ")


def test_what_is_recorded(tmp_path):
    store, heard = Store(tmp_path), []
    with recorded(store, PLAN, "u/me/x", heard.append) as (tell, tally):
        tell(Event("started", "a", 0, 2, detector=1))
        logging.getLogger("cpflow.steps.dark").warning("odd", extra={"exposure": 5, "detector": 1})
        logging.getLogger("cpflow.steps.dark").info("even")
        logging.getLogger("cpflow.steps.dark").debug("too much")
        logging.getLogger("distributed").error("not ours")
        tell(Event("finished", "a", 2, 2, detector=1))
    events = list(read_events(store.logs("u/me/x") / EVENTS))
    assert [e.kind for e in events] == ["run_started", "started", "finished", "run_ended"]
    assert [e.kind for e in heard] == [e.kind for e in events]
    assert {e.run for e in (*events, *heard)} == {"u/me/x"}
    assert events[-1].text == "complete"
    assert tally.summary().done == 1
    lines = (store.logs("u/me/x") / RUN_LOG).read_text().splitlines()
    assert all(LINE.fullmatch(line) for line in lines)
    assert any(line.endswith("exposure=5 detector=1 odd") for line in lines)
    assert any(line.endswith("even") for line in lines)
    assert not any("too much" in line or "not ours" in line for line in lines)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (InterruptedRunError("stopped", hint="again"), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
        (ClusterLostError("gone"), "lost"),
        (RuntimeError("database"), "crashed"),
    ],
)
def test_how_it_ended_is_written_down(tmp_path, error, state):
    with pytest.raises(type(error)), recorded(Store(tmp_path), PLAN, "r", ignore):
        raise error
    *_, last = read_events(tmp_path / "logs" / "r" / EVENTS)
    assert (last.kind, last.text) == ("run_ended", state)
    assert str(error).split("\n")[0] in last.hint


def test_a_resumed_run_goes_on_after_the_last_full_line(tmp_path):
    store = Store(tmp_path)
    for _ in range(2):
        with recorded(store, PLAN, "r", ignore):
            pass
        with (store.logs("r") / EVENTS).open("a") as handle:
            handle.write('{"time": "2026-')
    lines = (store.logs("r") / EVENTS).read_text().split("\n")
    assert [json.loads(line)["kind"] for line in lines[:-1]] == ["run_started", "run_ended"] * 2
    assert lines[-1] == '{"time": "2026-'
    assert [json.loads(line)["done"] for line in lines[:-1]] == [0, 0, 1, 0], "the second attempt"
    assert len(list(read_events(store.logs("r") / EVENTS))) == 4, "half a line is not read"


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 4097, 10000])
def test_half_a_line_of_any_length_is_dropped(tmp_path, length):
    store = Store(tmp_path)
    directory = store.logs("r")
    directory.mkdir(parents=True)
    whole = "2026-01-01T00:00:00.000Z INFO    exposure=- detector=- x\n"
    (directory / RUN_LOG).write_text(whole + "y" * length)
    (directory / EVENTS).write_text("y" * length)
    with recorded(store, PLAN, "r", ignore):
        pass
    lines = (directory / RUN_LOG).read_text().splitlines(keepends=True)
    assert lines[0] == whole
    assert all(LINE.fullmatch(line.rstrip("\n")) for line in lines)
    assert len(list(read_events(directory / EVENTS))) == 2


def test_what_cannot_be_written_stops_no_run(tmp_path, caplog):
    store = Store(tmp_path)
    store.logs("r").mkdir(parents=True)
    (store.logs("r") / EVENTS).mkdir()
    with recorded(store, PLAN, "r", ignore) as (tell, tally):
        tell(Event("started", "a", 0, 1, detector=0))
        tell(Event("finished", "a", 1, 1, detector=0))
    assert tally.summary().done == 1
    assert "events.jsonl is not written" in caplog.text
    assert (store.logs("r") / RUN_LOG).is_file()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")  # noqa: PTH110
def test_a_full_disk_stops_no_run(tmp_path, caplog):
    store = Store(tmp_path)
    store.logs("r").mkdir(parents=True)
    (store.logs("r") / EVENTS).symlink_to("/dev/full")
    with recorded(store, PLAN, "r", ignore) as (tell, _):
        for _ in range(3):
            tell(Event("published", "a"))
    assert caplog.text.count("is not written: No space left on device") == 1


def test_after_kill_9_every_line_is_whole(tmp_path):
    code = (
        "import sys\n"
        "from types import SimpleNamespace as N\n"
        "from pathlib import Path\n"
        "from cpflow.scheduler.events import Event, ignore\n"
        "from cpflow.scheduler.journal import recorded\n"
        "from cpflow.store import Store\n"
        "plan = N(products=(1,), graph=N(name='bias'))\n"
        f"with recorded(Store(Path({str(tmp_path)!r})), plan, 'r', ignore) as (tell, _):\n"
        "    print('begun', flush=True)\n"
        "    for i in range(10**9):\n"
        "        tell(Event('progress', 'p' * (i % 999), i, 10**9, key='k', detector=1))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        path = tmp_path / "logs" / "r" / EVENTS
        while path.stat().st_size < 200_000:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    *lines, rest = path.read_text().split("\n")
    assert rest == "", "one write a line"
    assert [json.loads(line)["done"] for line in lines[1:]] == list(range(len(lines) - 1))


def test_the_log_of_a_run_does_not_change_what_is_shown(tmp_path):
    """Handlers that ask for warnings are shown warnings, though the log takes more."""
    package, shown = logging.getLogger("cpflow"), []
    handler = logging.Handler(logging.WARNING)
    handler.emit = shown.append
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.ERROR)
    try:
        with recorded(Store(tmp_path), PLAN, "r", ignore):
            logging.getLogger("cpflow.x").info("quiet")
        assert package.level == logging.ERROR
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
    assert shown == []
    assert "quiet" in (tmp_path / "logs" / "r" / RUN_LOG).read_text()


@pytest.mark.parametrize("run", ["a", "u/me/x y", "ü/é", "50%/é%2F", "a/run.logs", "~x+1-2"])
def test_names_of_runs_are_safe_and_come_back(tmp_path, run):
    store = Store(tmp_path)
    with recorded(store, PLAN, run, ignore), recorded(store, PLAN, f"{run}/step", ignore):
        pass
    assert store.logged_runs() == sorted([run, f"{run}/step"])
    assert store.logs(run).is_relative_to(tmp_path / "logs")
    assert str(store.logs(run)).isascii()
    store.remove_logs(run)
    assert store.logged_runs() == [f"{run}/step"]
    store.remove_logs(f"{run}/step")
    assert list((tmp_path / "logs").iterdir()) == []
    store.remove_logs("never there")


def test_who_is_running(tmp_path):
    store = Store(tmp_path)
    assert not store.is_running("r")
    staging = store.staging("x" * 32)
    host = os.uname().nodename
    staging.write_facts({"run": "r", "pid": os.getpid(), "host": host})
    assert store.is_running("r")
    assert not store.is_running("q")
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    staging.write_facts({"run": "r", "pid": gone.pid, "host": host})
    assert not store.is_running("r")
    staging.write_facts({"run": "r", "pid": gone.pid, "host": "another"})
    assert store.is_running("r"), "of another machine nothing is known"
