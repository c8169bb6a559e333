"""Can the workers of a cluster build in a repository? What `cpflow doctor --cluster` asks them."""

from __future__ import annotations

import socket
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

from cpflow.environment.packages import versions
from cpflow.errors import ClusterLostError, CpflowError
from cpflow.findings import Finding, Level, error, sound, warning
from cpflow.repo import Repository
from cpflow.scheduler.answers import Answer, examine_answers
from cpflow.scheduler.certificates import examine_certificates
from cpflow.scheduler.clusters import open_client
from cpflow.scheduler.marks import marked
from cpflow.scheduler.profile_files import load_profile
from cpflow.scheduler.profiles import AddressProfile, Profile, ThreadsProfile
from cpflow.scheduler.starting import going_on
from cpflow.scheduler.version_check import compare_versions
from cpflow.scheduler.worker_probe import Mark, Question, probe

# Seconds for an answer; a worker may have to compile a kernel first.
_ANSWER = 60
_WORD = 10
_CONNECT = 5
# Before all that waits: a cluster that computes for others is examined as well.
_PRIORITY = 1_000_000
_RAWS = 20
_NOT_LOADED = "cpflow cannot be loaded there"


def examine_cluster(
    name: str | Profile,
    repository: Repository | None = None,
    repo_root: Path | None = None,
    *,
    timeout: int = 120,
) -> Iterator[Finding]:
    """Start or reach a cluster, and yield what is found of it and of each worker.

    Parameters
    ----------
    name : str or Profile
        As in `load_profile`.
    repository : Repository, optional
        One that the workers are to use.
    repo_root : path, optional
        Root of a repository that may have profiles of its own.
    timeout : int
        Seconds to wait for the workers.

    Raises
    ------
    ClusterLostError
        If it cannot be started or reached, no worker comes in time, or it goes away.
    ConfigurationError
        If there is no such profile, it is not sound, or a package or a file is missing.
    """
    profile = load_profile(name, repo_root=repo_root)
    if isinstance(profile, ThreadsProfile):
        yield sound(
            "workers", f"{profile.cores} threads of this process; there is nothing to reach"
        )
        return
    if profile.security is not None:
        yield from examine_certificates(profile.security)
    limits = profile.limits
    patient = limits.model_copy(update={"start_timeout": min(timeout, limits.start_timeout)})
    begin = time.monotonic()
    _check_address(profile)
    with (
        _own_words(),
        _opened(profile.model_copy(update={"limits": patient})) as client,
        going_on("see the logs of scheduler and workers"),
    ):
        left = timeout - (time.monotonic() - begin)
        yield from _waited(client, profile, max(0.0, left), timeout)
        found = list(_scheduler(client))
        yield from found
        if found[0].level is Level.ERROR and found[0].problem.startswith(_NOT_LOADED):
            # It reads what is sent to workers.
            return
        yield from _workers(client, repository)


def _check_address(profile: Profile) -> None:
    """Refuse an address where nothing listens; a run would try it again for a while."""
    address = profile.address if isinstance(profile, AddressProfile) else None
    scheme, _, place = (address or "").partition("://")
    host, _, port = place.rpartition(":")
    if scheme not in ("tcp", "tls") or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT).close()
    except OSError as failure:
        raise ClusterLostError(
            f"no scheduler answers at {address}: {failure.strerror or failure}",
            hint=f"start one there: dask scheduler --port {port}",
        ) from failure


@contextmanager
def _opened(profile: Profile) -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            client = stack.enter_context(open_client(profile, None, prepare=False))
        except CpflowError:
            raise
        except Exception as failure:
            raise ClusterLostError(
                f"it cannot be started: {failure}", hint="see what its log says"
            ) from failure
        yield client


