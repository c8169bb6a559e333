"""What a run leaves about itself: events, log and summary; on threads and on worker processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from commands import cpflow
from distributed import Client, LocalCluster
from simulated import simulate_biases

from cpflow import Repo
from cpflow.errors import BuildError, UsageError
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.scheduler import load_profile, run_plan
from cpflow.scheduler.journal import read_events
from cpflow.simulate import Truth, bias_sequence, dark_sequence, simulate
from cpflow.simulate.cosmic_rays import CosmicRays
from cpflow.store import EVENTS, RUN_LOG

QUERY = "instrument='LATISS' AND detector=0"
LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [A-Z]+ +exposure=(-|\d+) detector=(-|\d+) .+"
)


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    ) as opened:
        yield opened


@pytest.fixture(scope="module")
def darks(tmp_path_factory):
    """Darks with cosmic rays, and a bias for them."""
    here = tmp_path_factory.mktemp("darks")
    camera, truth = scaled(load_instrument("latiss"), 16), Truth(cosmic_rays=CosmicRays())
    for sequence in (bias_sequence(4, truth=truth), dark_sequence(4, truth=truth)):
        simulate(here / "raws", camera, sequence, truth=truth)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
    with Repo(here / "repo") as repo:
        repo.ingest(here / "raws")
        repo.plan("bias", "observation_type='bias'").run(output="u/test/biasGen")
        yield repo


def written(repo, run):
    """Events and lines of the log of a run, each of which is whole."""
    directory = repo.store.logs(run)
    text = (directory / EVENTS).read_text()
    assert text.endswith("\n")
    assert all(json.loads(line)["run"] == run for line in text.splitlines())
    lines = (directory / RUN_LOG).read_text().splitlines()
    assert all(LINE.fullmatch(line) for line in lines)
    return list(read_events(directory / EVENTS)), lines


def check_complete(repo, plan, run):
    """Everything that a run says of itself agrees with what it did."""
    events, lines = written(repo, run.name)
    (product,) = plan.products
    assert [e.kind for e in events if e.kind != "progress"] == [
        "run_started",
        *(["cluster"] if events[1].kind == "cluster" else []),
        "started",
        "finished",
        "published",
        "run_ended",
    ]
    progress = [e for e in events if e.kind == "progress"]
    assert [e.done for e in progress] == list(range(1, len(progress) + 1))
    assert len({e.key for e in progress}) == len(progress), "each task once"
    assert {(e.product, e.detector, e.total) for e in progress} == {
        (product.label, 0, product.facts.tasks)
    }
    times = [e.time for e in events]
    assert times == sorted(times)
    assert any("detector=0" in line and "read noise of C00" in line for line in lines)
    assert f"run {run.name}: complete; 1 of 1 products done" in lines[-1]
    summary = run.summary
    assert (summary.run, summary.state, summary.done, summary.failures) == (
        run.name, "complete", 1, (),
    )  # fmt: skip
    assert summary.tasks == product.facts.tasks
    assert summary.bytes_to_read == plan.bytes_to_read
    assert 0 < summary.slowest_seconds <= summary.seconds
    recorded = repo.registry.collection(run.name).facts["summary"]
    assert recorded["state"] == "complete"
    assert recorded["tasks"] == summary.tasks
    return events, progress


def test_on_threads(repo):
    plan = repo.plan("bias", QUERY)
    run = plan.run(output="u/test/biasGen")
    _, progress = check_complete(repo, plan, run)
    # Constants are no tasks to run.
    assert len(progress) > 0.5 * plan.products[0].facts.tasks
    assert not any("tasks" in line for line in run.log), "how far it came is not kept"


def test_on_worker_processes(repo, cluster):
    plan = repo.plan("bias", QUERY, band_rows=2)
    with Client(cluster) as client:
        link = client.dashboard_link
        run = plan.run(client, output="u/test/biasGen")
        plugins = client.run_on_scheduler(
            lambda dask_scheduler: [p for p in dask_scheduler.plugins if "cpflow" in p]
        )
    assert plugins == [], "the scheduler tells nothing any more"
    events, progress = check_complete(repo, plan, run)
    # The last message about tasks may come after the product.
    assert len(progress) > 0.5 * plan.products[0].facts.tasks
    assert [e.text for e in events if e.kind == "cluster"] == [link]
    assert link.startswith("http://127.0.0.1:")
    assert sum(link in line for line in run.log) == 1


def test_what_workers_log_is_in_the_log_of_the_run(darks, cluster):
    with Client(cluster) as client:
        run = darks.plan(
            "dark",
            "observation_type='dark'",
            inputs=("LATISS/raw/all", "u/test/biasGen"),
            config={"cosmic_rays.max_pixels": 1, "cosmic_rays.too_many": "warn"},
        ).run(client, output="u/test/darkGen")
    _, lines = written(darks, run.name)
    for exposure in (e for e in darks.exposures("observation_type='dark'")):
        own = [line for line in lines if f"exposure={exposure.exposure} detector=0" in line]
        assert any("WARNING" in line and "look like cosmic rays" in line for line in own)
    assert len(lines) == len(set(lines)), "nothing is told twice"


def test_workers_in_this_process_log_once(darks):
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        run = darks.plan(
            "dark",
            "observation_type='dark'",
            inputs=("LATISS/raw/all", "u/test/biasGen"),
            config={"cosmic_rays.max_pixels": 1, "cosmic_rays.too_many": "warn"},
        ).run(client, output="u/test/darkInProcess")
    _, lines = written(darks, run.name)
    told = [line.split(" ", 1)[1] for line in lines if "look like cosmic rays" in line]
    assert len(told) == len(set(told)) == 4


def test_a_failure_names_its_exposure_everywhere(own_repo, own_biases):
    victim = own_biases.paths[2]
    exposure = own_repo.exposures()[2].exposure
    victim.unlink()
    with pytest.raises(BuildError):
        own_repo.plan("bias", QUERY).run(output="u/test/biasGen")
    (name,) = own_repo.store.logged_runs()
    events, lines = written(own_repo, name)
    (failed,) = [e for e in events if e.kind == "failed"]
    assert (failed.exposure, failed.detector) == (exposure, 0)
    assert victim.name in failed.file
    assert "--drop-bad 1" in failed.hint
    assert (events[-1].kind, events[-1].text) == ("run_ended", "failed")
    assert any(f"ERROR   exposure={exposure} detector=0" in line for line in lines)
    own_repo.close()
    told = cpflow("logs", own_repo.root).stdout
    for part in (f"run {name}: failed", f"exposure {exposure}, detector 0", victim.name,
                 "hint: ", "ERROR"):  # fmt: skip
        assert part in told


def test_a_performance_report(repo, cluster, tmp_path):
    pytest.importorskip("bokeh", reason="draws the report: pip install 'cpflow[dashboard]'")
    page = tmp_path / "report.html"
    with Client(cluster) as client:
        repo.plan("bias", QUERY).run(client, output_run="u/test/reported", performance_report=page)
    text = page.read_text()
    assert "<html" in text
    assert "write-bias-0-band" in text or "write_band" in text, "the tasks are in it"
    assert [p.name for p in tmp_path.iterdir() if "html" in p.name] == ["report.html"]


def test_threads_write_no_performance_report(repo, tmp_path):
    plan = repo.plan("bias", QUERY)
    with pytest.raises(UsageError, match="--cluster local"):
        plan.run(performance_report=tmp_path / "report.html")
    with pytest.raises(UsageError, match="name a file"):
        run_plan(
            plan,
            profile=load_profile("local"),
            performance_report=tmp_path / "nowhere" / "report.html",
        )
    assert repo.store.logged_runs() == []
    assert not (repo.root / ".staging").exists()


def interrupted(root, *more):
    """Run, and send ctrl-C to all processes, as a terminal does, when the first band is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cpflow", "run", "-b", root, "-p", "bias", "-d", QUERY,
         "-o", "u/test/stopped", "--band-rows", "2", "-j", "2", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(root.glob(".staging/*/bands/*/band-*.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    return process, out, errors


def all_gone(group, seconds=20):
    """Whether all processes of a group end in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("where", ["threads", "local"])
def test_ctrl_c_in_a_terminal(repo, where):
    repo.close()
    process, out, errors = interrupted(repo.root, "--cluster", where)
    assert process.returncode == 130, errors
    assert out == ""
    assert "Traceback" not in errors, "workers are silent, too"
    assert "interrupted; 0 of 1 products done" in errors
    assert "run the same command again to resume" in errors
    assert all_gone(process.pid), "no worker is left"
    told = cpflow("logs", repo.root, "u/test/stopped").stdout
    assert ": interrupted; 0 of 1 products done" in told
    again = cpflow(
        "run", "-b", repo.root, "-p", "bias", "-d", QUERY, "-o", "u/test/stopped",
        "--band-rows", "2", "-j", "2", "--json",
    )  # fmt: skip
    summary = again.json["summary"]
    assert (summary["state"], summary["attempts"], summary["resumed"]) == ("complete", 2, 1)
    with Repo(repo.root) as opened:
        events, _ = written(opened, again.json["run"])
        whole = opened.plan("bias", QUERY, band_rows=2).tasks
    assert [e.kind for e in events if e.kind.startswith("run")].count("run_started") == 2
    assert summary["tasks"] < whole, "what was done is not done again"


def test_killed_runs_are_told_as_killed(repo):
    repo.close()
    process = subprocess.Popen(
        [sys.executable, "-m", "cpflow", "run", "-b", repo.root, "-p", "bias", "-d", QUERY,
         "-o", "u/test/killed", "--band-rows", "2", "-j", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    while not list(repo.root.glob(".staging/*/bands/*/band-*.json")):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGSTOP)
    assert cpflow("logs", repo.root, "--json").json["state"] == "going on"
    assert "is being run" not in cpflow("logs", repo.root).stderr
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert cpflow("logs", repo.root, "--json").json["state"] == "killed"
    assert ": killed; 0 of 1 products done" in cpflow("logs", repo.root, "u/test/killed").stdout
    followed = cpflow("logs", repo.root, "--follow", "--events").stdout.splitlines()
    assert json.loads(followed[0])["kind"] == "run_started"
    # The staging of a run goes with its logs, if it never was registered.
    assert "logs of a run" not in cpflow("doctor", repo.root).stdout
    cpflow("doctor", repo.root, "--clean")
    assert "nothing is wrong" in cpflow("doctor", repo.root).stdout
    assert not list((repo.root / "logs").rglob("*"))


def test_follow_ends_with_the_run(tmp_path):
    made = simulate_biases(tmp_path / "raws", 4, 16)
    root = tmp_path / "repo"
    Repo.create(root, made.instrument).close()
    with Repo(root) as repo:
        repo.ingest(made.raws)
    process = subprocess.Popen(
        [sys.executable, "-m", "cpflow", "run", "-b", root, "-p", "bias", "-d", QUERY,
         "-o", "u/test/followed", "--band-rows", "2", "-j", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    while not list(root.glob("logs/u/test/followed/*/run.log")):
        assert process.poll() is None
        time.sleep(0.002)
    followed = cpflow("logs", root, "u/test/followed", "--follow").stdout
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert "read noise of C00" in followed
    assert ": complete; 1 of 1 products done" in followed
