"""From a graph, a repository and a query to a plan: lazy products, and what they will cost."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cpflow.camera import Detector
from cpflow.errors import MissingCalibrationError, NoDataError, UsageError
from cpflow.exposure import Exposure, RawFile
from cpflow.graph import Graph, Layer, Resolved, resolve
from cpflow.products import DIMENSIONS, product_spec
from cpflow.repo import Repository
from cpflow.stack import Stack, open_stack
from cpflow.stack.geometry import assemble

if TYPE_CHECKING:
    import xarray as xr

    from cpflow.registry import DatasetRef

logger = logging.getLogger(__name__)

# What one reduce task may hold unless a profile says otherwise. Larger bands read in longer runs;
# smaller ones spread better over workers. 128 MiB was as fast as 1 GiB on 60 full LATISS frames.
DEFAULT_TASK_MEMORY = 128 * 2**20
_IMAGE_BYTES = 4 + 4 + 2 + 2 + 2


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
            finish_memory=rows * columns * (_IMAGE_BYTES + 1)
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


def size_text(size: float) -> str:
    """Return a number of bytes for people to read."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def frame_memory(detector: Detector) -> int:
    """Return the bytes that a measure task holds: one raw frame, and one amplifier's work."""
    rows, columns = detector.raw_shape
    return rows * columns * (len(detector.amplifiers) * 4 + 16)


def band_memory(detector: Detector, exposures: int, band_rows: int) -> int:
    """Return the bytes that a reduce task holds for bands of `band_rows` rows.

    The stack (float32 and its mask), one frame on its way through ISR, and the outputs.
    """
    amplifiers = len(detector.amplifiers)
    columns, raw_columns = detector.imaging_shape[1], detector.raw_shape[1]
    pixels = amplifiers * band_rows * columns
    per_exposure = 4 + 2 + (4 if exposures < 5 else 0)
    frame = amplifiers * (band_rows + 2) * (raw_columns * 8 + columns * 10)
    return exposures * pixels * per_exposure + frame + pixels * _IMAGE_BYTES * 2