def _waited(client: Any, profile: Profile, left: float, timeout: int) -> Iterator[Finding]:
    """Wait for all workers that are to come."""
    wanted = -(-profile.expected_cores // profile.worker.threads)
    if not wanted:
        return
    try:
        client.wait_for_workers(wanted, timeout=max(left, 0.1))
    except TimeoutError:
        yield warning(
            "workers",
            f"{len(client.nthreads())} of {wanted} came within {timeout} s",
            "see their logs and the queue of the cluster; --timeout waits longer",
        )


def _scheduler(client: Any) -> Iterator[Finding]:
    """Compare the scheduler, which reads graphs and so needs cpflow, too."""
    try:
        there = client.run_on_scheduler(versions)
    except OSError:
        raise
    except Exception as failure:
        yield error(
            "scheduler",
            f"{_NOT_LOADED}: {type(failure).__name__}: {failure}; workers get no task from here",
            f"start it from an environment with cpflow {versions()['cpflow']}",
        )
        return
    found = list(compare_versions(versions(), there))
    for level, text, remedy in found:
        yield Finding(level, "scheduler", text, remedy)
    if not found:
        yield sound("scheduler", f"{client.scheduler.address}, the same versions as here")


def _workers(client: Any, repository: Repository | None) -> Iterator[Finding]:
    addresses = sorted(client.nthreads())
    with ExitStack() as stack:
        mark: Mark | None = None
        if repository is not None:
            try:
                mark = stack.enter_context(marked(repository.root))
            except OSError as failure:
                yield warning(
                    "repository",
                    f"no file can be made here, so nobody knows whether workers see the same "
                    f"directory: {failure}",
                    "run this as a user who may build here",
                )
        question = Question(
            None if repository is None else repository.root, mark, _sample(repository)
        )
        found: dict[str, Any] = _unloaded(client)
        able = [address for address in addresses if address not in found]
        found |= _asked(client, probe, (question,), able, _ANSWER)
        able = [address for address in able if isinstance(found[address], dict)]
        begin = time.time()
        clocks = _asked(client, time.time, (), able, _WORD)
        end = time.time()
        answers = [
            Answer(address, found[address], _skew(clocks.get(address), begin, end))
            for address in addresses
        ]
        yield from examine_answers(answers, question)


def _skew(there: float | BaseException | None, begin: float, end: float) -> float:
    """Return by how many seconds at least a clock is ahead of this one; negative: behind."""
    if not isinstance(there, float):
        return 0.0
    return min(0.0, there - begin) + max(0.0, there - end)


def _unloaded(client: Any) -> dict[str, Exception]:
    """Return why workers cannot load cpflow; a task would never come back from them."""
    told: Queue[dict[str, Any]] = Queue()

    def ask() -> None:
        # Does not end as long as one worker hangs: tasks find that one.
        with suppress(Exception, CancelledError):
            told.put(client.run(versions, on_error="return"))

    Thread(target=ask, daemon=True).start()
    try:
        answers = told.get(timeout=_WORD)
    except Empty:
        return {}
    return {address: one for address, one in answers.items() if isinstance(one, Exception)}


def _asked(
    client: Any, function: Any, arguments: tuple[Any, ...], addresses: Sequence[str], timeout: float
) -> Mapping[str, Any]:
    """Return what each worker makes of a task, or the error."""
    from distributed import wait

    futures = {
        address: client.submit(
            function,
            *arguments,
            workers=[address],
            allow_other_workers=False,
            pure=False,
            priority=_PRIORITY,
        )
        for address in addresses
    }
    try:
        with suppress(TimeoutError):
            wait(list(futures.values()), timeout)
        return {address: _result(future, timeout) for address, future in futures.items()}
    finally:
        client.cancel(list(futures.values()))


def _result(future: Any, timeout: float) -> Any:
    if future.status == "finished":
        return future.result()
    if future.status == "error":
        return future.exception()
    return TimeoutError(f"no answer within {timeout:.0f} s")


def _sample(repository: Repository | None) -> list[tuple[str, int]]:
    """Return raw files, evenly spread over all of them: directories are mounted one by one."""
    if repository is None:
        return []
    raws = sorted(repository.registry.raw_places(), key=lambda raw: raw.path)
    step = max(1, len(raws) // _RAWS)
    return [(str(repository.store.absolute(raw.path)), raw.size) for raw in raws[::step][:_RAWS]]


@contextmanager
def _own_words() -> Iterator[None]:
    """Keep Dask from its own table of versions that differ."""
    from distributed.versions import VersionMismatchWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)
        yield
