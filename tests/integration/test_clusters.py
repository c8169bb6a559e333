"""Clusters of separate processes: the same bits, loopback, TLS, memory, one thread per task."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import yaml
from certificates import make_certificates
from commands import cpflow
from distributed import Client
from distributed.security import Security as DaskSecurity
from threadpoolctl import threadpool_info

from cpflow.errors import ClusterLostError, ProductError, UsageError
from cpflow.io.zarr_product import content_hash
from cpflow.plan.memory import INTERPRETER_MEMORY
from cpflow.scheduler import load_profile, run_plan
from cpflow.scheduler.bands import read_band
from cpflow.scheduler.clusters import open_client
from cpflow.scheduler.fitting import PAUSE, fitting_rows, worker_memory
from cpflow.scheduler.profiles import AddressProfile, Limits, LocalProfile, Security, Worker
from cpflow.scheduler.security import dask_security

QUERY = "instrument='LATISS' AND detector=0"


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """A profile with TLS, in a file beside its certificates."""
    here = tmp_path_factory.mktemp("secure")
    path = here / "secure.yaml"
    content = {"extends": "local", "workers": 1, "security": make_certificates(here)}
    path.write_text(yaml.safe_dump(content))
    return load_profile(str(path))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Certificates of another authority."""
    here = tmp_path_factory.mktemp("stranger")
    return Security(**{key: here / name for key, name in make_certificates(here).items()})


def listening(process):
    return [
        connection.laddr.ip
        for one in [process, *process.children(recursive=True)]
        for connection in one.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]


def test_local_workers(repo):
    """Bits as on threads; memory from the plan; loopback only; one thread for each task."""
    reference = content_hash(repo.plan("bias", QUERY).run(output_run="u/test/threads").product)
    plan = repo.plan("bias", QUERY)
    profile = LocalProfile(workers=2, limits=Limits(allowed_failures=1))
    needed = worker_memory(plan, profile)
    seen = {}

    def listener(event):
        if event.kind != "started" or seen:
            return
        client = Client.current()
        seen["ips"] = set(listening(psutil.Process()))
        seen["limits"] = [
            worker["memory_limit"] for worker in client.scheduler_info()["workers"].values()
        ]
        seen["allowed"] = client.run_on_scheduler(
            lambda dask_scheduler: dask_scheduler.allowed_failures
        )
        # A function that workers can import: they do not see this module.
        seen["blas"] = client.run(threadpool_info)
        seen["environment"] = client.run(os.environ.get, "NUMBA_NUM_THREADS")

    run = run_plan(plan, output_run="u/test/local", profile=profile, listener=listener)
    assert content_hash(run.product) == reference
    assert seen["ips"] == {"127.0.0.1"}
    assert seen["limits"] == [needed, needed]
    assert seen["allowed"] == 1
    assert len(seen["blas"]) == 2
    for pools in seen["blas"].values():
        assert pools, "a BLAS is loaded"
        assert {pool["num_threads"] for pool in pools} == {1}
    assert set(seen["environment"].values()) == {"1"}


def threads_of_blas():
    return [pool["num_threads"] for pool in threadpool_info()]


def test_threads_are_held_to_one_as_well(repo):
    seen = []

    def listener(event):
        if event.kind == "started":
            seen.append(threads_of_blas())

    before = threads_of_blas()
    run_plan(repo.plan("bias", QUERY), output_run="u/test/threads", listener=listener)
    assert seen
    assert all(set(found) == {1} for found in seen)
    # What the kernels load comes on top of what was there.
    assert threads_of_blas()[: len(before)] == before


def test_too_small_workers_are_refused_with_what_fits(repo):
    # 12 exposures of a small detector: what tasks take is in the interpreter's shadow.
    plan = repo.plan("bias", QUERY)
    own = plan.memory(1) - INTERPRETER_MEMORY
    assert own > 0
    threads = 2 + int(2 * 2**30 / own)
    profile = LocalProfile(workers=1, worker=Worker(threads=min(threads, 64)))
    big = repo.plan("bias", QUERY, band_rows=repo.detector("LATISS", 0).imaging_shape[0])
    needed = worker_memory(big, profile)
    small = profile.model_copy(
        update={"worker": Worker(threads=profile.worker.threads, memory=needed - 2**20)}
    )
    names = set(repo.registry.collection_names())
    with pytest.raises(UsageError, match="are too small") as caught:
        run_plan(big, output_run="u/test/small", profile=small)
    assert set(repo.registry.collection_names()) == names
    assert not list((repo.root / ".staging").glob("*"))
    rows = fitting_rows(big, small, needed - 2**20)
    assert caught.value.hint == f"--band-rows {rows} fits"
    assert worker_memory(repo.plan("bias", QUERY, band_rows=rows), small) <= needed - 2**20
    assert worker_memory(repo.plan("bias", QUERY, band_rows=rows + 1), small) > needed - 2**20


