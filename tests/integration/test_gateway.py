"""A real Dask Gateway with its local backend builds the same bias."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import pytest

from cpflow.io.zarr_product import content_hash

QUERY = "instrument='LATISS' AND detector=0"
PASSWORD = "not-a-secret"

CONFIG = """
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.address = "127.0.0.1:{private}"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = "{password}"
c.Proxy.address = "127.0.0.1:{public}"
c.LocalBackend.clusters_directory = "{directory}"
c.ClusterConfig.scheduler_cmd = ["{python}", "-m", "distributed.cli.dask_scheduler"]
c.ClusterConfig.worker_cmd = ["{python}", "-m", "distributed.cli.dask_worker"]
c.ClusterConfig.worker_memory = "1.5 G"
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def gateway(tmp_path):
    """The address of a gateway of this test's own."""
    pytest.importorskip("dask_gateway_server", reason="pip install dask-gateway-server")
    pytest.importorskip("dask_gateway")
    public, directory = free_port(), tmp_path / "clusters"
    directory.mkdir()
    config = tmp_path / "gateway.py"
    config.write_text(
        CONFIG.format(
            private=free_port(), public=public, password=PASSWORD, directory=directory,
            python=sys.executable,
        )
    )  # fmt: skip
    with (tmp_path / "gateway.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "dask_gateway_server", "--config", str(config)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{public}"
        deadline = time.monotonic() + 60
        while True:
            try:
                with urlopen(f"{address}/api/health", timeout=2):
                    break
            except OSError:
                assert server.poll() is None, (tmp_path / "gateway.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest.mark.slow
def test_a_gateway_builds_the_same_bias(repo, gateway, tmp_path):
    reference = content_hash(repo.plan("bias", QUERY).run(output_run="u/test/threads").product)
    profile = tmp_path / "site.yaml"
    profile.write_text(f"extends: gateway\naddress: {gateway}\nauth: basic\nworkers: 2\n")

    def build(password):
        return subprocess.run(
            [
                sys.executable, "-m", "cpflow", "run", "-b", str(repo.root), "-p", "bias",
                "-d", QUERY, "-o", "u/test/gateway", "--cluster", str(profile),
            ],
            env={**os.environ, "DASK_GATEWAY__AUTH__KWARGS__PASSWORD": password},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip

    refused = build("a guess")
    assert refused.returncode == 7, refused.stderr
    assert "the gateway starts no cluster" in refused.stderr
    done = build(PASSWORD)
    assert done.returncode == 0, done.stderr
    assert "Exception ignored" not in done.stderr
    product = repo.get("bias", collections="u/test/gateway", detector=0)
    assert content_hash(product) == reference
