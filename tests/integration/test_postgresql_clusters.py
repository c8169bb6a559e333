"""A registry in PostgreSQL, and workers that never speak to it: only the process that runs does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import yaml
from commands import cpflow
from registries import postgresql_database

from cpflow import Repo
from cpflow.io.zarr_product import content_hash

QUERY = "instrument='LATISS' AND detector=0"

pytestmark = pytest.mark.postgresql


@pytest.fixture
def database():
    with postgresql_database() as url:
        yield url


@pytest.fixture
def repository(database, biases, tmp_path):
    """A repository with the biases ingested."""
    root = tmp_path / "repo"
    Repo.create(root, biases.instrument, db=database).close()
    with Repo(root) as opened:
        opened.ingest(biases.raws)
        yield opened


@pytest.fixture
def reference(repository):
    """What threads make of the plan."""
    return content_hash(repository.plan("bias", QUERY).run(output_run="u/test/threads").product)


class Watch:
    """Looks all the time at who is connected to a database, and at the workers that there are."""

    def __init__(self, url, workers):
        self.connected = set()
        self.workers = set()
        self.with_driver = set()
        self._url = url
        self._find_workers = workers
        self._over = threading.Event()

    @contextmanager
    def looking(self):
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(30)
        assert not thread.is_alive()

    def _look(self):
        import psycopg

        query = "SELECT client_port FROM pg_stat_activity WHERE datname = %s AND client_port > 0"
        own, _, name = self._url.replace("+psycopg", "").rpartition("/")
        with psycopg.connect(f"{own}/postgres", autocommit=True) as connection:
            while not self._over.wait(0.1):
                ports = {port for (port,) in connection.execute(query, [name])}
                by_port = {
                    one.laddr.port: one.pid for one in psutil.net_connections("tcp") if one.laddr
                }
                self.connected |= {by_port.get(port) for port in ports} - {None}
                self._look_at_workers()

    def _look_at_workers(self):
        with suppress(psutil.NoSuchProcess):
            for process in self._find_workers():
                self.workers.add(process.pid)
                maps = process.memory_maps()
                if any("psycopg" in one.path or "libpq" in one.path for one in maps):
                    self.with_driver.add(process.pid)


def check_silent(watch, count, runners=None):
    """Somebody was connected, the process that runs; no worker was, or could have been."""
    assert len(watch.workers) >= count
    assert watch.connected
    assert watch.connected == {os.getpid()} if runners is None else watch.connected & runners
    assert not watch.connected & watch.workers
    assert not watch.with_driver, "no worker has loaded a driver"


def built(repository, output):
    return content_hash(repository.get("bias", collections=output, detector=0))


def run(repository, output, cluster, *more):
    cpflow(
        "run", "-b", repository.root, "-p", "bias", "-d", QUERY, "-o", output, "--cluster", cluster,
        *more,
    )  # fmt: skip


def test_local_workers_do_not_know_the_database(repository, database, reference):
    def workers():
        children = psutil.Process().children()
        return [one for one in children if "spawn_main" in " ".join(one.cmdline())]

    watch = Watch(database, workers)
    with watch.looking():
        run(repository, "u/test/local", "local", "-j", "2")
    check_silent(watch, 2)
    assert built(repository, "u/test/local") == reference


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers, each a process of its own; the scheduler's address."""
    file = tmp_path / "scheduler.json"
    module = [sys.executable, "-m"]
    options = {"stderr": subprocess.DEVNULL, "cwd": tmp_path}
    scheduler = [
        *module, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
        "--no-dashboard", "--scheduler-file", str(file),
    ]  # fmt: skip
    worker = [
        *module, "distributed.cli.dask_worker", "--scheduler-file", str(file), "--no-nanny",
        "--no-dashboard", "--nthreads", "1",
    ]  # fmt: skip
    started = [subprocess.Popen(one, **options) for one in (scheduler, worker, worker)]
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield json.loads(file.read_text())["address"], {one.pid for one in started[1:]}
    for one in started[1:]:
        # A worker that is asked to end may wait for its scheduler.
        one.kill()
        one.wait(30)
    started[0].terminate()
    started[0].wait(30)


@pytest.mark.slow
def test_workers_at_an_address_do_not_know_the_database(repository, database, reference, cluster):
    address, workers = cluster
    watch = Watch(database, lambda: map(psutil.Process, workers))
    with watch.looking():
        run(repository, "u/test/address", address)
    check_silent(watch, 2)
    assert built(repository, "u/test/address") == reference


@pytest.mark.slow
def test_workers_of_a_batch_job_do_not_know_the_database(
    repository, database, reference, tmp_path, monkeypatch
):
    """With real SLURM: two nodes; the command runs in the job and is the only one connected."""
    named = os.environ.get("CPFLOW_TEST_SLURM")
    if not named:
        pytest.skip("no SLURM: $CPFLOW_TEST_SLURM is not set (tests/servers/slurm.sh start)")
    monkeypatch.setenv("SLURM_CONF", named)
    profile = tmp_path / "site.yaml"
    worker = {"walltime": "10min"}
    profile.write_text(
        yaml.safe_dump(
            {"extends": "slurm", "workers": 2, "nodes": 2, "worker": worker, "stop_before": "1min"}
        )
    )
    commands = set()

    def workers():
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or ())
            if str(repository.root) in line and " -m cpflow " in line:
                commands.add(process.pid)
            elif str(repository.root) in line and " -m distributed.cli.dask_worker " in line:
                yield from [] if line.startswith("srun") else [process]

    watch = Watch(database, workers)
    with watch.looking():
        done = subprocess.run(
            [
                sys.executable, "-m", "cpflow", "submit", "-b", str(repository.root), "-p", "bias",
                "-d", QUERY, "-o", "u/test/slurm", "--cluster", str(profile), "--wait", "--json",
            ],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
    assert done.stdout, done.stderr
    log = Path(json.loads(done.stdout)["log"])
    assert log.parent.stat().st_mode & 0o022 == 0, "only its owner changes the script of a job"
    assert done.returncode == 0, f"{done.stderr}\n{log.read_text() if log.exists() else 'no log'}"
    # This process has had the repository open from the beginning.
    check_silent(watch, 2, commands)
    assert watch.connected <= commands | {os.getpid()}
    assert built(repository, "u/test/slurm") == reference
