"""Logs on the command line: where they are, what they say, and that they go with their run."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys

import pytest
from commands import cpflow

from cpflow.repo import Repository
from cpflow.store import EVENTS

RUN = ("run", "-p", "bias", "-d", "instrument='LATISS'", "-o", "u/me/again")


def test_standard_output_is_one_json_object_and_the_summary_is_in_it(root):
    done = subprocess.run(
        [sys.executable, "-m", "cpflow", *RUN, "-b", root, "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["summary"]["state"] == "complete"
    assert found["summary"]["run"] == found["run"]
    assert found["summary"]["products"] == found["summary"]["done"] == len(found["datasets"]) == 1
    assert f"run {found['run']}: complete; 1 of 1 products done" in done.stderr
    assert done.stderr.count("finished in") == 1, "plain lines where there is no terminal"


@pytest.fixture
def other(built, tmp_path):
    """A repository with raw files of its own."""
    shutil.copytree(built / "raws", tmp_path / "raws")
    cpflow("init", tmp_path / "other", "--instrument", tmp_path / "raws" / "instrument.yaml")
    cpflow("ingest", tmp_path / "other", tmp_path / "raws")
    return tmp_path / "other"


def lose_a_file(root):
    next((root.parent / "raws").glob("*.fits*")).unlink()


def test_it_is_json_of_a_run_that_failed_too(other):
    lose_a_file(other)
    done = cpflow(*RUN, "-b", other, "--json", code=4)
    assert done.json["datasets"] == []
    (failure,) = done.json["summary"]["failures"]
    assert failure["detector"] == 0
    assert failure["exposure"] > 20210101
    assert "drop-bad" in failure["hint"]
    # The summary counts, the error that follows lists.
    assert "failed; 0 of 1 products done, 1 failed" in done.stderr
    assert done.stderr.count("- ") >= 1
    logs = cpflow("logs", other, "u/me/again", "--json").json
    assert logs["failures"] == done.json["summary"]["failures"]


def test_a_terminal_is_shown_bars_and_the_summary(root):
    """On a terminal of its own: bars come and go, the summary stays."""
    pty = pytest.importorskip("pty")
    import os

    parent, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "cpflow", *RUN, "-b", root, "--json"],
        stdout=subprocess.PIPE, stderr=child, env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    ) as process:  # fmt: skip
        os.close(child)
        shown = b""
        while True:
            try:
                part = os.read(parent, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        out = process.stdout.read()
    os.close(parent)
    assert process.returncode == 0
    assert json.loads(out)["summary"]["done"] == 1
    text = shown.decode()
    assert "bias of LATISS detector 0" in text
    assert "━" in text, "a bar"
    assert "complete; 1 of 1 products done" in text
    assert "37 tasks\r\n" not in text, "no plain lines beside bars"


def test_logs_of_the_latest_run_a_chain_or_a_run(root, run_name):
    for named in ((), ("u/me/biasGen",), (run_name,)):
        told = cpflow("logs", root, *named).stdout
        assert f"run {run_name}: complete; 1 of 1 products done" in told
        assert f"logs: {root}/logs/{run_name}" in told
    events = [json.loads(line) for line in cpflow("logs", root, "--events").stdout.splitlines()]
    assert events[0]["kind"] == "run_started"
    assert events[-1]["text"] == "complete"
    assert "read noise of C00" in cpflow("logs", root, "--log").stdout
    assert cpflow("logs", root, "--follow", "--events").stdout.count("run_ended") == 1
    cpflow("logs", root, "--events", "--json", code=2)


def test_the_newest_run_of_a_chain_that_it_never_joined(other):
    """An attempt that failed is in no chain; it is what somebody asks for at night."""
    cpflow(*RUN, "-b", other)
    lose_a_file(other)
    cpflow("run", "-b", other, "-p", "bias", "-o", "u/me/again", "--band-rows", "5", code=4)
    assert ": failed; 0 of 1 products done" in cpflow("logs", other, "u/me/again").stdout


def test_logs_that_are_damaged(root, run_name):
    directory = root / "logs" / run_name
    with (directory / "run.log").open("a") as handle:
        handle.write("2026-01-01T00:00:00.000Z ERROR   exposure=1 detector=- odd\n\nx\n2026-")
    told = cpflow("logs", root).stdout
    assert "warnings and errors: 1" in told
    assert "exposure=1 detector=- odd" in told
    with (directory / EVENTS).open("a") as handle:
        handle.write("\0\0\0\n")
    assert "is damaged" in cpflow("logs", root, code=4).stderr
    (directory / "run.log").unlink()
    assert "has no run.log" in cpflow("logs", root, "--log", code=3).stderr
    (directory / EVENTS).write_text("")
    assert "wrote no events" in cpflow("logs", root, code=3).stderr


def test_no_logs(root):
    shutil.rmtree(root / "logs")
    assert "no logs of any run" in cpflow("logs", root, code=3).stderr
    assert "no logs of 'u/me/nothing'" in cpflow("logs", root, "u/me/nothing", code=3).stderr


def test_logs_go_with_their_run(root, run_name):
    other = cpflow(*RUN, "-b", root, "--json").json["run"]
    with Repository(root) as repository:
        assert repository.store.logged_runs() == sorted([run_name, other])
    cpflow("remove-run", root, other, "--unlink", "--yes")
    with Repository(root) as repository:
        assert repository.store.logged_runs() == [run_name]
    assert not (root / "logs" / "u" / "me" / "again").exists()


def test_doctor_finds_logs_of_no_run(root, run_name):
    assert "nothing is wrong" in cpflow("doctor", root).stdout
    lost = root / "logs" / "u" / "me" / "x%25y" / "20260101T000000Z"
    lost.mkdir(parents=True)
    (lost / EVENTS).write_text("")
    found = cpflow("doctor", root).stdout
    assert "logs of a run that is not there" in found
    assert str(lost) in found
    cpflow("doctor", root, "--clean")
    assert not lost.parent.exists()
    assert "nothing is wrong" in cpflow("doctor", root).stdout
    with Repository(root) as repository:
        assert repository.store.logged_runs() == [run_name]


def test_the_log_of_a_run_is_whole_though_less_is_shown(root):
    done = cpflow("--log-level", "ERROR", *RUN, "-b", root)
    assert "INFO" not in done.stderr
    assert "read noise of C00" in cpflow("logs", root, "u/me/again", "--log").stdout
    assert logging.getLogger("cpflow").handlers == []


def test_a_performance_report_needs_a_cluster(root, tmp_path):
    done = cpflow(*RUN, "-b", root, "--performance-report", tmp_path / "x.html", code=2)
    assert "--cluster local" in done.stderr
