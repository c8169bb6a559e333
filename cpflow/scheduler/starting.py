"""Errors of what is started elsewhere, in cpflow's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec

from cpflow.errors import ClusterLostError, ConfigurationError, CpflowError
from cpflow.scheduler.profiles import GatewayProfile, KubernetesProfile, Profile, SlurmProfile

# What is installed only where it is used: the extra, the package, and its module.
_NEEDED: dict[type[Profile], tuple[str, str, str]] = {
    SlurmProfile: ("slurm", "dask-jobqueue", "dask_jobqueue"),
    KubernetesProfile: ("kubernetes", "dask-kubernetes", "dask_kubernetes.operator"),
    GatewayProfile: ("gateway", "dask-gateway", "dask_gateway"),
}


def check_installed(profile: Profile) -> None:
    """Refuse a profile whose package is not there, before anything runs.

    Raises
    ------
    ConfigurationError
        If it is not installed, with what to install.
    """
    if type(profile) not in _NEEDED:
        return
    extra, package, module = _NEEDED[type(profile)]
    with suppress(ModuleNotFoundError):
        if find_spec(module) is not None:
            return
    raise ConfigurationError(
        f"a cluster of kind {extra} needs {package}, which is not installed",
        hint=f"pip install 'cpflow[{extra}]'",
    )


@contextmanager
def started(what: str, hint: str) -> Iterator[None]:
    """Say in cpflow's words that a cluster could not be started."""
    try:
        yield
    except CpflowError:
        raise
    except Exception as error:
        raise ClusterLostError(
            f"{what} starts no cluster: {type(error).__name__}: {error}", hint=hint
        ) from error


@contextmanager
def going_on(hint: str = "run the same command again to resume") -> Iterator[None]:
    """Say in cpflow's words that a cluster went away."""
    from concurrent.futures import CancelledError

    from distributed.comm.core import CommClosedError

    try:
        yield
    except (CommClosedError, CancelledError, OSError) as error:
        # What is cancelled was not so by us: Dask does it when the connection is lost.
        lost = isinstance(error, CancelledError)
        reason = "the connection to its scheduler is lost" if lost else str(error)
        raise ClusterLostError(f"the cluster went away: {reason}", hint=hint) from error
