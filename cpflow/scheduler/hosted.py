"""Clusters that a service starts: pods of Kubernetes, and a Dask Gateway.

Thin: what is special about a site goes into its profile, or the manifest that this names.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from cpflow.scheduler.numerics import ONE_THREAD
from cpflow.scheduler.profiles import GatewayProfile, KubernetesProfile
from cpflow.scheduler.starting import started
from cpflow.scheduler.suspects import NO_WAITING


def kubernetes_arguments(profile: KubernetesProfile, memory: int) -> dict[str, Any]:
    """Return what a `dask_kubernetes.operator.KubeCluster` takes."""
    common = {"namespace": profile.namespace, "quiet": True}
    if profile.spec is not None:
        return {**common, "custom_cluster_spec": str(profile.spec)}
    from dask_kubernetes.operator import make_cluster_spec

    threads, allowed = profile.worker.threads, profile.limits.allowed_failures
    share = {"cpu": str(threads), "memory": str(memory)}
    command = ["dask", "worker", "--nthreads", str(threads), "--memory-limit", str(memory)]
    if profile.worker.local_directory is not None:
        command += ["--local-directory", profile.worker.local_directory]
    spec = make_cluster_spec(
        # A name for each run: two people may be at it.
        name=f"{profile.name}-{uuid.uuid4().hex[:8]}",
        image=profile.image,
        n_workers=profile.workers,
        resources={"requests": share, "limits": {"memory": str(memory)}},
        env={
            **ONE_THREAD,
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(allowed),
            **NO_WAITING,
            **profile.environment,
        },
        worker_command=command,
    )
    for part in ("scheduler", "worker"):
        pod = spec["spec"][part]["spec"]
        pod["volumes"] = [
            {"name": f"volume-{i}", "persistentVolumeClaim": {"claimName": claim}}
            for i, claim in enumerate(profile.volumes)
        ]
        pod["containers"][0]["volumeMounts"] = [
            {"name": f"volume-{i}", "mountPath": path}
            for i, path in enumerate(profile.volumes.values())
        ]
    return {**common, "custom_cluster_spec": spec}


@contextmanager
def kubernetes_client(profile: KubernetesProfile, memory: int | None) -> Iterator[Any]:
    """Yield a client of pods."""
    from dask_kubernetes.operator import KubeCluster
    from distributed import Client

    arguments = kubernetes_arguments(profile, profile.worker.memory or memory or 2**31)
    with ExitStack() as stack:
        with started("Kubernetes", "see whether `kubectl get daskclusters` answers here"):
            cluster = stack.enter_context(KubeCluster(**arguments))
            client = stack.enter_context(Client(cluster))
        yield client


@contextmanager
def gateway_client(profile: GatewayProfile, _: int | None) -> Iterator[Any]:
    """Yield a client of a cluster that a gateway started."""
    from dask_gateway import GatewayCluster

    with ExitStack() as stack:
        with started("the gateway", f"see whether {profile.address} answers, and takes you"):
            cluster = stack.enter_context(
                GatewayCluster(
                    address=profile.address,
                    proxy_address=profile.proxy_address,
                    auth=profile.auth,
                    **profile.options,
                )
            )
            client = stack.enter_context(cluster.get_client(set_as_default=False))
            cluster.scale(profile.workers)
        yield client
