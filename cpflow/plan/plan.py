"""What a run would do: lazy products and what they will cost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cpflow.camera import Detector
from cpflow.errors import UsageError
from cpflow.exposure import Exposure, RawFile
from cpflow.graph import Graph, Resolved
from cpflow.repo import Repository
from cpflow.stack import Stack
from cpflow.stack.geometry import assemble

if TYPE_CHECKING:
    import xarray as xr

    from cpflow.registry import DatasetRef


from cpflow.plan.memory import IMAGE_BYTES, band_memory, frame_memory, size_text


@dataclass(frozen=True, slots=True)
class Facts:
    """What a product will cost, before anything runs. Sizes in bytes."""

    exposures: int
    bands: int
    band_rows: int
    tasks: int
    bytes_to_read: int
    task_memory: int
    finish_memory: int


@dataclass(frozen=True)
class PlannedProduct:
    """One product to build: its inputs and its lazy dataset in the readout frame."""

    type: str
    instrument: str
    detector: Detector
    physical_filter: str | None
    raws: tuple[tuple[Exposure, RawFile], ...]
    calibrations: Mapping[str, DatasetRef]
    stack: Stack
    dataset: xr.Dataset

    @property
    def slug(self) -> str:
        """A short name that is unique within the plan."""
        parts = [self.type, str(self.detector.id)]
        if self.physical_filter is not None:
            parts.append(self.physical_filter)
        return "-".join(parts)

    @property
    def label(self) -> str:
        """The product in a person's words."""
        parts = [f"{self.type} of {self.instrument} detector {self.detector.id}"]
        if self.physical_filter is not None:
            parts.append(f"filter {self.physical_filter}")
        return ", ".join(parts)

    @cached_property
    def facts(self) -> Facts:
        """Tasks, bytes to read and peak memory."""
        bands = len(self.stack.bands)
        exposures = len(self.raws)
        keys = [str(key) for key in task_keys(self.dataset)]
        measures = sum(key.startswith("measure-") for key in keys)
        size = sum(raw.size for _, raw in self.raws)
        rows, columns = self.detector.shape
        return Facts(
            exposures=exposures,
            bands=bands,
            band_rows=self.stack.band_rows,
            tasks=len(keys) + bands + 2,
            # Each measurement looks at whole frames, the reduce pass at each row once more.
            bytes_to_read=size * (measures + exposures) // exposures,
            task_memory=max(
                band_memory(self.detector, exposures, self.stack.band_rows),
                frame_memory(self.detector),
            ),
            finish_memory=rows * columns * (IMAGE_BYTES + 1)
            + 2 * band_memory(self.detector, 1, self.stack.band_rows)
            + 4 * rows * columns // max(1, len(self.detector.amplifiers)),
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Everything about the inputs that decides the values of the product."""
        return {
            "type": self.type,
            "instrument": self.instrument,
            "detector": self.detector.id,
            "physical_filter": self.physical_filter,
            "raws": [[e.exposure, raw.checksum] for e, raw in self.raws],
            "calibrations": {name: ref.checksum for name, ref in self.calibrations.items()},
            "camera": repr(self.detector),
            "band_rows": self.stack.band_rows,
            "drop_bad": self.stack.drop_bad,
        }


@dataclass(frozen=True)
class Plan:
    """What a run would do. Nothing is computed, read or written by making or showing it."""

    graph: Graph
    repository: Repository
    products: tuple[PlannedProduct, ...]
    resolved: Resolved
    inputs: tuple[str, ...]
    query: str
    drop_bad: int = 0
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
    def exposures(self) -> tuple[Exposure, ...]:
        """All exposures of all products, ordered by id."""
        found = {e.exposure: e for product in self.products for e, _ in product.raws}
        return tuple(found[key] for key in sorted(found))

    @cached_property
    def identity(self) -> str:
        """Hash of graph, configuration and inputs: the same plan has the same identity."""
        content = {
            "graph": self.graph.source_hash,
            "config": self.resolved.as_dict(),
            "products": [product.identity for product in self.products],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return sum(product.facts.tasks for product in self.products)

    @property
    def bytes_to_read(self) -> int:
        """Bytes that will be read from raw files."""
        return sum(product.facts.bytes_to_read for product in self.products)

    @property
    def task_memory(self) -> int:
        """Peak memory of the largest task, in bytes."""
        return max(max(p.facts.task_memory, p.facts.finish_memory) for p in self.products)

    def run(self, client: Any = None, **options: Any) -> Any:
        """Build the products; see `cpflow.scheduler.run_plan` for the options."""
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


def task_keys(dataset: xr.Dataset) -> list[Any]:
    """Return the keys of a lazy dataset's graph."""
    graph: Any = dataset.__dask_graph__()  # type: ignore[no-untyped-call]
    return list(graph)
