"""`cpflow doctor --cluster`: workers that cannot build here say why, each for a real reason."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from certificates import make_certificates
from commands import cpflow
from distributed import Client
from hindered import SHIFTED_CLOCK, held_to_permissions, without_flock
from simulated import simulate_biases

import cpflow as package
from cpflow import Repo
from cpflow.environment.packages import versions
from cpflow.findings import Level
from cpflow.scheduler import cluster_check
from cpflow.scheduler.answers import Answer, examine_answers
from cpflow.scheduler.certificates import examine_certificates
from cpflow.scheduler.profiles import Security
from cpflow.scheduler.worker_probe import Question

pytestmark = pytest.mark.filterwarnings(
    "ignore::distributed.versions.VersionMismatchWarning"  # of the tests' own clients
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository with raws, in directories of its own below one that can be shut."""
    here = tmp_path_factory.mktemp("shared") / "disk"
    made = simulate_biases(here / "raws", 3, 16)
    Repo.create(here / "repo", made.instrument).close()
    with Repo(here / "repo") as repo:
        repo.ingest(made.raws)
    (here / "repo" / ".staging").mkdir(exist_ok=True)
    return here / "repo"


class Cluster:
    """A scheduler and workers at an address, each a process of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.processes = []
        self.file = directory / "scheduler.json"

    @property
    def address(self):
        return json.loads(self.file.read_text())["address"]

    def start(self, what, *arguments, before=(), environment=None):
        """Start a program of Dask."""
        log = (self.directory / f"{what}-{len(self.processes)}.log").open("w")
        self.processes.append(
            subprocess.Popen(
                [*before, sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard",
                 "--scheduler-file", str(self.file), *arguments],
                stdout=log, stderr=log, cwd=self.directory,
                env={**os.environ, **(environment or {})},
            )
        )  # fmt: skip
        log.close()

    def worker(self, *arguments, nthreads=1, memory="2GiB", **how):
        self.start(
            "worker", "--no-nanny", "--nthreads", str(nthreads), "--memory-limit", memory,
            *arguments, **how,
        )  # fmt: skip

    def wait(self, workers):
        """Wait for workers, and return their addresses by name."""
        with Client(scheduler_file=str(self.file), timeout=30) as client:
            client.wait_for_workers(workers, timeout=60)
            return client.run_on_scheduler(
                lambda dask_scheduler: {
                    worker.name: address for address, worker in dask_scheduler.workers.items()
                }
            )

    def close(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


@contextmanager
def running(directory):
    cluster = Cluster(directory)
    try:
        yield cluster
    finally:
        cluster.close()


def doctor(*arguments, code=0):
    """Findings of the cluster."""
    done = cpflow("doctor", *arguments, "--json", code=code).json
    return [one for one in (*done["findings"], *done["sound"]) if one["group"] == "cluster"]


def test_workers_that_can_build(repository, tmp_path):
    """Those that cpflow starts itself."""
    profile = tmp_path / "site.yaml"
    profile.write_text("extends: local\nworkers: 2\nworker: {memory: 1GiB}\n")
    before = sorted(repository.rglob("*"))
    done = cpflow("doctor", repository, "--cluster", profile)
    shown = done.stdout.partition(f"cluster {profile}\n")[2]
    assert "ok: workers: 2 on " in shown
    assert ", of 1 thread and 1 GiB each" in shown
    for text in (
        "the same versions as here", "kernels run", "clocks agree within 1 s",
        "see the repository, and write where it is seen here", "see locks that are held here",
        "read 3 of 3 raw files, a sample",
    ):  # fmt: skip
        assert f"ok: all 2 workers: {text}\n" in shown
    assert "ok: scheduler: tcp://127.0.0.1:" in shown
    assert sorted(repository.rglob("*")) == before, "nothing is left behind"


def test_threads_have_nothing_to_reach():
    (one,) = doctor("--cluster", "threads")
    assert "nothing to reach" in one["problem"]


def test_each_worker_says_what_hinders_it(repository, tmp_path):
    """One cluster for all: a worker that is sound, and others that are not."""
    shutil.copytree(Path(package.__file__).parent, tmp_path / "old" / "cpflow")
    init = tmp_path / "old" / "cpflow" / "__init__.py"
    init.write_text(init.read_text().replace(package.__version__, "0.0.7"))
    numpy = tmp_path / "old" / "numpy-1.26.dist-info"
    numpy.mkdir()
    (numpy / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.26\n")
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(SHIFTED_CLOCK.format(seconds=-90))
    staging = repository / ".staging"
    raw = sorted(repository.parent.glob("raws/*.fits*"))[1]
    modes = {path: path.stat().st_mode for path in (staging, raw)}
    with running(tmp_path) as cluster:
        cluster.start("scheduler", "--host", "127.0.0.1", "--port", "0")
        cluster.worker("--name", "sound")
        cluster.worker("--name", "denied", before=held_to_permissions())
        cluster.worker(
            "--name", "old", before=without_flock(),
            environment={"PYTHONPATH": str(tmp_path / "old")},
        )  # fmt: skip
        cluster.worker(
            "--name", "fat", nthreads=6, memory="0",
            environment={"PYTHONPATH": str(tmp_path / "clock")},
        )  # fmt: skip
        cluster.worker("--name", "none", environment=without_cpflow(tmp_path))
        addresses = cluster.wait(5)
        try:
            # Root may write nevertheless; the worker that is held to permissions may not.
            staging.chmod(0o555)
            raw.chmod(0o000)
            found = doctor(repository, "--cluster", cluster.address, code=4)
        finally:
            for path, mode in modes.items():
                path.chmod(mode)
    by_worker = {name: [] for name in addresses}
    for one in found:
        for name, address in addresses.items():
            if address in one["subject"] and "together" not in one["problem"]:
                by_worker[name].append((one["level"], one["problem"], one["remedy"]))
    assert by_worker["sound"] == []

    write, raws = by_worker["denied"]
    assert write[0] == raws[0] == "error"
    assert f"cannot be written there: {staging}: Permission denied" in write[1]
    assert "--shared GROUP" in write[2]
    assert "1 of 3 raw files, a sample, cannot be read there" in raws[1]
    assert f"{raw}: Permission denied" in raws[1]

    version, numbers, locks = by_worker["old"]
    assert version[:2] == (
        "error",
        f"cpflow 0.0.7 there, {package.__version__} here: tasks of one may not be those of the "
        "other",
    )
    assert version[2] == f"install the same there: pip install 'cpflow=={package.__version__}'"
    assert (numbers[0], numbers[1][:17]) == ("warning", "numpy 1.26 there,")
    assert locks[0] == "warning"
    assert "do not work there: No locks available" in locks[1]

    memory, threads, clock = by_worker["fat"]
    assert {one[0] for one in by_worker["fat"]} == {"warning"}
    assert "it has no memory limit" in memory[1]
    assert "6 tasks at once" in threads[1]
    assert threads[2] == "dask worker --nworkers 6 --nthreads 1"
    assert "behind this one" in clock[1]
    assert 80 < int(clock[1].split()[3]) <= 90

    ((level, problem, remedy),) = by_worker["none"]
    assert level == "error"
    assert "cpflow does not work there" in problem
    assert "not here" in problem
    assert package.__version__ in remedy
    # What is wrong with one is not said to be sound with all.
    sound = [(one["subject"], one["problem"]) for one in found if one["level"] == "ok"]
    assert [subject for subject, _ in sound[:2]] == ["scheduler", "workers"]
    assert sound[2:] == [("4 of 5 workers", "kernels run")]


def without_cpflow(directory):
    """The environment of a process in which cpflow cannot be imported."""
    (directory / "none" / "cpflow").mkdir(parents=True)
    (directory / "none" / "cpflow" / "__init__.py").write_text("raise ImportError('not here')\n")
    return {"PYTHONPATH": str(directory / "none")}


def test_a_scheduler_without_cpflow(repository, tmp_path):
    with running(tmp_path) as cluster:
        cluster.start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", environment=without_cpflow(tmp_path)
        )
        cluster.worker()
        cluster.wait(1)
        (one,) = doctor(repository, "--cluster", cluster.address, code=4)
    assert (one["level"], one["subject"]) == ("error", "scheduler")
    assert one["problem"].startswith("cpflow cannot be loaded there: ImportError: not here")
    assert package.__version__ in one["remedy"]


def test_a_worker_of_another_machine(repository, tmp_path):
    """What is at the path of the repository is another directory there."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(repository, elsewhere)
    mounted = ["unshare", "--mount", "bash", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"',
               "mounted", str(elsewhere), str(repository)]  # fmt: skip
    mounts = subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode == 0
    door = repository.parent
    with running(tmp_path) as cluster:
        cluster.start("scheduler", "--host", "127.0.0.1", "--port", "0")
        # Where nothing can be mounted, it lies behind a door that is shut.
        cluster.worker(before=mounted if mounts else held_to_permissions())
        cluster.wait(1)
        try:
            door.chmod(0o755 if mounts else 0o000)
            found = doctor(repository, "--cluster", cluster.address, code=4)
        finally:
            door.chmod(0o755)
    told = {one["problem"]: one for one in found if one["level"] == "error"}
    reason = (
        "another directory is there: a file that was just made here is not in it"
        if mounts
        else "Permission denied"
    )
    one = told.pop(f"the repository is not to be seen there: {repository}: {reason}")
    assert one["subject"] == "worker"
    assert one["remedy"].startswith(f"mount it at {repository} there")
    assert all("raw files" in problem for problem in told)
    sound = [one["problem"] for one in found if one["level"] == "ok"]
    assert "kernels run" in sound
    assert not any("repository" in text for text in sound)


