"""Plugins that a run gives to the scheduler and the workers of a Dask cluster."""

from __future__ import annotations

import logging
import signal
import time
from contextlib import suppress
from typing import Any

from distributed import SchedulerPlugin, WorkerPlugin

INTERVAL = 0.25
"""Seconds between two messages about finished tasks, at least."""


class FinishedTasks(SchedulerPlugin):  # type: ignore[misc]
    """Tells a client which of its tasks are done, a list of keys at a time.

    Parameters
    ----------
    client : str
        Id of the client.
    topic : str
        Of the events.
    """

    def __init__(self, client: str, topic: str) -> None:
        self.client, self.topic = client, topic
        self.name = topic
        self._keys: set[Any] = set()
        self._done: list[str] = []
        self._sent = 0.0
        self._scheduler: Any = None

    async def start(self, scheduler: Any) -> None:
        """Begin."""
        self._scheduler = scheduler

    def update_graph(self, scheduler: Any, *, client: str, tasks: list[Any], **_: Any) -> None:
        """Take note of new tasks."""
        if client == self.client:
            self._keys.update(tasks)

    def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
        """Take note of a task that is done."""
        if finish not in ("memory", "forgotten", "erred") or key not in self._keys:
            return
        self._keys.discard(key)
        if finish != "memory":
            return
        self._done.append(str(key))
        if time.monotonic() - self._sent >= INTERVAL:
            # The last ones of a product may wait here: that it is finished is told otherwise.
            self._scheduler.log_event(self.topic, self._done)
            self._done, self._sent = [], time.monotonic()

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Go when the client goes, however it does."""
        if client == self.client:
            scheduler.remove_plugin(name=self.name)


class LogLevel(WorkerPlugin):  # type: ignore[misc]
    """Lets workers handle records of cpflow from INFO on; by default only warnings."""

    name = "cpflow-log-level"

    def setup(self, worker: Any) -> None:
        """Set the level."""
        logging.getLogger("cpflow").setLevel(logging.INFO)


class IgnoreInterrupt(WorkerPlugin):  # type: ignore[misc]
    """Lets workers ignore ctrl-C, which a terminal sends to all processes of a command.

    The client that has started them ends them.
    """

    name = "cpflow-ignore-interrupt"

    def setup(self, worker: Any) -> None:
        """Ignore it."""
        # A worker in a thread has no say in this.
        with suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)


class OneThread(WorkerPlugin):  # type: ignore[misc]
    """Holds the numerical libraries of a worker to one thread for each task.

    Those that cpflow starts are held by their environment, too; at an address, by this alone. It
    stays when the run ends, since others may go on.
    """

    name = "cpflow-one-thread"

    def setup(self, worker: Any) -> None:
        """Hold them, from now on."""
        from cpflow.scheduler.numerics import one_thread

        self._held = one_thread()
        self._held.__enter__()

    def teardown(self, worker: Any) -> None:
        """Let them go when the worker ends, or another run has it do the same."""
        self._held.__exit__(None, None, None)
