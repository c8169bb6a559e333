"""Start, or find, what a profile describes, and open a client to it.

One function for each kind. What is started here is closed at the end; a scheduler at an address,
and its workers, are left as they are.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from cpflow.errors import ClusterLostError
from cpflow.scheduler.hosted import gateway_client, kubernetes_client
from cpflow.scheduler.numerics import ONE_THREAD
from cpflow.scheduler.profiles import (
    AddressProfile,
    GatewayProfile,
    KubernetesProfile,
    LocalProfile,
    Profile,
    SlurmProfile,
)
from cpflow.scheduler.security import configured_security, dask_security
from cpflow.scheduler.slurm import slurm_client
from cpflow.scheduler.starting import check_installed
from cpflow.scheduler.suspects import no_waiting

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT = 15


@contextmanager
def open_client(profile: Profile, memory: int | None, *, prepare: bool = True) -> Iterator[Any]:
    """Yield a client of what a profile describes, when the first worker is there.

    Parameters
    ----------
    profile : Profile
        Of any kind but threads.
    memory : int, optional
        Bytes of a worker, where the profile does not say.
    prepare : bool
        Hold workers to one thread for each task, which stays; not to be done when they are only
        looked at.

    Raises
    ------
    ClusterLostError
        If it cannot be started or reached, or no worker comes in time.
    ConfigurationError
        If a package is not installed, or a file of TLS is not there.
    """
    check_installed(profile)
    with _OPEN[type(profile)](profile, memory) as client:
        _wait_for_a_worker(client, profile)
        if prepare:
            _prepare(client)
        yield client


def _wait_for_a_worker(client: Any, profile: Profile) -> None:
    timeout = profile.limits.start_timeout
    if not client.nthreads():
        logger.info("waiting for the first worker, %d s at most", timeout)
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError as error:
        raise ClusterLostError(
            f"no worker came within {timeout} s",
            hint="wait longer with limits.start_timeout of the cluster profile",
        ) from error


def _prepare(client: Any) -> None:
    from cpflow.scheduler.plugins import OneThread

    try:
        client.register_plugin(OneThread())
    except Exception as error:
        # A cluster that takes no plugins may still compute.
        logger.warning("numerical libraries are not held to one thread on workers: %s", error)


@contextmanager
def _local(profile: LocalProfile, memory: int | None) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    from cpflow.scheduler.plugins import IgnoreInterrupt

    security = dask_security(profile.security)
    environment = {**dask.config.get("distributed.nanny.pre-spawn-environ"), **ONE_THREAD}
    with no_waiting(), dask.config.set({"distributed.nanny.pre-spawn-environ": environment}):
        cluster = LocalCluster(
            n_workers=profile.cores // profile.worker.threads,
            threads_per_worker=profile.worker.threads,
            memory_limit=profile.worker.memory or memory or "auto",
            local_directory=_expanded(profile.worker.local_directory),
            processes=True,
            dashboard_address=profile.dashboard,
            security=security,
            scheduler_kwargs={"allowed_failures": profile.limits.allowed_failures},
        )
    with cluster, Client(cluster, security=security) as client:
        client.register_plugin(IgnoreInterrupt())
        yield client


@contextmanager
def _address(profile: AddressProfile, _: int | None) -> Iterator[Any]:
    from distributed import Client

    security = dask_security(profile.security)
    address = profile.address or _address_in(profile)
    if address.startswith("tls://") and security is None:
        security = configured_security(address)
    try:
        client = Client(address, timeout=_CONNECT_TIMEOUT, security=security)
    except (OSError, TypeError) as error:
        raise ClusterLostError(
            f"no scheduler answers at {address}: {error}",
            hint="start one: dask scheduler"
            if security is None and not address.startswith("tls")
            else "see whether the certificates of client and scheduler are of one authority",
        ) from error
    with client:
        yield client


def _address_in(profile: AddressProfile) -> str:
    # The scheduler writes it when it listens.
    deadline = time.monotonic() + profile.limits.start_timeout
    while True:
        assert profile.scheduler_file is not None
        try:
            return str(json.loads(profile.scheduler_file.read_text())["address"])
        except (OSError, ValueError, KeyError) as error:
            if time.monotonic() > deadline:
                raise ClusterLostError(
                    f"no scheduler wrote its address to {profile.scheduler_file}",
                    hint="see the log of the scheduler",
                ) from error
        time.sleep(0.2)


def _expanded(directory: str | None) -> str | None:
    return None if directory is None else str(Path(os.path.expandvars(directory)).expanduser())


_OPEN: dict[type[Profile], Callable[[Any, int | None], AbstractContextManager[Any]]] = {
    LocalProfile: _local,
    AddressProfile: _address,
    SlurmProfile: slurm_client,
    KubernetesProfile: kubernetes_client,
    GatewayProfile: gateway_client,
}
