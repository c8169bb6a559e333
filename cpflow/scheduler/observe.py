"""What a Dask cluster tells of a run: its dashboard, the logs of its workers, its report."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cpflow.errors import ClusterLostError, UsageError
from cpflow.scheduler.events import Event, Listener
from cpflow.scheduler.executors import Executor
from cpflow.scheduler.profiles import Profile

logger = logging.getLogger(__name__)


def check_performance_report(
    path: str | Path | None, profile: Profile | None, client: Any = None
) -> Path | None:
    """Return the path of a performance report, if there can be one there.

    Raises
    ------
    UsageError
        If the run is not on a cluster, or the file cannot be written.
    """
    if path is None:
        return None
    target = Path(path).absolute()
    if client is None and (profile is None or profile.kind == "threads"):
        raise UsageError(
            "threads of this process write no performance report: it is of a Dask cluster",
            hint="--cluster local starts one on this machine; "
            "in Python, profile=load_profile('local') or a client",
        )
    if target.is_dir() or not target.parent.is_dir():
        raise UsageError(
            f"{target} cannot be a performance report", hint="name a file in a directory that is"
        )
    return target


@contextmanager
def observed(runner: Executor, listener: Listener, report: Path | None = None) -> Iterator[None]:
    """Tell where the dashboard is, take in the logs of workers, and write a report at the end.

    Parameters
    ----------
    runner : Executor
        Nothing of this is done for threads.
    listener : callable
        Hears where the dashboard is.
    report : path, optional
        HTML file.
    """
    client = getattr(runner, "client", None)
    if client is None:
        yield
        return
    link = dashboard_link(client)
    if link is not None:
        logger.info("dashboard of the cluster: %s", link)
        listener(Event("cluster", text=link))
    forward_logs(client)
    if report is None:
        yield
        return
    with _performance_report(client, report):
        yield


def dashboard_link(client: Any) -> str | None:
    """Return the address of the dashboard of a cluster, if it has one."""
    with suppress(KeyError):
        return str(client.dashboard_link) if client.dashboard_link else None
    return None


def forward_logs(client: Any) -> None:
    """Let log records of cpflow on workers, now or later, be handled by this process, too.

    Records say nothing of their run: where several share a cluster, each is sent those of all.
    """
    from cpflow.scheduler.plugins import LogLevel

    try:
        here = socket.gethostname(), os.getpid()
        if here in client.run(_place).values():
            # A worker in this process would be sent its own records, over and over.
            return
        client.register_plugin(LogLevel())
        client.forward_logging("cpflow", logging.INFO)
    except Exception as error:
        # A cluster may forbid it, each in its own way. No run fails for it.
        logger.info("logs of workers stay with these: %s", error)


def _place() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


@contextmanager
def _performance_report(client: Any, path: Path) -> Iterator[None]:
    from distributed import performance_report

    temporary = path.with_name(f".{path.name}.{os.getpid()}.html")
    report = performance_report(filename=str(temporary))
    with client.as_current():
        report.__enter__()
        try:
            yield
        except ClusterLostError:
            # Nobody is there to be asked.
            raise
        except BaseException:
            with suppress(Exception):
                _write(report, temporary, path)
            raise
        try:
            _write(report, temporary, path)
        except ModuleNotFoundError as error:
            # The products are there, they are not given up for a picture.
            logger.warning(
                "no performance report, the scheduler lacks a package: %s; "
                "pip install 'cpflow[dashboard]' there",
                error,
            )


def _write(report: Any, temporary: Path, path: Path) -> None:
    try:
        report.__exit__(None, None, None)
        temporary.rename(path)
        logger.info("performance report: %s", path)
    finally:
        temporary.unlink(missing_ok=True)
