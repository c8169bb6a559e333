"""What a run would do: lazy products and what they will cost."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cpflow import __version__
from cpflow.errors import UsageError
from cpflow.exposure import Exposure
from cpflow.graph import ChainGraph, Graph, Resolved
from cpflow.plan.facts import Together, together_facts, together_of
from cpflow.plan.memory import INTERPRETER_MEMORY, MOST_HELD, scheduler_memory
from cpflow.plan.product import PlannedProduct
from cpflow.repo import Repository
from cpflow.sizes import size_text
from cpflow.stack.geometry import assemble

if TYPE_CHECKING:
    import xarray as xr


def _made(product: PlannedProduct) -> tuple[str, int, str | None]:
    return product.type, product.detector.id, product.physical_filter


@dataclass(frozen=True)
class Plan:
    """What a run would do. Nothing is computed, read or written by making or showing it."""

    graph: Graph | ChainGraph
    repository: Repository
    products: tuple[PlannedProduct, ...]
    inputs: tuple[str, ...]
    query: str
    drop_bad: int = 0
    notes: tuple[str, ...] = ()
    """What was chosen otherwise than asked for, and what is out of the ordinary."""
    runner: Callable[..., Any] | None = field(default=None, repr=False)

    @property
    def product(self) -> xr.Dataset:
        """The lazy product in the detector frame, where the plan has just one.

        Slice it, plot it, compute a corner. Pixels without any good input are NaN here; a run
        fills them when the product is finished.

        Raises
        ------
        UsageError
            If the plan has several products.
        """
        if len(self.products) != 1:
            raise UsageError(
                f"the plan has {len(self.products)} products",
                hint="take one of plan.products and assemble() its dataset",
            )
        planned = self.products[0]
        return assemble(planned.dataset, planned.detector)

    @property
    def resolved(self) -> Resolved:
        """The configuration, where the plan has just one graph.

        Raises
        ------
        UsageError
            If it is a chain: each of its products has its own.
        """
        if isinstance(self.graph, ChainGraph):
            raise UsageError("each step of a chain has its own: plan.products[0].resolved")
        return self.products[0].resolved

    def superseded(self, product: PlannedProduct) -> bool:
        """Whether a later step of the plan makes the same product again."""
        return self._last[_made(product)] is not product

    @cached_property
    def _last(self) -> dict[tuple[str, int, str | None], PlannedProduct]:
        return {_made(product): product for product in self.products}

    @property
    def exposures(self) -> tuple[Exposure, ...]:
        """All exposures of all products, ordered by id."""
        found = {e.exposure: e for product in self.products for e, _ in product.raws}
        return tuple(found[key] for key in sorted(found))

    @cached_property
    def identity(self) -> str:
        """Hash of graph, configuration and inputs: the same plan has the same identity."""
        # Another version may give other bits: it begins anew.
        content = [
            __version__,
            self.graph.source_hash,
            [product.token for product in self.products],
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @cached_property
    def together(self) -> tuple[Together, ...]:
        """Solutions over several detectors, each once; their tasks are not those of a product."""
        found: dict[str, Together] = {}
        for product in self.products:
            for key, layer in together_of(product).items():
                if key not in found:
                    found[key] = together_facts(key, layer, product)
        return tuple(found.values())

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return sum(one.facts.tasks for one in self.products) + sum(t.tasks for t in self.together)

    @property
    def bytes_to_read(self) -> int:
        """Bytes that will be read from raw files."""
        return sum(product.facts.bytes_to_read for product in self.products) + sum(
            solution.bytes_to_read for solution in self.together
        )

    @property
    def task_memory(self) -> int:
        """Peak memory of the largest task, in bytes."""
        return max(max(p.facts.task_memory, p.facts.finish_memory) for p in self.products)

    def in_flight(self, cores: int) -> int:
        """Return how many products a run computes at once on so many cores.

        While the last tasks of one product run, as the one that puts it together, those of others
        keep the cores busy: as many as there are cores for what one product takes from its first
        to its last task, and one more; at least so many that their bands are as many as the cores.
        They have no more than `MOST_HELD` tasks, unless two have, so that the scheduler holds a
        part of a large plan.
        """
        needed, tasks = 1.0, 1
        for product in self.products:
            total, last = product.seconds
            needed = max(needed, cores * last / total, cores / max(1, product.facts.bands))
            tasks = max(tasks, product.facts.tasks)
        wanted = min(1 + math.ceil(needed), max(2, MOST_HELD // tasks))
        return min(len(self.products), wanted)

    def memory(
        self, tasks_at_once: int, *, in_flight: int | None = None, band_rows: int | None = None
    ) -> int:
        """Return the bytes that a process needs which runs so many tasks at once.

        The interpreter with its libraries, the tasks, and what the measurements of all exposures
        of the products in flight leave. Putting a product together is one task, when its others
        are done.

        Parameters
        ----------
        tasks_at_once : int
        in_flight : int, optional
            Products that are computed at once, where other processes work on them, too.
        band_rows : int, optional
            Another height of bands than the plan's.
        """
        at_once = self.in_flight(tasks_at_once) if in_flight is None else in_flight
        finishing = min(at_once, tasks_at_once)
        facts = (
            p.facts if band_rows is None else p.facts.at(p.detector, band_rows)
            for p in self.products
        )
        largest = max(
            max(
                tasks_at_once * f.task_memory,
                finishing * f.finish_memory + (tasks_at_once - finishing) * f.task_memory,
                f.finish_memory,
            )
            + at_once * f.kept_memory
            for f in facts
        )
        return INTERPRETER_MEMORY + largest

    def scheduler_memory(self, cores: int) -> int:
        """Return the bytes that the process of a Dask scheduler needs for a run on so many cores.

        Parameters
        ----------
        cores : int
            Tasks that run at once; `in_flight` products are known to the scheduler then.

        Notes
        -----
        The scheduler alone, plus what each task that it knows takes, plus what each worker takes:
        measured on a real scheduler in a process of its own by
        ``benchmarks/plan_many_detectors.py`` (see `cpflow.plan.memory`).
        """
        tasks = sorted((p.facts.tasks for p in self.products), reverse=True)
        held = sum(tasks[: self.in_flight(cores)])
        for solution in self.together:
            part = -(-solution.tasks // max(1, solution.parts))
            held = max(held, self.in_flight(cores) * part)
        return scheduler_memory(held, cores)

    def run(self, client: Any = None, **options: Any) -> Any:
        """Build the products; see `cpflow.scheduler.run_plan` for the options.

        ``cluster`` may be the name or file of a cluster profile, a profile, or an address, instead
        of a client.
        """
        if self.runner is None:
            raise UsageError("this plan has nothing to run it with", hint="use cpflow.Repo.plan")
        return self.runner(self, client=client, **options)

    def __repr__(self) -> str:
        return (
            f"<Plan {self.graph.name}: {len(self.products)} products from "
            f"{len(self.exposures)} exposures, {self.tasks} tasks, "
            f"reads {size_text(self.bytes_to_read)}, {size_text(self.task_memory)} a task>"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{p.label}</td><td>{p.facts.exposures}</td><td>{p.facts.tasks}</td>"
            f"<td>{size_text(p.facts.bytes_to_read)}</td><td>{p.facts.bands} x "
            f"{p.facts.band_rows} rows</td><td>{size_text(p.facts.task_memory)}</td>"
            f"<td>{', '.join(p.calibrations) or 'none'}</td></tr>"
            for p in self.products
        )
        return (
            f"<div><b>Plan {self.graph.name}</b>: {self.graph.title}<table><thead><tr>"
            "<th>product</th><th>exposures</th><th>tasks</th><th>to read</th><th>bands</th>"
            f"<th>memory a task</th><th>calibrations</th></tr></thead><tbody>{rows}</tbody>"
            "</table></div>"
        )