def choose_band_rows(detector: Detector, exposures: int, task_memory: int) -> int:
    """Return the largest band height whose task fits in `task_memory`; at least one row.

    Bands are made equally high, so that no worker waits for a larger one.
    """
    rows = detector.imaging_shape[0]
    one, two = (band_memory(detector, exposures, n) for n in (1, 2))
    slope = two - one
    fitting = max(1, int((task_memory - (one - slope)) // slope))
    if fitting >= rows:
        return rows
    count = -(-rows // fitting)
    return -(-rows // count)


def make_plan(
    repository: Repository,
    graph: Graph,
    query: str = "",
    *,
    exposures: Sequence[Exposure] | None = None,
    inputs: Sequence[str] = (),
    layers: Sequence[Layer] = (),
    drop_bad: int = 0,
    task_memory: int = DEFAULT_TASK_MEMORY,
    band_rows: int | None = None,
    runner: Callable[..., Any] | None = None,
) -> Plan:
    """Plan a run: find the inputs, resolve configuration and calibrations, build lazy products.

    Parameters
    ----------
    repository : Repository
    graph : Graph
    query : str
        Data query; the graph's own selection is ANDed to it.
    exposures : sequence of Exposure, optional
        Restrict the query to these.
    inputs : sequence of str
        Collections in search order; by default the instrument's raws and its calibrations.
    layers : sequence of Layer
        Configuration over the graph's defaults and the instrument's overlay.
    drop_bad : int
        How many unusable exposures each product may leave out.
    task_memory : int
        Bytes that a reduce task may hold; decides the band height.
    band_rows : int, optional
        Band height, instead of the one that fits `task_memory`.
    runner : callable, optional
        What `Plan.run` calls.

    Raises
    ------
    NoDataError
        If no exposures are left, naming the step at which the count fell to zero.
    MissingCalibrationError, AmbiguousCalibrationError
    ConfigurationError, QueryError
    """
    if len(graph.inputs) != 1:
        raise UsageError(f"{graph.path}: a graph has one set of raw inputs for now")
    ((_, select),) = graph.inputs.items()
    path = tuple(inputs) or repository.default_inputs()
    selected = repository.select(query, collections=path, exposures=exposures)
    if not selected:
        raise NoDataError(
            repository.explain_empty(query, path),
            hint="`cpflow records REPO exposure --where ...` shows what a query selects",
        )
    matching = [(e, raw) for e, raw in selected if select.matches(e)]
    if not matching:
        types = sorted({e.observation_type for e, _ in selected})
        raise NoDataError(
            f"the query selects {len(selected)} raw frames of type {', '.join(types)}, but graph "
            f"{graph.name} takes only those with {select.where}"
        )
    if exposures is None and len(matching) < len(selected):
        logger.info(
            "graph %s takes %d of the %d raw frames that the query selects",
            graph.name,
            len(matching),
            len(selected),
        )
    instruments = sorted({e.instrument for e, _ in matching})
    if len(instruments) != 1:
        raise UsageError(
            f"the query selects exposures of several instruments: {', '.join(instruments)}",
            hint="add instrument='...' to it",
        )
    instrument = repository.instrument(instruments[0])
    overlays = [
        Layer(f"instrument {instrument.name}", dict(instrument.overlays.get(key, {})))
        for key in ("*", graph.name)
    ]
    resolved = resolve(graph.config_class, [*overlays, *layers])
    parts = [
        _prepare(repository, graph, key, group, path, drop_bad, task_memory, band_rows)
        for key, group in _groups(graph.product, matching).items()
    ]
    products = _build(graph, resolved, parts)
    return Plan(graph, repository, tuple(products), resolved, path, query, drop_bad, runner)


def _groups(
    product: str, raws: Sequence[tuple[Exposure, RawFile]]
) -> dict[tuple[int, str | None], list[tuple[Exposure, RawFile]]]:
    by_filter = "physical_filter" in DIMENSIONS[product]
    groups: dict[tuple[int, str | None], list[tuple[Exposure, RawFile]]] = {}
    for exposure, raw in sorted(raws, key=lambda pair: (pair[1].detector, pair[0].exposure)):
        key = (raw.detector, exposure.physical_filter if by_filter else None)
        groups.setdefault(key, []).append((exposure, raw))
    return groups


@dataclass(frozen=True)
class _Part:
    """What a graph needs to build one product."""

    instrument: str
    detector: Detector
    physical_filter: str | None
    raws: tuple[tuple[Exposure, RawFile], ...]
    calibrations: Mapping[str, DatasetRef]
    datasets: Mapping[str, xr.Dataset]
    stack: Stack


def _prepare(
    repository: Repository,
    graph: Graph,
    key: tuple[int, str | None],
    raws: list[tuple[Exposure, RawFile]],
    path: tuple[str, ...],
    drop_bad: int,
    task_memory: int,
    band_rows: int | None,
) -> _Part:
    instrument = raws[0][0].instrument
    detector = repository.detector(instrument, key[0])
    exposures = [exposure for exposure, _ in raws]
    calibrations: dict[str, DatasetRef] = {}
    for need in graph.needs:
        found = repository.calibration(need.product, exposures, detector.id, path)
        if found is not None:
            calibrations[need.product] = found
        elif not need.optional:
            raise MissingCalibrationError(
                f"graph {graph.name} needs a {need.product} for {instrument} detector "
                f"{detector.id}, and none holds for these exposures in {', '.join(path)}",
                hint=f"build and certify a {need.product}, or put its collection into -i",
            )
    stack = open_stack(
        detector,
        raws,
        root=str(repository.root),
        band_rows=band_rows or choose_band_rows(detector, len(raws), task_memory),
        drop_bad=drop_bad,
    )
    datasets = {name: repository.open_dataset(ref) for name, ref in calibrations.items()}
    return _Part(instrument, detector, key[1], tuple(raws), calibrations, datasets, stack)


def _build(graph: Graph, resolved: Resolved, parts: list[_Part]) -> list[PlannedProduct]:
    """Call the graph: once for each product, or once for all detectors of a filter."""
    built: dict[tuple[int, str | None], xr.Dataset] = {}
    if graph.together:
        for name in {part.physical_filter for part in parts}:
            of_filter = {p.detector.id: p for p in parts if p.physical_filter == name}
            datasets = graph.build(
                {id_: part.stack for id_, part in of_filter.items()},
                {id_: part.datasets for id_, part in of_filter.items()},
                resolved.config,
            )
            built.update({(id_, name): dataset for id_, dataset in datasets.items()})
    else:
        for part in parts:
            built[part.detector.id, part.physical_filter] = graph.build(
                part.stack, part.datasets, resolved.config
            )
    products = []
    for part in parts:
        dataset = built[part.detector.id, part.physical_filter]
        product_spec(graph.product).check(dataset, assembled=False)
        products.append(
            PlannedProduct(
                graph.product,
                part.instrument,
                part.detector,
                part.physical_filter,
                part.raws,
                part.calibrations,
                part.stack,
                dataset,
            )
        )
    return products