def test_what_cannot_be_started_or_reached(repository, tmp_path):
    """The other findings are told nevertheless; exit codes are those of a run."""
    done = cpflow("doctor", repository, "--cluster", "tcp://127.0.0.1:1", code=7)
    assert "ok: locks: " in done.stdout
    assert "error: cluster: no scheduler answers at tcp://127.0.0.1:1" in done.stdout
    assert "    start one there: dask scheduler --port 1\n" in done.stdout
    assert "no scheduler answers" in done.stderr
    (one,) = doctor("--cluster", "tcp://127.0.0.1:1", code=7)
    assert one["problem"] == "no scheduler answers at tcp://127.0.0.1:1: Connection refused"

    done = cpflow("doctor", "--cluster", "nothing", code=2)
    assert "there is no cluster profile 'nothing'" in done.stdout
    profile = tmp_path / "odd.yaml"
    profile.write_text("kind: address\nadress: tcp://x:1\n")
    assert "did you mean 'address'" in cpflow("doctor", "--cluster", profile, code=2).stdout


def test_workers_that_do_not_come(tmp_path, monkeypatch):
    """A queue may take hours: nobody waits longer than asked for."""
    with running(tmp_path) as cluster:
        cluster.start("scheduler", "--host", "127.0.0.1", "--port", "0")
        profile = tmp_path / "site.yaml"
        profile.write_text(
            f"kind: address\nscheduler_file: {cluster.file}\nworkers: 3\n"
            "limits: {start_timeout: 12h}\n"
        )
        begin = time.monotonic()
        (one,) = doctor("--cluster", profile, "--timeout", "2", code=7)
        assert one["problem"] == "no worker came within 2 s"
        assert time.monotonic() - begin < 30
        cluster.worker()
        cluster.wait(1)
        found = doctor("--cluster", profile, "--timeout", "1")
        (late,) = [one for one in found if one["level"] == "warning"]
        assert late["problem"] == "1 of 3 came within 1 s"
        assert "--timeout" in late["remedy"]

        # It is there, and does not say a word.
        monkeypatch.setattr(cluster_check, "_WORD", 1)
        monkeypatch.setattr(cluster_check, "_ANSWER", 2)
        cluster.processes[-1].send_signal(signal.SIGSTOP)
        (hung,) = [one for one in doctor("--cluster", cluster.address, code=4)
                   if one["level"] == "error"]  # fmt: skip
        assert hung["problem"] == "no answer within 2 s: it is busy, or hangs"
        assert "not mounted" in hung["remedy"]


