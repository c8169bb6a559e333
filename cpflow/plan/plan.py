"""What a run would do: lazy products and what they will cost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cpflow import __version__
from cpflow.camera import Detector
from cpflow.errors import UsageError
from cpflow.exposure import Exposure, RawFile
from cpflow.graph import ChainGraph, Graph, Resolved
from cpflow.plan.lookup import Calibration, identity_of, source_identity
from cpflow.plan.memory import (
    IMAGE_BYTES,
    INTERPRETER_MEMORY,
    band_memory,
    frame_memory,
    kept_memory,
    size_text,
)
from cpflow.repo import Repository
from cpflow.stack import Stack
from cpflow.stack.geometry import assemble

if TYPE_CHECKING:
    import xarray as xr

    from cpflow.registry import DatasetRef


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
    kept_memory: int
    """Of all measurements, which wait until the last band is done."""


@dataclass(frozen=True)
class PlannedProduct:
    """One product to build: its inputs and its lazy dataset in the readout frame."""

    type: str
    instrument: str
    detector: Detector
    physical_filter: str | None
    raws: tuple[tuple[Exposure, RawFile], ...]
    calibrations: Mapping[str, Calibration]
    stack: Stack
    dataset: xr.Dataset
    graph: Graph
    resolved: Resolved
    step: str = ""
    """Of a chain."""
    also_from: tuple[tuple[Exposure, RawFile], ...] = ()
    """Raw frames of other detectors that decide its scale."""
    also_with: tuple[DatasetRef | PlannedProduct, ...] = ()
    """Calibrations of those."""

    @property
    def slug(self) -> str:
        """A short name that is unique within the plan."""
        parts = [self.step or self.type, str(self.detector.id)]
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
        """Tasks, bytes to read and peak memory, all of it read off the lazy graph."""
        keys = [str(key) for key in task_keys(self.dataset)]
        banded = "image" in self.dataset and self.dataset["image"].dims == ("amp", "y", "x")
        exposures, detector = len(self.raws), self.detector
        own = {e.exposure for e, _ in self.raws}
        measures = [key.rsplit("-", 2) for key in keys if key.startswith("measure-")]
        # A pair is two frames.
        measures += 2 * [key.rsplit("-", 2) for key in keys if key.startswith("pair-")]
        measures = [key for key in measures if int(key[1]) in own]
        whole, height = detector.imaging_shape[0], self.stack.band_rows
        widest = height
        of_band: set[tuple[str, str]] = set()
        of_frame: set[tuple[str, str]] = set()
        for key in keys:
            if key.startswith("rows-"):
                name, start, stop, token = key.rsplit("-", 3)
                widest = max(widest, int(stop) - int(start)) if stop != str(whole) else widest
                is_whole = int(stop) - int(start) == whole
                (of_frame if is_whole else of_band).add((name, token))
        images = len(of_band or of_frame)
        halo = -(-(widest - height) // 2)
        band = band_memory(detector, exposures, height, halo=halo, images=images)
        corrected = any(name != "measure-readout" for name, _, _ in measures)
        # What is found in a combined image is found in a frame without readout.
        corrected |= any(key.startswith("search-") for key in keys)
        frame = frame_memory(detector, corrected=corrected, images=len(of_frame))
        if any(key.startswith("pair-") for key in keys):
            frame += frame_memory(detector, corrected=True)
        size = sum(raw.size for _, raw in self.raws)
        rows, columns = detector.shape
        bands = len(self.stack.bands) if banded else 0
        return Facts(
            exposures=exposures,
            bands=bands,
            band_rows=height,
            tasks=len(keys) + bands + 2,
            # Each measurement looks at whole frames, the reduce pass at each row once more.
            bytes_to_read=size * (len(measures) + exposures * banded) // max(1, exposures),
            task_memory=max(band if banded else 0, frame if measures or corrected else 0),
            finish_memory=rows * columns * (IMAGE_BYTES + 1)
            + 2 * band_memory(detector, 1, height)
            + 4 * rows * columns // max(1, len(detector.amplifiers)),
            kept_memory=kept_memory(detector, [name for name, _, _ in measures]),
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Everything about the inputs that decides the values of the product."""
        return {
            "type": self.type,
            "instrument": self.instrument,
            "detector": self.detector.id,
            "physical_filter": self.physical_filter,
            "raws": [[_record(e), raw.checksum] for e, raw in self.raws],
            "calibrations": identity_of(self.calibrations),
            "also_from": [[raw.detector, _record(e), raw.checksum] for e, raw in self.also_from],
            "also_with": [source_identity(source) for source in self.also_with],
            "graph": self.graph.source_hash,
            "config": self.resolved.as_dict(),
            "camera": repr(self.detector),
            "band_rows": self.stack.band_rows,
            "drop_bad": self.stack.drop_bad,
        }

    @cached_property
    def token(self) -> str:
        """Hash of everything that decides the values."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    @property
    def promises(self) -> tuple[PlannedProduct, ...]:
        """Products of the same plan that this one is made with."""
        return tuple(s for s in self.made_with if isinstance(s, PlannedProduct))

    @property
    def made_with(self) -> tuple[DatasetRef | PlannedProduct, ...]:
        """All calibrations that decide it, each once, those of other detectors among them."""
        own = (s for calibration in self.calibrations.values() for s in calibration.sources)
        return tuple({source_identity(s): s for s in (*own, *self.also_with)}.values())


def _record(exposure: Exposure) -> list[Any]:
    """Return what a record says that may decide values: it can be corrected after ingest."""
    return [
        exposure.exposure,
        exposure.observation_type,
        exposure.physical_filter,
        exposure.exposure_time,
        exposure.dark_time,
        sorted((key, repr(value)) for key, value in exposure.extra.items()),
    ]


@dataclass(frozen=True)
class Plan:
    """What a run would do. Nothing is computed, read or written by making or showing it."""

    graph: Graph | ChainGraph
    repository: Repository
    products: tuple[PlannedProduct, ...]
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
        later = self.products[self.products.index(product) + 1 :]
        return any(
            (p.type, p.detector.id, p.physical_filter)
            == (product.type, product.detector.id, product.physical_filter)
            for p in later
        )

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

    def memory(self, tasks_at_once: int) -> int:
        """Return the bytes that a process needs which runs so many tasks at once.

        The interpreter with its libraries, the tasks, and what the measurements of all exposures
        of a product leave. Putting a product together is one task, when its others are done.
        """
        largest = max(
            max(tasks_at_once * p.facts.task_memory, p.facts.finish_memory) + p.facts.kept_memory
            for p in self.products
        )
        return INTERPRETER_MEMORY + largest

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
