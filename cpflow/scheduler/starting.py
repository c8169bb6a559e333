"""Errors of what is started elsewhere, in cpflow's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cpflow.errors import ClusterLostError, ConfigurationError, CpflowError


@contextmanager
def optional(extra: str, package: str) -> Iterator[None]:
    """Say what to install where a package is imported that only some need."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"a cluster of kind {extra} needs {package}: {error}",
            hint=f"pip install 'cpflow[{extra}]'",
        ) from error


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