# -- certificates --------------------------------------------------------------------------------


def security_of(directory, **span):
    names = make_certificates(directory, **span)
    return Security(**{key: directory / name for key, name in names.items()})


def test_certificates(tmp_path):
    (found,) = examine_certificates(security_of(tmp_path / "good", end=timedelta(days=400)))
    assert found.level is Level.OK
    assert "cert.pem is good until 20" in found.problem
    (found,) = examine_certificates(security_of(tmp_path / "soon", end=timedelta(days=5)))
    assert found.level is Level.WARNING
    assert "for 5 days" in found.problem
    past = {"begin": timedelta(days=-9), "end": timedelta(days=-2)}
    (found,) = examine_certificates(security_of(tmp_path / "past", **past))
    assert found.level is Level.ERROR
    assert found.problem.endswith("certificate has expired")
    early = {"begin": timedelta(days=1), "end": timedelta(days=99)}
    (found,) = examine_certificates(security_of(tmp_path / "early", **early))
    assert "not yet valid" in found.problem
    good, other = security_of(tmp_path / "one"), security_of(tmp_path / "other")
    (found,) = examine_certificates(good.model_copy(update={"ca_file": other.ca_file}))
    assert found.level is Level.ERROR
    (found,) = examine_certificates(good.model_copy(update={"key": other.key}))
    assert "mismatch" in found.problem.lower()
    (found,) = examine_certificates(good.model_copy(update={"cert": tmp_path / "none"}))
    assert "No such file" in found.problem


