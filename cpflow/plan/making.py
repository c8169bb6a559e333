"""Make a plan: find the inputs, resolve configuration and calibrations, build lazy products."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cpflow.camera import Detector
from cpflow.errors import ConfigurationError, CpflowError, NoDataError, UsageError
from cpflow.exposure import Exposure, RawFile
from cpflow.graph import ChainGraph, ChainStep, Graph, Layer, Resolved, load_single, resolve
from cpflow.graph.config import flatten
from cpflow.plan.beside import raws_beside, stacks_beside
from cpflow.plan.lookup import Calibration, find_calibrations
from cpflow.plan.memory import (
    DEFAULT_TASK_MEMORY,
    MOST_TASKS,
    band_memory,
    choose_band_rows,
    most_bands,
)
from cpflow.plan.plan import Plan
from cpflow.plan.product import PlannedProduct, identity_of_others
from cpflow.products import DIMENSIONS, is_image, product_spec
from cpflow.registry import DatasetRef
from cpflow.repo import Repository
from cpflow.sizes import size_text
from cpflow.stack import Memo, Stack, open_stack
from cpflow.steps.brighter_fatter import CorrectBrighterFatter

logger = logging.getLogger(__name__)

Raws = Sequence[tuple[Exposure, RawFile]]


def make_plan(
    repository: Repository,
    graph: Graph | ChainGraph,
    query: str = "",
    *,
    exposures: Sequence[Exposure] | None = None,
    inputs: Sequence[str] = (),
    layers: Sequence[Layer] = (),
    drop_bad: int = 0,
    task_memory: int = DEFAULT_TASK_MEMORY,
    band_rows: int | None = None,
    candidate: str | None = None,
    runner: Callable[..., Any] | None = None,
) -> Plan:
    """Plan a run: find the inputs, resolve configuration and calibrations, build lazy products.

    Parameters
    ----------
    repository : Repository
    graph : Graph or ChainGraph
        The products of a step of a chain may use those of the steps before it.
    query : str
        Data query; the graph's own selection is ANDed to it.
    exposures : sequence of Exposure, optional
        Restrict the query to these.
    inputs : sequence of str
        Collections in search order; by default the instrument's raws and its calibrations.
    layers : sequence of Layer
        Configuration over the graph's defaults and the instrument's overlay. In a chain a key may
        begin with the name of a step; one that does not holds for every step that has it.
    drop_bad : int
        How many unusable exposures each product may leave out.
    task_memory : int
        Bytes that a reduce task may hold; decides the band height.
    band_rows : int, optional
        Band height, instead of the one that fits `task_memory`.
    candidate : str, optional
        Collection that holds what a verification is of; by default it is found as the other
        calibrations are.
    runner : callable, optional
        What `Plan.run` calls.

    Raises
    ------
    NoDataError
        If no exposures are left, naming the step at which the count fell to zero.
    MissingCalibrationError, AmbiguousCalibrationError
    ConfigurationError, QueryError
    """
    path = repository.search_path(inputs)
    selected = repository.select(query, collections=path, exposures=exposures)
    if not selected:
        raise NoDataError(
            repository.explain_empty(query, path),
            hint="`cpflow records REPO exposure --where ...` shows what a query selects",
        )
    instruments = sorted({e.instrument for e, _ in selected})
    if len(instruments) != 1:
        raise UsageError(
            f"the query selects exposures of several instruments: {', '.join(instruments)}",
            hint="add instrument='...' to it",
        )
    if candidate is not None and not (isinstance(graph, Graph) and graph.verifies):
        raise UsageError(
            f"graph {graph.name} verifies nothing, so it has no candidate",
            hint="name the calibrations that it uses with -i",
        )
    making = _Making(repository, path, layers, drop_bad, task_memory, band_rows, candidate)
    products: list[PlannedProduct] = []
    if isinstance(graph, Graph):
        products += making.products(graph, selected, [], told=exposures is None)
    else:
        check_layers(graph, layers, repository)
        for step in graph.steps:
            products += making.step(step, selected, products)
        if not products:
            raise NoDataError(
                f"none of the steps of {graph.name} takes any of the {len(selected)} raw frames "
                "that the query selects"
            )
    notes = tuple(making.notes)
    plan = Plan(graph, repository, tuple(products), path, query, drop_bad, notes, runner)
    for note in notes:
        logger.warning("%s", note)
    return plan


def check_layers(chain: ChainGraph, layers: Sequence[Layer], repository: Repository) -> None:
    """Refuse values that no step of a chain has.

    Raises
    ------
    ConfigurationError
    """
    names = {step.name for step in chain.steps}
    known: set[str] = set()
    for step in chain.steps:
        config = load_single(step.graph, repository.root).config_class()
        known |= set(flatten(config.model_dump()))
    for layer in layers:
        for key in layer.values:
            if key.partition(".")[0] not in names and key not in known:
                raise ConfigurationError(
                    f"{layer.origin}: no step of chain {chain.name} has a configuration value "
                    f"{key!r}",
                    hint=f"write STEP.{key} for a step of {', '.join(names)}",
                )


@dataclass(frozen=True)
class _Making:
    """What all products of a plan have in common while it is made."""

    repository: Repository
    path: tuple[str, ...]
    layers: Sequence[Layer]
    drop_bad: int
    task_memory: int
    band_rows: int | None
    candidate: str | None = None
    memo: Memo = field(default_factory=Memo)
    notes: dict[str, None] = field(default_factory=dict)
    """What was chosen otherwise than asked for, each once."""

    def step(
        self, step: ChainStep, selected: Raws, planned: Sequence[PlannedProduct]
    ) -> list[PlannedProduct]:
        """Plan one step of a chain; one without exposures is left out, and said so."""
        graph = load_single(step.graph, self.repository.root)
        if step.select is not None:
            graph = replace(graph, inputs=dict.fromkeys(graph.inputs, step.select))
        wanted = [*graph.inputs.values()] if step.when is None else [step.when]
        for select in wanted:
            if not any(select.matches(e) for e, _ in selected):
                logger.warning(
                    "step %s is left out: the query selects nothing with %s",
                    step.name,
                    select.where,
                )
                return []
        known = set(flatten(graph.config_class().model_dump()))
        layers = [Layer(f"step {step.name}", flatten(step.config))]
        for layer in self.layers:
            values = {}
            for key, value in layer.values.items():
                first, _, rest = key.partition(".")
                # A step may be called as a group of values is: as "defects".
                if first == step.name and (rest in known or key not in known):
                    values[rest] = value
                elif key in known:
                    values[key] = value
            layers.append(Layer(layer.origin, values))
        making = replace(self, layers=layers)
        try:
            return making.products(graph, selected, planned, told=False, step=step.name)
        except CpflowError as error:
            error.message = f"step {step.name}: {error.message}"
            raise

    def products(
        self,
        graph: Graph,
        selected: Raws,
        planned: Sequence[PlannedProduct],
        *,
        told: bool,
        step: str = "",
    ) -> list[PlannedProduct]:
        """Plan the products of one graph."""
        matching = _matching(graph, selected, told)
        instrument = self.repository.instrument(matching[0][0].instrument)
        overlays = [
            Layer(f"instrument {instrument.name}", dict(instrument.overlays.get(key, {})))
            for key in ("*", graph.name)
        ]
        resolved = resolve(graph.config_class, [*overlays, *self.layers])
        groups = _groups(graph.product, matching)
        parts = [
            self._prepare(graph, resolved, key, group, planned, len(groups))
            for key, group in groups.items()
        ]
        return _build(graph, resolved, parts, step)

    def _prepare(
        self,
        graph: Graph,
        resolved: Resolved,
        key: tuple[int, str | None],
        raws: list[tuple[Exposure, RawFile]],
        planned: Sequence[PlannedProduct],
        products: int,
    ) -> _Part:
        instrument = raws[0][0].instrument
        detector = self.repository.detector(instrument, key[0])
        calibrations = find_calibrations(
            self.repository,
            graph,
            resolved.config,
            [exposure for exposure, _ in raws],
            detector.id,
            self.path,
            planned,
            self.candidate,
        )
        if not graph.inputs:
            # Nothing is read of the exposures: they only say which calibrations are meant.
            raws = []
        stack = open_stack(
            detector,
            raws,
            root=str(self.repository.root),
            band_rows=self._rows_of_bands(detector, len(raws), resolved, calibrations, products),
            drop_bad=self.drop_bad,
            memo=self.memo,
        )
        datasets = {name: found.dataset(self.repository) for name, found in calibrations.items()}
        beside = stacks_beside(
            self.repository, self.path, instrument, stack, calibrations.get("crosstalk")
        )
        return _Part(
            instrument,
            detector,
            key[1],
            tuple(raws),
            calibrations,
            datasets,
            replace(stack, beside=beside),
        )

    def _rows_of_bands(
        self,
        detector: Detector,
        exposures: int,
        resolved: Resolved,
        calibrations: Mapping[str, Calibration],
        products: int,
    ) -> int:
        """Return the band height that fits the memory, and a plan of so many products."""
        if self.band_rows is not None:
            return min(self.band_rows, detector.imaging_shape[0])
        images = sum(len(calibrations[name].sources) for name in calibrations if is_image(name))
        halo = _halo(resolved)
        fitting, chosen = (
            choose_band_rows(
                detector, exposures, self.task_memory, halo=halo, images=images, most=most
            )
            for most in (None, most_bands(products, exposures, images))
        )
        if chosen != fitting:
            size = band_memory(detector, exposures, chosen, halo=halo, images=images)
            note = (
                f"bands of {products} products have {chosen} rows and take {size_text(size)} a "
                f"task, more than {size_text(self.task_memory)}, so that there are not more than "
                f"{MOST_TASKS:,} tasks; putting a product together takes as much. --band-rows "
                f"{fitting} has its way"
            )
            self.notes.setdefault(note)
        return chosen


def _halo(resolved: Resolved) -> int:
    """Return the rows beside a band that corrections will need, as far as it matters."""
    options = getattr(resolved.config, "isr", None)
    if options is None or not options.brighter_fatter:
        return 0
    return CorrectBrighterFatter(options).halo


def _matching(graph: Graph, selected: Raws, told: bool) -> Raws:
    """Return the raw frames that a graph takes."""
    if not graph.inputs:
        return selected
    ((_, select),) = graph.inputs.items()
    matching = [(e, raw) for e, raw in selected if select.matches(e)]
    if not matching:
        types = sorted({e.observation_type for e, _ in selected})
        raise NoDataError(
            f"the query selects {len(selected)} raw frames of type {', '.join(types)}, but graph "
            f"{graph.name} takes only those with {select.where}",
            hint="is it the right graph? `cpflow records REPO exposure` lists what there is",
        )
    if told and len(matching) < len(selected):
        logger.info(
            "graph %s takes %d of the %d raw frames that the query selects",
            graph.name,
            len(matching),
            len(selected),
        )
    return matching


def _groups(
    product: str, raws: Raws
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
    calibrations: Mapping[str, Calibration]
    datasets: Mapping[str, Any]
    stack: Stack


class _Others:
    """What decides the products of several detectors, put together once for all of them."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], tuple[Any, Any, str]] = {}

    def of(
        self, part: _Part, together: Sequence[_Part]
    ) -> tuple[tuple[tuple[Exposure, RawFile], ...], tuple[DatasetRef | PlannedProduct, ...], str]:
        """Return raw frames, calibrations, and the hash of both; empty for one by itself."""
        beside = raws_beside(part.stack)
        if len(together) < 2 and not beside:
            return (), (), ""
        several = together if len(together) > 1 else ()
        # Parts live as long as this: none gets the identity of another.
        key = (*map(id, several), *([id(part)] if beside else []))
        if key not in self._known:
            pairs = [*(pair for one in several for pair in one.raws), *beside]
            raws = tuple({(raw.detector, e.exposure): (e, raw) for e, raw in pairs}.values())
            sources = tuple(
                source
                for one in several
                for calibration in one.calibrations.values()
                for source in calibration.sources
            )
            self._known[key] = raws, sources, identity_of_others(raws, sources)
        return self._known[key]


