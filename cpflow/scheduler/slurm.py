"""Workers as jobs of SLURM, one for each, by dask-jobqueue; and what jobs of both ways share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from cpflow.scheduler.numerics import ONE_THREAD
from cpflow.scheduler.profiles import LOOPBACK, SlurmProfile
from cpflow.scheduler.security import dask_security
from cpflow.scheduler.starting import started
from cpflow.scheduler.suspects import no_waiting

# Seconds over which workers that end before their walltime do so, so that not all go at once.
_STAGGER = 30
# Seconds between two looks whether workers have gone.
_LOOK = 15.0
# Seconds that a worker looks for its scheduler: it may start long after it was asked for.
_DEATH_TIMEOUT = 60


@contextmanager
def slurm_client(profile: SlurmProfile, memory: int | None) -> Iterator[Any]:
    """Yield a client of workers that are jobs; the scheduler is in this process.

    A worker that goes is replaced by a new job, so that a run may take longer than a walltime.
    """
    from dask_jobqueue import SLURMCluster
    from distributed import Client

    arguments = slurm_arguments(profile, profile.worker.memory or memory or 2**31)
    with ExitStack() as stack:
        with no_waiting(), started("SLURM", "see whether `sinfo` and `squeue` answer here"):
            cluster = stack.enter_context(SLURMCluster(**arguments))
            client = stack.enter_context(Client(cluster, security=arguments["security"]))
        with _replaced(cluster, profile.workers):
            yield client


@contextmanager
def _replaced(cluster: Any, workers: int) -> Iterator[None]:
    """Submit a job for each worker that has gone: at its walltime, or because its node failed."""
    from tornado.ioloop import PeriodicCallback

    again = PeriodicCallback(lambda: cluster.scale(workers), _LOOK * 1000)
    cluster.loop.add_callback(again.start)
    try:
        yield
    finally:
        # Queued before the cluster takes its jobs back: what is taken back is not to be replaced.
        cluster.loop.add_callback(again.stop)


def slurm_arguments(profile: SlurmProfile, memory: int) -> dict[str, Any]:
    """Return what a `dask_jobqueue.SLURMCluster` takes: a job for each worker."""
    lifetime = profile.walltime - profile.stop_before
    extra = [
        *("--lifetime", f"{lifetime}s"),
        *("--lifetime-stagger", f"{min(_STAGGER, lifetime // 10)}s"),
        *("--no-dashboard", "--dashboard-address", LOOPBACK),
    ]
    scheduler: dict[str, Any] = {
        "dashboard_address": profile.dashboard,
        "allowed_failures": profile.limits.allowed_failures,
    }
    if profile.interface is not None:
        scheduler["interface"] = profile.interface
    security = dask_security(profile.security)
    return {
        "n_workers": profile.workers,
        "cores": profile.worker.threads,
        "processes": 1,
        "memory": f"{memory}B",
        "job_mem": f"{-(-memory // 2**20)}M",
        "walltime": clock(profile.walltime),
        "queue": profile.partition,
        "account": profile.account,
        "python": profile.python or sys.executable,
        "interface": profile.interface,
        "protocol": None if security is None else "tls://",
        "security": security,
        "local_directory": profile.worker.local_directory,
        "job_name": "cpflow-worker",
        "log_directory": None,
        "death_timeout": _DEATH_TIMEOUT,
        "worker_extra_args": extra,
        "scheduler_options": scheduler,
        "job_extra_directives": [*slurm_directives(profile), "--output=/dev/null"],
        "job_script_prologue": [*exports(ONE_THREAD), *profile.prologue],
    }


def slurm_directives(profile: SlurmProfile) -> list[str]:
    """Return the options that jobs of both ways have, beside partition and account."""
    given = {"qos": profile.qos, "constraint": profile.constraint}
    named = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return [*named, *profile.directives]


def exports(environment: Mapping[str, str]) -> list[str]:
    """Return lines of shell that set variables."""
    return [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]


def clock(seconds: int) -> str:
    """Return seconds as SLURM writes them."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}-{hour:02d}:{minute:02d}:{second:02d}"