def test_expired_certificates_are_told_of_before_they_are_refused(tmp_path):
    names = make_certificates(tmp_path, begin=timedelta(days=-9), end=timedelta(days=-2))
    profile = tmp_path / "secure.yaml"
    profile.write_text(yaml.safe_dump({"extends": "local", "workers": 1, "security": names}))
    found = doctor("--cluster", profile, "--timeout", "20", code=7)
    assert found[0]["subject"] == "certificates"
    assert "expired" in found[0]["problem"]
    assert found[1]["subject"] == "cluster"


# -- many workers --------------------------------------------------------------------------------


def said(host, **more):
    return {
        "host": host, "versions": versions(), "kernels": [], "threads": 1, "memory_limit": 2**30,
        "cores": 8, "memory": 32 * 2**30, "user": 0, "raws": {}, **more,
    }  # fmt: skip


def test_a_problem_of_many_workers_is_told_once():
    answers = [
        Answer(f"tcp://10.0.0.{i}:1", said(f"node{i % 4}", threads=5 if i < 30 else 1), 0.0)
        for i in range(100)
    ]
    found = list(examine_answers(answers, Question()))
    assert len([one for one in found if "5 tasks at once" in one.problem]) == 1
    (one,) = [one for one in found if "5 tasks at once" in one.problem]
    assert one.subject.startswith("30 of 100 workers, node0 (tcp://10.0.0.0:1), node1 (")
    assert one.subject.endswith(" and 26 more")
    crowded = [one.problem for one in found if "together they run" in one.problem]
    assert len(crowded) == 4
    assert "node3 has 8 cores for them" in crowded[-1]


def test_workers_that_are_promised_more_than_there_is():
    answers = [
        Answer(f"tcp://10.0.0.1:{i}", said("node", memory_limit=6 * 2**30), 0.0) for i in range(8)
    ]
    (one,) = [one for one in examine_answers(answers, Question()) if one.level is Level.WARNING]
    assert one.subject == "all 8 workers"
    assert one.problem == "together they may take 48.0 GiB, node has 32.0 GiB"