def _candidate(graph: Graph, part: _Part) -> dict[str, str]:
    """Return what a verification says of the product that it is of."""
    assert graph.verifies is not None
    found = part.calibrations.get(graph.verifies)
    if found is None:
        return {"verifies": graph.verifies}
    (source,) = found.sources
    if isinstance(source, PlannedProduct):
        raise UsageError(
            f"{source.label} is not built yet, so it cannot be verified",
            hint="run the graph that verifies it after the one that builds it",
        )
    return {
        "verifies": graph.verifies,
        "candidate_id": source.id,
        "candidate_checksum": source.checksum,
        "candidate_run": source.run,
    }


def _build(graph: Graph, resolved: Resolved, parts: list[_Part], step: str) -> list[PlannedProduct]:
    """Call the graph: once for each product, or once for all detectors of a filter."""
    built: dict[tuple[int, str | None], Any] = {}
    together: dict[str | None, tuple[_Part, ...]] = {}
    if graph.together:
        for name in sorted({part.physical_filter for part in parts}, key=str):
            of_filter = {p.detector.id: p for p in parts if p.physical_filter == name}
            together[name] = tuple(of_filter.values())
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
    others = _Others()
    for part in parts:
        dataset = built[part.detector.id, part.physical_filter]
        product_spec(graph.product).check(dataset, assembled=False)
        if graph.verifies:
            dataset = dataset.assign_attrs(_candidate(graph, part))
        raws, sources, hashed = others.of(part, together.get(part.physical_filter, ()))
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
                graph,
                resolved,
                step,
                also_from=raws,
                also_with=sources,
                also_identity=hashed,
            )
        )
    return products
