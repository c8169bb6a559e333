"""Run delayed tasks: on threads, or on a Dask cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from cpflow.errors import ClusterLostError
from cpflow.scheduler.profiles import Profile

logger = logging.getLogger(__name__)

Tick = Callable[[str], None]


class Executor(Protocol):
    """Computes delayed values; `tick` is called with the key of each task that is done."""

    def compute(self, values: Sequence[Any], tick: Tick) -> list[Any]:
        """Return the values."""
        ...


class ThreadsExecutor:
    """Threads of this process."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def compute(self, values: Sequence[Any], tick: Tick) -> list[Any]:
        """Compute values with Dask's threaded scheduler."""
        import dask
        from dask.callbacks import Callback

        def done(key: Any, *_: Any) -> None:
            tick(str(key))

        with Callback(posttask=done):
            return list(dask.compute(*values, scheduler="threads", num_workers=self.threads))


class ClusterExecutor:
    """A Dask cluster, through a client."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def compute(self, values: Sequence[Any], tick: Tick) -> list[Any]:
        """Compute values on the cluster.

        Raises
        ------
        ClusterLostError
            If the scheduler goes away.
        """
        from concurrent.futures import CancelledError

        from distributed import as_completed
        from distributed.comm.core import CommClosedError

        futures = self.client.compute(list(values))
        try:
            for future in as_completed(futures):
                if future.status == "error":
                    # Fail now: the rest is of no use for this product.
                    future.result()
                tick(str(future.key))
            return list(self.client.gather(futures))
        except (CommClosedError, CancelledError, OSError) as error:
            raise ClusterLostError(
                f"the cluster went away: {error}", hint="run the same command again to resume"
            ) from error
        finally:
            self.client.cancel(futures)


@contextmanager
def executor(profile: Profile, client: Any = None) -> Iterator[Executor]:
    """Yield what a profile describes, and close it afterwards; a given client is left open."""
    if client is not None:
        yield ClusterExecutor(client)
        return
    if profile.kind == "threads":
        yield ThreadsExecutor(profile.cores)
        return
    from distributed import Client

    if profile.kind == "address":
        try:
            opened = Client(profile.address, timeout=10)
        except OSError as error:
            raise ClusterLostError(
                f"no scheduler answers at {profile.address}: {error}",
                hint="start one: dask scheduler",
            ) from error
        with opened:
            yield ClusterExecutor(opened)
        return
    from distributed import LocalCluster

    with (
        LocalCluster(
            n_workers=profile.cores,
            threads_per_worker=profile.threads_per_worker,
            memory_limit=profile.memory or "auto",
            processes=True,
            dashboard_address=profile.dashboard,
        ) as cluster,
        Client(cluster) as opened,
    ):
        logger.info("dashboard of the cluster: %s", opened.dashboard_link)
        yield ClusterExecutor(opened)
