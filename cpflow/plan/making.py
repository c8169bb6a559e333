"""Make a plan: find the inputs, resolve configuration and calibrations, build lazy products."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cpflow.camera import Detector
from cpflow.errors import MissingCalibrationError, NoDataError, UsageError
from cpflow.exposure import Exposure, RawFile
from cpflow.graph import Graph, GraphConfig, Layer, Resolved, resolve
from cpflow.plan.memory import DEFAULT_TASK_MEMORY, choose_band_rows
from cpflow.plan.plan import Plan, PlannedProduct
from cpflow.products import DIMENSIONS, product_spec
from cpflow.repo import Repository
from cpflow.stack import Stack, open_stack

if TYPE_CHECKING:
    import xarray as xr

    from cpflow.registry import DatasetRef

logger = logging.getLogger(__name__)


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
        _prepare(
            repository, graph, key, group, path, resolved.config, drop_bad, task_memory, band_rows
        )
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
    config: GraphConfig,
    drop_bad: int,
    task_memory: int,
    band_rows: int | None,
) -> _Part:
    instrument = raws[0][0].instrument
    detector = repository.detector(instrument, key[0])
    exposures = [exposure for exposure, _ in raws]
    calibrations: dict[str, DatasetRef] = {}
    for need in graph.needs:
        if not _wanted(need.product, config):
            continue
        found = repository.calibration(need.product, exposures, detector.id, path)
        if found is not None:
            calibrations[need.product] = found
        elif not need.optional:
            raise MissingCalibrationError(
                f"graph {graph.name} needs a {need.product} for {instrument} detector "
                f"{detector.id}, and none holds for these exposures in {', '.join(path)}",
                hint=f"build and certify a {need.product}, or put its collection into -i"
                + (
                    f", or do without: -c isr.{need.product}=false"
                    if hasattr(getattr(config, "isr", None), need.product)
                    else ""
                ),
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


def _wanted(product: str, config: GraphConfig) -> bool:
    """Whether a graph's values ask for a calibration; one that no step names always is."""
    flag = "defect" if product == "defects" else product
    return bool(getattr(getattr(config, "isr", None), flag, True))


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
