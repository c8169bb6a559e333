"""Real SLURM: one job with everything in it, and a job for each worker; exit codes, resuming.

`tests/servers/slurm.sh start` prints what $CPFLOW_TEST_SLURM has to be: two nodes of one core.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import dask
import psutil
import pytest
import yaml
from certificates import make_certificates

from cpflow.io.zarr_product import content_hash
from cpflow.scheduler import load_profile

QUERY = "instrument='LATISS' AND detector=0"
PROFILE = {
    "extends": "slurm",
    "workers": 2,
    "nodes": 2,
    "worker": {"walltime": "10min"},
    "stop_before": "1min",
}

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def slurm(monkeypatch):
    """The server, for this test and the commands that it starts."""
    named = os.environ.get("CPFLOW_TEST_SLURM")
    if not named:
        pytest.skip("no SLURM: $CPFLOW_TEST_SLURM is not set (tests/servers/slurm.sh start)")
    monkeypatch.setenv("SLURM_CONF", named)
    return named


@pytest.fixture
def profile(tmp_path):
    """Writes a profile, and returns its path."""

    def write(**more):
        path = tmp_path / "site.yaml"
        path.write_text(yaml.safe_dump({**PROFILE, **more}))
        return path

    return write


@pytest.fixture
def reference(repo):
    """What threads make of the same plan."""
    return content_hash(repo.plan("bias", QUERY).run(output_run="u/test/threads").product)


def command(name, root, profile, *more, output="u/test/slurm"):
    return [
        sys.executable, "-m", "cpflow", name, "-b", str(root), "-p", "bias", "-d", QUERY,
        "-o", output, "--cluster", str(profile), *map(str, more),
    ]  # fmt: skip


def submit(root, profile, *more, code=0, **options):
    """Submit and wait; return the id of the job and what it printed."""
    done = subprocess.run(
        command("submit", root, profile, "--wait", "--json", *more, **options),
        capture_output=True, text=True, check=False, timeout=550,
    )  # fmt: skip
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    log = Path(told["log"]).read_text() if Path(told["log"]).exists() else "no log"
    assert done.returncode == code, f"{done.returncode}\n{done.stderr}\n{log}"
    return told["job"], log


def begin(root, profile, *more, **options):
    """Submit; return the id, the log and the script."""
    done = subprocess.run(
        command("submit", root, profile, "--json", *more, **options),
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    told = json.loads(done.stdout)
    return told["job"], Path(told["log"]), Path(told["script"])


def job_facts(job):
    done = subprocess.run(
        ["scontrol", "show", "job", job], capture_output=True, text=True, check=True
    )
    return dict(re.findall(r"(\w+)=(\S*)", done.stdout))


def wait_for(condition, what, seconds=240):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.2)
    return found


def ended(job):
    """Wait until a job has left the queue, and return what SLURM says of it."""
    over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
    return wait_for(
        lambda: facts if (facts := job_facts(job))["JobState"] in over else None, "end of the job"
    )


def staged(root):
    return list((root / ".staging").glob("*/bands/*/band-*.json"))


def freeze_worker(directory):
    """Let the workers of a job stand still."""
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if "-m distributed.cli.dask_worker" in line and str(directory) in line:
            if line.startswith("srun"):
                continue
            for one in [*process.children(recursive=True), process]:
                one.suspend()


def built(repo, output="u/test/slurm"):
    return content_hash(repo.get("bias", collections=output, detector=0))


def test_a_job_builds_the_same_bits(repo, profile, reference):
    job, log = submit(repo.root, profile())
    facts = job_facts(job)
    assert facts["JobState"] == "COMPLETED"
    assert facts["ExitCode"] == "0:0"
    assert facts["NumNodes"] == "2"
    assert built(repo) == reference
    assert "1 of 1 products done" in log
    assert "Killed" not in log, "workers end by themselves"
    assert not list((repo.root / ".staging").iterdir())

    # Once more into the queue, as an operator or a node that comes back may do: nothing is built.
    runs = set(repo.registry.collection_names())
    subprocess.run(["scontrol", "requeue", job], check=True)
    wait_for(lambda: job_facts(job)["Restarts"] == "1", "restart")
    assert ended(job)["ExitCode"] == "0:0"
    assert set(repo.registry.collection_names()) == runs


def test_one_node_stays_on_loopback(repo, profile, reference):
    _, log = submit(repo.root, profile(workers=1, nodes=1))
    assert built(repo) == reference
    assert set(re.findall(r"(?:Scheduler|Nanny|worker) at: +'?tcp://([\d.]+):", log)) == {
        "127.0.0.1"
    }


def test_tls_within_a_job(repo, profile, reference, tmp_path):
    names = make_certificates(tmp_path)
    _, log = submit(repo.root, profile(security=names))
    assert built(repo) == reference
    assert re.search(r"Scheduler at: +tls://", log)
    assert re.search(r"Start worker at: +tls://", log)
    assert "tcp://" not in log


def test_a_build_that_fails_gives_its_exit_code(own_repo, own_biases, profile):
    file = own_biases.paths[3]
    file.write_bytes(file.read_bytes()[:-20000])
    job, log = submit(own_repo.root, profile(), code=4)
    assert job_facts(job)["ExitCode"] == "4:0"
    assert file.name in log
    assert own_repo.registry.datasets("bias") == []


@pytest.mark.parametrize("way", ["signal", "walltime"])
def test_a_job_stops_before_its_walltime_and_the_next_one_resumes(repo, profile, reference, way):
    options = {"workers": 1, "nodes": 1}
    if way == "walltime":
        # SLURM's times are of minutes, and its looks at them half a minute apart.
        options |= {"worker": {"walltime": "2min"}, "stop_before": "60s"}
    job, log, script = begin(repo.root, profile(**options), "--band-rows", 1)
    wait_for(lambda: staged(repo.root), "band")
    if way == "signal":
        # What SLURM sends then.
        subprocess.run(["scancel", "--batch", "--signal=USR1", job], check=True)
    else:
        # The build would be done long before.
        freeze_worker(script.parent)
    facts = ended(job)
    text = log.read_text()
    assert (script.parent / f"{job}.exit").read_text().strip() == "130", text
    assert facts["JobState"] == "FAILED", text
    assert "run the same command again to resume" in text
    assert staged(repo.root)
    kept = len(list((repo.root / ".staging").glob("*/bands/*/*.json")))
    assert "u/test/slurm" not in repo.registry.collection_names()
    _, text = submit(repo.root, profile(), "--band-rows", 1)
    assert re.search(rf"\b{kept} of \d+ parts are done already", text)
    assert built(repo) == reference


def test_a_job_may_put_itself_into_the_queue_again(repo, profile, reference):
    job, log, _ = begin(
        repo.root, profile(workers=1, nodes=1, requeue_at_walltime=True), "--band-rows", 1
    )
    wait_for(lambda: staged(repo.root), "band")
    subprocess.run(["scancel", "--batch", "--signal=USR1", job], check=True)
    wait_for(lambda: job_facts(job)["Restarts"] == "1", "restart")
    facts = ended(job)
    text = log.read_text()
    assert facts["ExitCode"] == "0:0", text
    assert "into the queue again" in text
    assert "resuming run" in text
    assert built(repo) == reference


def test_a_requeued_job_resumes(repo, profile, reference):
    """As when its node fails, or something more urgent needs it."""
    job, log, _ = begin(repo.root, profile(workers=1, nodes=1), "--band-rows", 1)
    wait_for(lambda: staged(repo.root), "band")
    subprocess.run(["scontrol", "requeue", job], check=True)
    wait_for(lambda: job_facts(job)["Restarts"] == "1", "restart")
    facts = ended(job)
    text = log.read_text()
    assert facts["ExitCode"] == "0:0", text
    assert "resuming run" in text
    assert built(repo) == reference


def test_a_cancelled_job_can_be_submitted_again(repo, profile, reference):
    waiting = subprocess.Popen(
        command("submit", repo.root, profile(workers=1, nodes=1), "--wait", "--json",
                "--band-rows", 1),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: staged(repo.root), "band")
    (script,) = (repo.root / "batch").glob("*/job.sh")
    (log,) = script.parent.glob("*.log")
    subprocess.run(["scancel", log.stem], check=True)
    _, errors = waiting.communicate(timeout=120)
    # All of its processes get the signal at once: the scheduler may be gone first.
    assert waiting.returncode in (7, 130), errors
    assert "u/test/slurm" not in repo.registry.collection_names()
    # By hand, and from another directory.
    again = subprocess.run(
        ["sbatch", "--parsable", str(script)], capture_output=True, text=True, check=True, cwd="/"
    ).stdout.strip()
    assert ended(again)["ExitCode"] == "0:0"
    assert "resuming run" in (script.parent / f"{again}.log").read_text()
    assert built(repo) == reference


def test_the_interactive_way(repo, profile, reference):
    """A job for each worker: from a command, and from a notebook, by name or as a profile."""
    path = profile(worker={"walltime": "10min", "memory": "1.5GiB"})
    done = subprocess.run(
        command("run", repo.root, path), capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert built(repo) == reference
    workers = set()

    def listener(event):
        if event.kind == "started":
            out = subprocess.run(
                ["squeue", "--noheader", "--format=%j %N"], capture_output=True, text=True
            ).stdout
            workers.update(out.split("\n"))

    run = repo.plan("bias", QUERY).run(
        output_run="u/test/notebook", cluster=load_profile(str(path)), listener=listener
    )
    assert content_hash(run.product) == reference
    assert any(re.fullmatch(r"cpflow-worker n[12]", line) for line in workers), workers
    wait_for(
        lambda: (
            "cpflow-worker"
            not in subprocess.run(
                ["squeue", "--noheader", "--format=%j"], capture_output=True, text=True
            ).stdout
        ),
        "end of the workers' jobs",
    )


def jobs_of_workers(*states):
    return subprocess.run(
        ["squeue", "--noheader", "--name=cpflow-worker", "--format=%i", *states],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip


def test_a_worker_that_goes_is_replaced(repo, profile, reference, monkeypatch):
    """The only worker's job ends in the middle, and nobody submits another by hand."""
    monkeypatch.setattr("cpflow.scheduler.slurm._LOOK", 1.0)
    jobs = set()

    def listener(event):
        if event.kind != "progress":
            return
        if not jobs:
            (job,) = jobs_of_workers()
            subprocess.run(["scancel", "--signal=KILL", "--full", job], check=True)
        jobs.update(jobs_of_workers())

    path = profile(workers=1, limits={"no_worker_timeout": 120})
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"}):
        run = repo.plan("bias", QUERY, band_rows=3).run(
            output_run="u/test/replaced", cluster=str(path), listener=listener
        )
    assert len(jobs) == 2
    assert content_hash(run.product) == reference
    assert jobs_of_workers("--states=PENDING,RUNNING") == []


def test_interactive_workers_with_tls(repo, profile, reference, tmp_path):
    path = profile(security=make_certificates(tmp_path))
    run = repo.plan("bias", QUERY).run(output_run="u/test/tls", cluster=str(path))
    assert content_hash(run.product) == reference


def test_what_slurm_refuses(repo, profile):
    done = subprocess.run(
        command("submit", repo.root, profile(partition="nothing")),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 7
    assert "invalid partition" in done.stderr.lower()