def test_a_package_that_is_not_installed_is_named_before_there_is_a_run(repo, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    names = set(repo.registry.collection_names())
    run = ("run", "-b", repo.root, "-p", "bias", "-o", "u/test/slurm", "-d", QUERY)
    done = cpflow(*run, "--cluster", "slurm", code=2)
    assert "hint: pip install 'cpflow[slurm]'" in done.stderr
    assert set(repo.registry.collection_names()) == names
    assert not list((repo.root / ".staging").glob("*"))


def test_workers_that_no_height_fits(repo):
    plan = repo.plan("bias", QUERY)
    profile = LocalProfile(worker=Worker(memory=100 * 2**20))
    with pytest.raises(UsageError, match=r"100\.0 MiB are too small") as caught:
        plan.run(output_run="u/test/small", cluster=profile)
    assert caught.value.hint.startswith("no height of bands fits: give each worker 1.0 GiB")


def test_memory_of_another_height_is_that_of_its_plan(repo):
    plan = repo.plan("bias", QUERY)
    for rows in (3, 10, 60):
        other = repo.plan("bias", QUERY, band_rows=rows)
        assert plan.memory(2, band_rows=rows) == other.memory(2, in_flight=plan.in_flight(2))
    profile = LocalProfile(worker=Worker(threads=2))
    assert worker_memory(plan, profile) >= plan.memory(2) / PAUSE


def test_a_notebook_names_a_cluster(repo):
    with pytest.raises(UsageError, match="a client or a cluster"):
        repo.plan("bias", QUERY).run(object(), cluster="threads")
    run = repo.plan("bias", QUERY).run(output_run="u/test/a", cluster="threads")
    assert len(run.datasets) == 1


# -- TLS -----------------------------------------------------------------------------------------


def test_tls_and_nobody_without_a_certificate(repo, secure, stranger):
    """A scheduler and a worker with TLS; the same bits; strangers are turned away."""
    reference = content_hash(repo.plan("bias", QUERY).run(output_run="u/test/threads").product)
    with open_client(secure, 2**30) as client:
        scheduler = client.scheduler.address
        (worker,) = client.scheduler_info()["workers"]
        assert scheduler.startswith("tls://")
        assert worker.startswith("tls://")
        # A client with a certificate of the authority builds.
        by_address = AddressProfile(address=scheduler, security=secure.security)
        run = run_plan(repo.plan("bias", QUERY), output_run="u/test/tls", profile=by_address)
        assert content_hash(run.product) == reference

        # One without, or with that of somebody else, does not: at the scheduler and at a worker.
        other = by_address.model_copy(update={"security": stranger})
        for address in (scheduler, worker):
            assert spoken_to(address, secure.security, secure.security)
            assert not spoken_to(address, secure.security, None)
            assert not spoken_to(address, secure.security, other.security)
        with pytest.raises(ClusterLostError, match="no scheduler answers") as caught:
            run_plan(repo.plan("bias", QUERY), output_run="u/test/x", profile=other)
        assert "certificates" in caught.value.hint
        plain = AddressProfile(address=scheduler.replace("tls", "tcp"))
        with pytest.raises(ClusterLostError, match="no scheduler answers"):
            run_plan(repo.plan("bias", QUERY), output_run="u/test/x", profile=plain)
    assert repo.registry.datasets("bias", collections=["u/test/*"]) != []
    assert "u/test/x" not in repo.registry.collection_names()


def spoken_to(address, trusted, own):
    """Whether a server sends anything at all to a plain TLS client; Dask's begins by itself."""
    host, _, port = address.removeprefix("tls://").rpartition(":")
    context = ssl.create_default_context(cafile=str(trusted.ca_file))
    context.check_hostname = False
    if own is not None:
        context.load_cert_chain(own.cert, own.key)
    try:
        with (
            socket.create_connection((host, int(port)), timeout=10) as plain,
            context.wrap_socket(plain) as connection,
        ):
            connection.settimeout(5)
            return len(connection.recv(1)) == 1
    except (ssl.SSLError, ConnectionResetError):
        return False


def test_an_address_with_tls_asks_for_a_profile(repo):
    done = cpflow(
        "run", "-b", repo.root, "-p", "bias", "-d", QUERY, "--cluster", "tls://127.0.0.1:1", code=2
    )
    assert "takes nobody without a certificate" in done.stderr
    assert "security: {ca_file, cert, key}" in done.stderr


def test_security_is_that_of_all_roles(secure):
    security = dask_security(secure.security)
    assert isinstance(security, DaskSecurity)
    assert security.tls_client_cert == security.tls_worker_cert == security.tls_scheduler_cert


# -- what goes away ------------------------------------------------------------------------------


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler alone, in a process of its own."""
    file = tmp_path / "scheduler.json"
    process = subprocess.Popen(
        [
            sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
            "--port", "0", "--no-dashboard", "--scheduler-file", str(file),
        ],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield file
    process.terminate()
    process.wait(30)


def test_no_scheduler_and_no_worker(repo, scheduler):
    plan = repo.plan("bias", QUERY)
    with pytest.raises(ClusterLostError, match=r"no scheduler answers at tcp://127\.0\.0\.1:1"):
        run_plan(plan, output_run="u/test/a", profile=AddressProfile(address="tcp://127.0.0.1:1"))
    profile = AddressProfile(scheduler_file=scheduler, limits=Limits(start_timeout=2))
    with pytest.raises(ClusterLostError, match="no worker came within 2 s") as caught:
        run_plan(plan, output_run="u/test/a", profile=profile)
    assert "start_timeout" in caught.value.hint


def test_a_run_without_workers_gives_up(repo, scheduler, tmp_path):
    """The last worker goes in the middle of the run: said so, and the same plan resumes."""
    worker = subprocess.Popen(
        [
            sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file",
            str(scheduler), "--no-nanny", "--no-dashboard", "--nthreads", "1",
        ],
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )  # fmt: skip
    plan = repo.plan("bias", QUERY, band_rows=1)
    profile = AddressProfile(scheduler_file=scheduler, limits=Limits(no_worker_timeout=3))

    def listener(event):
        if event.kind == "progress" and list(
            (repo.root / ".staging").glob("*/bands/*/band-*.json")
        ):
            worker.send_signal(signal.SIGKILL)

    try:
        with pytest.raises(ClusterLostError, match="there has been no worker for"):
            run_plan(plan, output="u/test/lost", profile=profile, listener=listener)
    finally:
        worker.kill()
        worker.wait()
    assert "u/test/lost" not in repo.registry.collection_names()
    assert list((repo.root / ".staging").glob("*/bands/*/band-*.json"))
    kept = []
    run = run_plan(
        plan, output="u/test/lost", listener=lambda e: kept.append(e) if e.kind == "resumed" else 0
    )
    assert kept
    assert kept[0].done > 0
    reference = content_hash(repo.plan("bias", QUERY).run(output_run="u/test/b").product)
    assert content_hash(run.product) == reference


def test_sigterm_stops_as_ctrl_c_does(repo):
    """What batch systems and containers send."""
    process = subprocess.Popen(
        [
            sys.executable, "-m", "cpflow", "run", "-b", str(repo.root), "-p", "bias", "-d", QUERY,
            "-o", "u/test/stopped", "-j", "1", "--band-rows", "2",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((repo.root / ".staging").glob("*/bands/*/band-*.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run the same command again to resume" in errors
    done = cpflow("run", "-b", repo.root, "-p", "bias", "-d", QUERY, "-o", "u/test/stopped",
                  "--band-rows", "2", "--json")  # fmt: skip
    assert "resuming" in done.stderr
    assert len(json.loads(done.stdout)["datasets"]) == 1


# -- pickle --------------------------------------------------------------------------------------


class Harm:
    """What would be done when its pickle is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_no_pickle_is_read_from_bands(tmp_path):
    np.savez(tmp_path / "band-0000.npz", image=np.array([Harm(tmp_path / "harm")], dtype=object))
    with pytest.raises(ProductError, match="cannot be read"):
        read_band(tmp_path, "band-0000")
    assert not (tmp_path / "harm").exists()
    with np.load(tmp_path / "band-0000.npz", allow_pickle=True) as content:
        content["image"]
    assert (tmp_path / "harm").exists(), "it would have been done"


@pytest.mark.filterwarnings("ignore:Object at variance is not recognized")
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("place", ["filters", "compressor"])
def test_no_pickle_is_read_from_products(repo, tmp_path, version, place):
    """Somebody put an array into a product whose codec is pickle."""
    run = repo.plan("bias", QUERY).run(output_run="u/test/a")
    image = repo.store.absolute(run.datasets[0].path) / "variance"
    content = pickle.dumps(Harm(tmp_path / "harm"))
    if version == 2:
        shutil.rmtree(image)
        image.mkdir()
        shape = repo.detector("LATISS", 0).shape
        codec = {"id": "pickle"}
        metadata = {
            "zarr_format": 2, "shape": shape, "chunks": shape, "dtype": "<f4", "fill_value": 0,
            "order": "C", "filters": [codec] if place == "filters" else None,
            "compressor": None if place == "filters" else codec,
        }  # fmt: skip
        (image / ".zarray").write_text(json.dumps(metadata))
        (image / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": ["y", "x"]}))
        (image / "0.0").write_bytes(content)
    else:
        metadata = json.loads((image / "zarr.json").read_text())
        codec = {"name": "numcodecs.pickle", "configuration": {}}
        codecs = metadata["codecs"]
        codecs.insert(0 if place == "filters" else len(codecs), codec)
        (image / "zarr.json").write_text(json.dumps(metadata))
        for chunk in (image / "c").rglob("*"):
            if chunk.is_file():
                chunk.write_bytes(content)
    try:
        product = repo.get("bias", collections="u/test/a", detector=0)
        assert "variance" not in product.load()
    except (ProductError, ValueError, KeyError):
        pass
    assert not (tmp_path / "harm").exists()
    pickle.loads(content)
    assert (tmp_path / "harm").exists(), "it would have been done"
