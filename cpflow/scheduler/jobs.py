"""What is sent to an executor at a time: the tasks of one product, or of a part of a solution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from dask._task_spec import Task
from dask.core import flatten

from cpflow.plan import Plan, PlannedProduct
from cpflow.scheduler.bands import finished_band, unless_written, write_band
from cpflow.scheduler.finish import SMALL, Recipe, finish_product
from cpflow.scheduler.kept import keeping
from cpflow.scheduler.provenance import provenance
from cpflow.stack.graph import Tasks, block, needed, nodes_of, own_layers, reference
from cpflow.stack.tasks import reduce_band
from cpflow.store import Staging


@dataclass(frozen=True)
class Job:
    """Tasks of which the last one has the key `key`; keys without a task are bound by a run."""

    key: str
    nodes: Mapping[Any, Any]
    parts: int = 0
    """How many bands a product has, with its small variables as one more."""
    kept: int = 0
    """Of these, how many are done already."""
    kept_values: int = 0
    """How many measurements and solutions are."""


def product_job(product: PlannedProduct, plan: Plan, run: str, staging: Staging) -> Job:
    """Return the tasks that compute the bands that are missing and put the product together."""
    directory = staging.bands(product.slug)
    recipe = recipe_of(product)
    tasks = Tasks()
    records: list[Any] = []
    kept = 0
    variables = {name: product.dataset[name].data for name in (*recipe.images, *recipe.small)}
    keys = {name: list(flatten(array.__dask_keys__())) for name, array in variables.items()}
    parts = [(name, tuple(recipe.images), index) for index, (name, _) in enumerate(recipe.bands)]
    if recipe.small:
        parts.append((SMALL, tuple(recipe.small), 0))
    for part, names, index in parts:
        record = finished_band(directory, part)
        if record is None:
            # Only calls of cpflow's own functions go to the workers, and only plain data with them.
            record = tasks.call(
                f"write-{product.slug}-{part}",
                write_band,
                str(directory),
                part,
                names,
                *(block(variables[name], keys[name][index]) for name in names),
            )
        else:
            kept += 1
        records.append(record)
    target = staging.product(product.slug)
    last = f"finish-{product.slug}-product"
    tasks.call(
        last,
        finish_product,
        recipe,
        str(directory),
        str(target),
        provenance(plan, product, run),
        records,
    )
    # Unoptimised: Dask would fuse the graph of each variable by itself, and run what they share
    # once for every variable.
    graph: Any = product.dataset.__dask_graph__()  # type: ignore[no-untyped-call]
    nodes = needed({**nodes_of(own_layers(graph)), **tasks.nodes}, [reference(last)])
    nodes, values = keeping(staging.values, nodes)
    nodes = needed(_once(nodes, directory), [reference(last)])
    return Job(last, nodes, len(records), kept, values)


def _once(nodes: Mapping[Any, Any], directory: Path) -> dict[Any, Any]:
    """Return the tasks; those that compute bands do it only if the band is not written."""
    users = Counter(key for node in nodes.values() for key in node.dependencies)
    found = dict(nodes)
    for node in nodes.values():
        if not (isinstance(node, Task) and node.func is write_band):
            continue
        part = node.args[1]
        for key in node.dependencies:
            reduce = nodes.get(key)
            # Only where nothing else takes what it computes.
            if isinstance(reduce, Task) and reduce.func is reduce_band and users[key] == 1:
                found[key] = Task(
                    key, unless_written, str(directory), part, reduce_band, *reduce.args
                )
    return found


def solution_jobs(key: str, nodes: Mapping[Any, Any], staging: Staging) -> list[Job]:
    """Return the jobs of a solution over detectors: its parts, of one detector each, then itself.

    `nodes` are all its tasks. The parts are small, and their tasks many: one after the other is
    computed, and bound to its value for the last job.
    """
    nodes, _ = keeping(staging.values, nodes)
    parts = sorted(part for part in nodes[key].dependencies if nodes[part].dependencies)
    jobs = [Job(part, needed(nodes, [reference(part)])) for part in parts]
    rest = {one: node for one, node in nodes.items() if one not in parts}
    return [*jobs, Job(key, needed(rest, [reference(key)]))]


def recipe_of(product: PlannedProduct) -> Recipe:
    """Split a lazy dataset into images, which go band by band, and small variables."""
    images: dict[str, tuple[str, dict[str, Any]]] = {}
    small: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {}
    for name, variable in product.dataset.data_vars.items():
        attrs = dict(variable.attrs)
        dims = tuple(str(dim) for dim in variable.dims)
        if dims == ("amp", "y", "x"):
            images[str(name)] = (variable.dtype.name, attrs)
        else:
            small[str(name)] = (dims, attrs)
    chunks = product.dataset[next(iter(images))].chunks if images else None
    heights = chunks[1] if chunks else ()
    stops = list(accumulate(heights))
    bands = tuple(
        (f"band-{index:04d}", range(stop - height, stop))
        for index, (height, stop) in enumerate(zip(heights, stops, strict=True))
    )
    return Recipe(
        product.type,
        product.detector,
        bands,
        images,
        small,
        {str(name): tuple(c.values.tolist()) for name, c in product.dataset.coords.items()},
        {
            **product.dataset.attrs,
            "instrument": product.instrument,
            "detector": product.detector.id,
            **({} if product.physical_filter is None else {"filter": product.physical_filter}),
        },
    )
