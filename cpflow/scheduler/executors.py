"""Run delayed tasks: on threads, or on a Dask cluster."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, Protocol

from cpflow.errors import ClusterLostError
from cpflow.scheduler.numerics import one_thread
from cpflow.scheduler.profiles import Profile, ThreadsProfile
from cpflow.scheduler.starting import going_on
from cpflow.scheduler.task_news import TaskNews

logger = logging.getLogger(__name__)

Tick = Callable[[str], None]

# Seconds: so late it may be seen on a cluster that a value is complete.
_POLL = 0.05
# And how often the workers are counted; so long the scheduler may take to answer.
_LOOK = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a submitted value came out: its value, or the error."""

    name: str
    value: Any = None
    error: BaseException | None = None


class Executor(Protocol):
    """Computes delayed values; `tick` is called with the key of each task that is done."""

    @property
    def cores(self) -> int:
        """Tasks that run at once."""
        ...

    def submit(self, name: str, value: Any, tick: Tick) -> None:
        """Begin to compute a value beside others; `tick` is called from `completed`."""
        ...

    def completed(self) -> Outcome:
        """Wait for the next of the submitted values, in the order in which they are done."""
        ...

    def close(self) -> None:
        """Give up what has not completed."""
        ...


class _StoppedError(Exception):
    """Ends what is computed of values that nobody waits for any more."""


class ThreadsExecutor:
    """Threads of this process."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._news: SimpleQueue[Outcome | tuple[Tick, str]] = SimpleQueue()
        self._stopped = Event()
        self._running: list[Thread] = []

    @property
    def cores(self) -> int:
        """Tasks that run at once."""
        return self.threads

    def submit(self, name: str, value: Any, tick: Tick) -> None:
        """Begin to compute a value; all that are submitted share the threads."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="cpflow")
        self._running = [thread for thread in self._running if thread.is_alive()]
        # Dask's threaded scheduler is a loop of its own for each value. Its list of callbacks is
        # one for all threads: those that are active here hear of the tasks too.
        from dask.callbacks import Callback

        others = list(Callback.active)
        thread = Thread(target=self._compute, args=(name, value, tick, others), daemon=True)
        self._running.append(thread)
        thread.start()

    def _compute(self, name: str, value: Any, tick: Tick, others: list[Any]) -> None:
        import dask

        def before(*_: Any) -> None:
            if self._stopped.is_set():
                raise _StoppedError

        def done(key: Any, *_: Any) -> None:
            before()
            self._news.put((tick, str(key)))

        try:
            (result,) = dask.compute(
                value,
                scheduler="threads",
                pool=self._pool,
                callbacks=[*others, (None, None, before, done, None)],
            )
        except BaseException as error:
            self._news.put(Outcome(name, error=error))
        else:
            self._news.put(Outcome(name, result))

    def completed(self) -> Outcome:
        """Wait for the next value."""
        while True:
            news = self._news.get()
            if isinstance(news, Outcome):
                return news
            tick, key = news
            tick(key)

    def close(self) -> None:
        """Give up what has not completed; tasks that run are waited for."""
        self._stopped.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        for thread in self._running:
            thread.join(timeout=10)


class ClusterExecutor:
    """A Dask cluster, through a client.

    Parameters
    ----------
    client : distributed.Client
    cores : int
        Tasks that will run at once when all workers are there.
    patience : float
        Seconds that a run may be without any worker.
    silence : float
        Seconds that the scheduler may be without an answer: the network may be down for a while.
    """

    def __init__(
        self, client: Any, *, cores: int = 0, patience: float = 300, silence: float = 120
    ) -> None:
        self.client = client
        self._expected = cores
        self._patience, self._silence = patience, silence
        self._submitted: dict[Any, str] = {}
        self._queue: Any = None
        self._silent = False
        self._news: TaskNews

    @property
    def cores(self) -> int:
        """Threads of all workers that are there, or will be; at least one."""
        there = sum(int(threads) for threads in self.client.nthreads().values())
        return max(1, there, self._expected)

    def submit(self, name: str, value: Any, tick: Tick) -> None:
        """Send a value to the cluster."""
        from distributed import as_completed

        if self._queue is None:
            self._queue = as_completed(loop=self.client.loop)
            self._news = TaskNews(self.client)
        with going_on():
            future = self.client.compute(value)
        self._news.expect(name, value.__dask_graph__(), tick)
        self._submitted[future] = name
        self._queue.add(future)

    def completed(self) -> Outcome:
        """Wait for the next value.

        Raises
        ------
        ClusterLostError
            If the scheduler goes away or is silent, or no worker is left and none comes.
        """
        answered = seen = looked = time.monotonic()
        every = min(_LOOK, self._patience / 2, self._silence / 2)
        with going_on():
            while not self._queue.has_ready():
                self._news.listen(_POLL)
                now = time.monotonic()
                if now - looked < every:
                    continue
                workers = self._count_workers(every)
                looked = now = time.monotonic()
                if workers is None:
                    self._wait_for_an_answer(now - answered)
                    continue
                answered = now
                if workers:
                    seen = now
                elif now - seen > self._patience:
                    raise ClusterLostError(
                        f"there has been no worker for {now - seen:.0f} s",
                        hint="run the same command again to resume",
                    )
            future = next(self._queue)
            name = self._submitted.pop(future)
            try:
                if future.status == "error":
                    self._news.complete(name)
                    return Outcome(name, error=future.exception())
                value = future.result()
            finally:
                # The scheduler forgets it, and all that only it needed.
                future.cancel() if future.status != "finished" else future.release()
        self._news.complete(name, str(future.key))
        return Outcome(name, value)

    def _count_workers(self, seconds: float) -> int | None:
        """Return how many workers there are; None if the scheduler does not say so in time."""
        try:
            found = self.client.sync(self.client.scheduler.ncores, callback_timeout=seconds)
        except TimeoutError:
            return None
        return len(found)

    def _wait_for_an_answer(self, silent: float) -> None:
        if silent > self._silence:
            self._silent = True
            raise ClusterLostError(
                f"the scheduler has not answered for {silent:.0f} s",
                hint="see whether it runs and the network is up, then run the same command again "
                "to resume; limits.silence_timeout of the cluster profile waits longer",
            )
        logger.warning("the scheduler does not answer since %.0f s", silent)

    def close(self) -> None:
        """Take back what has not completed."""
        if self._silent:
            # It would be waited for.
            return
        # Of a cluster that is gone nothing can be taken back.
        with suppress(ClusterLostError), going_on():
            self.client.cancel(list(self._submitted))
        self._submitted.clear()
        if self._queue is not None:
            self._news.close()


@contextmanager
def executor(
    profile: Profile, client: Any = None, *, memory: int | None = None
) -> Iterator[Executor]:
    """Yield what a profile describes, and close it afterwards; a given client is left open.

    Parameters
    ----------
    profile : Profile
    client : distributed.Client, optional
        Instead of it.
    memory : int, optional
        Bytes of each worker, where the profile does not say.
    """
    if client is not None:
        yield ClusterExecutor(client)
        return
    if isinstance(profile, ThreadsProfile):
        with one_thread():
            yield ThreadsExecutor(profile.cores)
        return
    from cpflow.scheduler.clusters import open_client

    with open_client(profile, memory) as opened:
        yield ClusterExecutor(
            opened,
            # Workers that wait in a queue count: what is in flight is enough for all of them.
            cores=profile.expected_cores,
            patience=profile.limits.no_worker_timeout,
            silence=profile.limits.silence_timeout,
        )
