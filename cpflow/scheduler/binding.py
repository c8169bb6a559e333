"""Keys in a product's graph that stand for something that is known only when a plan runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cpflow.plan import PlannedProduct, promise_key
from cpflow.store import Staging

if TYPE_CHECKING:
    from cpflow.scheduler.executors import Executor

# What steps call a solution that the graphs of several detectors have in common.
TOGETHER = "together-"


class Binding:
    """Binds promises to finished products, and solutions over detectors to their values.

    The graph of each product that detectors are solved for together holds the measurements of all
    of them. The solution is computed with the first product and remembered, so that N detectors are
    measured 2 N times, not N x N.
    """

    def __init__(self, staging: Staging) -> None:
        self.staging = staging
        self.solutions: dict[str, Any] = {}

    def bind(
        self,
        finish: Any,
        product: PlannedProduct,
        runner: Executor,
        tick: Callable[[str], None],
    ) -> Any:
        """Return the last task of a product, Delayed, with all that it depends on bound."""
        from dask.delayed import Delayed, delayed

        shared = []
        if product.also_from:
            keys = map(str, finish.__dask_graph__())
            shared = [key for key in keys if key.startswith(TOGETHER)]
        if not product.promises and not shared:
            return finish
        graph = dict(finish.__dask_graph__())
        for source in product.promises:
            graph[promise_key(source)] = str(self.staging.product(source.slug))
        unknown = [key for key in shared if key not in self.solutions]
        if unknown:
            values = runner.compute([Delayed(key, graph) for key in unknown], tick)
            self.solutions.update(zip(unknown, values, strict=True))
        for key in shared:
            value = delayed(self.solutions[key], name=key, traverse=False)
            graph.update(dict(value.__dask_graph__()))
        return Delayed(finish.key, graph)
