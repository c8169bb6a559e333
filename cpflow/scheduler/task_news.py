"""Progress on a cluster: the scheduler tells which tasks are done."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

logger = logging.getLogger(__name__)


class TaskNews:
    """Calls a function for each task of what was submitted that is done.

    It does so in `listen` only, in the thread that calls it. A scheduler that takes no plugins is
    no error: nothing is told then before a value is complete.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        from cpflow.scheduler.plugins import FinishedTasks

        self._client = client
        self._topic = f"cpflow-finished-{client.id}-{uuid.uuid4().hex[:8]}"
        self._heard: SimpleQueue[Sequence[str]] = SimpleQueue()
        self._expected: dict[str, tuple[set[str], Callable[[str], None]]] = {}
        try:
            client.subscribe_topic(self._topic, lambda event: self._heard.put(event[1]))
            client.register_plugin(FinishedTasks(client.id, self._topic), name=self._topic)
        except Exception as error:
            logger.info("the cluster does not tell which tasks are done: %s", error)

    def expect(self, name: str, keys: Iterable[Any], tick: Callable[[str], None]) -> None:
        """Call `tick` for each of some tasks, once."""
        self._expected[name] = {str(key) for key in keys}, tick

    def listen(self, seconds: float) -> None:
        """Wait for news, so long at most, and pass them on."""
        with suppress(Empty):
            for key in self._heard.get(timeout=seconds):
                for keys, tick in self._expected.values():
                    if key in keys:
                        keys.discard(key)
                        tick(key)

    def complete(self, name: str, key: str = "") -> None:
        """Expect nothing of a value any more; its last task, `key`, is done if it is given."""
        keys, tick = self._expected.pop(name)
        if key in keys:
            tick(key)

    def close(self) -> None:
        """Let the scheduler be silent."""
        # One that is gone would be waited for.
        if self._client.status == "running":
            with suppress(Exception):
                self._client.unsubscribe_topic(self._topic)
                self._client.unregister_scheduler_plugin(self._topic)
