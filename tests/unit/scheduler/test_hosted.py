"""Kubernetes: what its operator is asked for. Neither the operator nor a cluster is here."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest

from cpflow.errors import ConfigurationError
from cpflow.scheduler.clusters import open_client
from cpflow.scheduler.hosted import kubernetes_arguments
from cpflow.scheduler.numerics import ONE_THREAD
from cpflow.scheduler.profiles import GatewayProfile, KubernetesProfile, SlurmProfile, Worker

KUBERNETES = KubernetesProfile(image="cpflow:1", workers=3, worker=Worker(threads=2))


@pytest.mark.parametrize(
    ("profile", "module", "package"),
    [
        (KUBERNETES, "dask_kubernetes.operator", "dask-kubernetes"),
        (GatewayProfile(address="http://127.0.0.1:1"), "dask_gateway", "dask-gateway"),
        (SlurmProfile(), "dask_jobqueue", "dask-jobqueue"),
    ],
)
def test_what_is_not_installed_is_named(monkeypatch, profile, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError) as caught, open_client(profile, None):
        pass
    assert f"needs {package}" in caught.value.message
    assert caught.value.hint == f"pip install 'cpflow[{profile.kind}]'"


def test_what_the_operator_is_asked_for():
    operator = pytest.importorskip("dask_kubernetes.operator")
    profile = KUBERNETES.model_copy(
        update={
            "namespace": "night",
            "volumes": {"calibrations": "/data", "raws": "/raws"},
            "environment": {"PGPASSFILE": "/data/pgpass"},
        }
    )
    arguments = kubernetes_arguments(profile, 3 * 2**30)
    # Whatever that is not a parameter would go on to a base class, and be refused there.
    assert set(arguments) <= set(inspect.signature(operator.KubeCluster.__init__).parameters)
    assert arguments["namespace"] == "night"
    manifest = arguments["custom_cluster_spec"]
    assert manifest["kind"] == "DaskCluster"
    assert manifest["metadata"]["name"].startswith("cpflow-")
    assert manifest["spec"]["worker"]["replicas"] == 3
    for part in ("scheduler", "worker"):
        pod = manifest["spec"][part]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == "cpflow:1"
        environment = {one["name"]: one.get("value") for one in container["env"]}
        assert ONE_THREAD.items() <= environment.items()
        assert environment["PGPASSFILE"] == "/data/pgpass"
        assert environment["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] == "2"
        mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
        claims = {
            one["persistentVolumeClaim"]["claimName"]: mounts[one["name"]] for one in pod["volumes"]
        }
        assert claims == {"calibrations": "/data", "raws": "/raws"}
    command = " ".join(manifest["spec"]["worker"]["spec"]["containers"][0]["args"])
    assert command.startswith(f"dask worker --nthreads 2 --memory-limit {3 * 2**30} --name ")
    share = manifest["spec"]["worker"]["spec"]["containers"][0]["resources"]
    assert share["requests"] == {"cpu": "2", "memory": str(3 * 2**30)}
    other = kubernetes_arguments(profile, 3 * 2**30)["custom_cluster_spec"]["metadata"]["name"]
    assert other != manifest["metadata"]["name"], "two people may be at it"


def test_a_manifest_of_ones_own(tmp_path):
    manifest = tmp_path / "cluster.yaml"
    arguments = kubernetes_arguments(KubernetesProfile(spec=manifest), 2**30)
    assert arguments["custom_cluster_spec"] == str(manifest)


def test_no_kubernetes_here(tmp_path):
    """In a process of its own: its client leaves an unfinished cluster behind."""
    pytest.importorskip("dask_kubernetes.operator")
    script = (
        "from cpflow.errors import ClusterLostError\n"
        "from cpflow.scheduler.clusters import open_client\n"
        "from cpflow.scheduler.profiles import KubernetesProfile\n"
        "try:\n"
        "    with open_client(KubernetesProfile(image='cpflow:1'), 2**30):\n"
        "        pass\n"
        "except ClusterLostError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none")}
    environment.pop("KUBERNETES_SERVICE_HOST", None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert "Kubernetes starts no cluster" in done.stdout, done.stderr
    assert "kubectl get daskclusters" in done.stdout
