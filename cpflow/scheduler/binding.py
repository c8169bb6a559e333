"""Keys in a product's graph that stand for something that is known only when a plan runs."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dask._task_spec import DataNode
from dask.delayed import Delayed

from cpflow.plan import PlannedProduct, promise_key
from cpflow.scheduler.deep_errors import sendable
from cpflow.store import Staging


class Binding:
    """Binds promises to finished products, and solutions over detectors to their values.

    Keys of tasks follow from what decides the values, so that the products of a run share what they
    have in common. What a promise stands for, and where raw files lie, is of this run alone: on a
    scheduler that other runs use too, of the same plan even, all keys are given a part that is this
    run's.
    """

    def __init__(self, staging: Staging, made: Mapping[str, Path] | None = None) -> None:
        self.staging = staging
        self.made = made or {}
        self.solutions: dict[str, Any] = {}
        self._run = f"{staging.path}-{uuid.uuid4().hex}"

    def unknown(self, nodes: Mapping[Any, Any], together: Iterable[str]) -> list[str]:
        """Return the solutions that some tasks refer to and that are not computed yet."""
        used = {key for node in nodes.values() for key in node.dependencies}
        return [key for key in together if key in used and key not in self.solutions]

    def bind(
        self, key: Any, nodes: Mapping[Any, Any], promises: Iterable[PlannedProduct]
    ) -> Delayed:
        """Return one of some tasks, Delayed, with all that it depends on bound."""
        bound = dict(nodes)
        for source in promises:
            promise = promise_key(source)
            if promise in bound:
                place = self.made.get(source.slug) or self.staging.product(source.slug)
                bound[promise] = DataNode(promise, str(place))
        used = {one for node in bound.values() for one in node.dependencies}
        for solution in used & self.solutions.keys():
            bound[solution] = DataNode(solution, self.solutions[solution])
        names = {one: self._named(one) for one in bound}
        return Delayed(
            names[key],
            {
                names[one]: sendable(node.substitute(names, key=names[one]))
                for one, node in bound.items()
            },
        )

    def _named(self, key: Any) -> Any:
        if isinstance(key, tuple):
            return (self._named(key[0]), *key[1:])
        head, _, tail = str(key).rpartition("-")
        hashed = hashlib.sha256(f"{tail} {self._run}".encode()).hexdigest()[:16]
        return f"{head or tail}-{hashed}"
