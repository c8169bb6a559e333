"""Run a plan: bands to staging, products put together, then published in one transaction."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from cpflow.errors import (
    BuildError,
    ClusterLostError,
    CpflowError,
    InterruptedRunError,
    MissingCalibrationError,
    UsageError,
)
from cpflow.plan import Plan, PlannedProduct
from cpflow.registry import CollectionType, DatasetRef
from cpflow.registry.names import check_collection_name
from cpflow.scheduler.bands import finished_band, write_band
from cpflow.scheduler.binding import Binding
from cpflow.scheduler.events import Event, Listener, ignore
from cpflow.scheduler.executors import Executor, executor
from cpflow.scheduler.finish import SMALL, Finished, Recipe, finish_product
from cpflow.scheduler.profiles import Profile
from cpflow.scheduler.provenance import provenance, user
from cpflow.scheduler.publication import publish, run_names, run_of
from cpflow.store import Staging
from cpflow.verify.summary import sentence

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A finished run.

    `name` is its RUN collection, `chain` the output chain if there is one; `datasets` are the
    products that it published.
    """

    name: str
    chain: str | None
    datasets: tuple[DatasetRef, ...]
    plan: Plan = field(repr=False)
    summaries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def product(self) -> xr.Dataset:
        """The product, lazy, where the run has just one.

        Raises
        ------
        UsageError
            If it has several.
        """
        if len(self.datasets) != 1:
            raise UsageError(
                f"the run has {len(self.datasets)} products",
                hint="use repo.get(type, collections=run.name, detector=...)",
            )
        return self.plan.repository.open_dataset(self.datasets[0])

    def __repr__(self) -> str:
        return f"<Run {self.name}: {len(self.datasets)} products>"


def run_plan(
    plan: Plan,
    *,
    output: str | None = None,
    output_run: str | None = None,
    client: Any = None,
    profile: Profile | None = None,
    listener: Listener = ignore,
) -> Run:
    """Build and publish the products of a plan.

    The same plan with the same output resumes an interrupted run: finished bands are kept.

    Parameters
    ----------
    plan : Plan
    output : str, optional
        CHAINED collection; the products go to a RUN ``<output>/<UTC time>`` at its front. By
        default ``u/<user>/<product>Gen``.
    output_run : str, optional
        Name of the RUN instead; without `output` no chain is made.
    client : distributed.Client, optional
        An open client to run on.
    profile : Profile, optional
        Where to run otherwise; threads of this process by default.
    listener : callable
        Hears an `Event` for everything that happens.

    Raises
    ------
    BuildError
        If products failed; those that did not are published all the same.
    InterruptedRunError
        If the user stopped it.
    """
    if output is None and output_run is None:
        output = f"u/{user()}/{plan.graph.product}Gen"
    _check_output(plan, output, output_run)
    store = plan.repository.store
    staging = store.staging(f"{plan.identity[:24]}{_short(output, output_run)}")
    with store.locked(staging):
        facts = _open_run(staging, plan, output, output_run)
        binding = Binding(staging)
        finished: dict[str, Finished] = {}
        failed: dict[str, CpflowError] = {}
        try:
            with executor(profile or Profile(), client) as runner:
                for product in plan.products:
                    try:
                        _check_promises(product, failed)
                        finished[product.slug] = _build(
                            product,
                            plan,
                            run_of(product, plan, facts),
                            staging,
                            binding,
                            runner,
                            listener,
                        )
                    except (InterruptedRunError, ClusterLostError):
                        raise
                    except CpflowError as error:
                        failed[product.slug] = error
                        logger.error("%s failed: %s", product.label, error)
                        listener(Event("failed", product.label, text=str(error)))
        except KeyboardInterrupt as error:
            raise InterruptedRunError(
                "stopped; finished bands are kept",
                hint="run the same command again to resume",
            ) from error
        refs = publish(plan, staging, store, facts, finished, failed)
        summaries = {slug: result.summary for slug, result in finished.items()}
        run = Run(str(facts["run"]), facts.get("output"), refs, plan, summaries)
        for ref in run.datasets:
            listener(Event("published", str(ref), text=run.name))
        shutil.rmtree(staging.path / "bands", ignore_errors=True)
    store.discard(staging)
    if failed:
        raise BuildError(
            f"{len(failed)} of {len(plan.products)} products failed in run {run.name}",
            causes=list(failed.values()),
        )
    return run


def _short(output: str | None, output_run: str | None) -> str:
    import hashlib

    return hashlib.sha256(f"{output}\0{output_run}".encode()).hexdigest()[:8]


def _check_output(plan: Plan, output: str | None, output_run: str | None) -> None:
    # A name that cannot be is refused before anything is computed; the run's is longer.
    for name in (output, output_run, None if output is None else f"{output}/00000000T000000Z"):
        if name is not None:
            check_collection_name(name)
    registry = plan.repository.registry
    names = set(registry.collection_names())
    for name in plan.inputs:
        registry.collection(name)
    if output is not None and output in names:
        kind = registry.collection(output).type
        if kind is not CollectionType.CHAINED:
            raise UsageError(
                f"output {output} exists and is a {kind} collection, not a chain",
                hint="name another one with -o",
            )
    for name in () if output_run is None else run_names(plan, output_run):
        check_collection_name(name)
        if name in names:
            raise UsageError(f"run {name} exists", hint="name another one with --output-run")


def _open_run(
    staging: Staging, plan: Plan, output: str | None, output_run: str | None
) -> dict[str, Any]:
    """Return the facts of the interrupted run in `staging`, or those of a new one."""
    facts = staging.facts()
    here = {"pid": os.getpid(), "host": socket.gethostname()}
    if facts:
        logger.info("resuming run %s", facts["run"])
    else:
        name = output_run or f"{output}/{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}"
        taken = set(plan.repository.registry.collection_names())
        unique, count = name, 1
        while taken.intersection(run_names(plan, unique)):
            count += 1
            unique = f"{name}-{count}"
        facts = {
            "run": unique,
            "output": output,
            "identity": plan.identity,
            "graph": plan.graph.name,
            "query": plan.query,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    facts.update(here)
    staging.write_facts(facts)
    return facts


def _build(
    product: PlannedProduct,
    plan: Plan,
    run: str,
    staging: Staging,
    binding: Binding,
    runner: Executor,
    listener: Listener,
) -> Finished:
    """Compute the bands that are missing, then put the product together."""
    from dask.delayed import delayed

    directory = staging.bands(product.slug)
    recipe = _recipe(product)
    image_names = tuple(recipe.images)
    tasks: list[Any] = []
    records: list[Any] = []
    write = delayed(write_band, pure=False)

    def add(name: str, variables: Sequence[str], arrays: Sequence[Any]) -> None:
        record = finished_band(directory, name)
        if record is None:
            task = write(
                str(directory),
                name,
                tuple(variables),
                *arrays,
                dask_key_name=f"write-{product.slug}-{name}-{staging.path.name}",
            )
            tasks.append(task)
            records.append(task)
        else:
            records.append(record)

    # Unoptimised: Dask would fuse the graph of each variable by itself, and run what they share
    # once for every variable.
    def blocks_of(variable: str) -> Any:
        return product.dataset[variable].data.to_delayed(optimize_graph=False)

    blocks = {name: blocks_of(name) for name in image_names}
    for index, (name, _) in enumerate(recipe.bands):
        add(name, image_names, [blocks[variable][0, index, 0] for variable in image_names])
    if recipe.small:
        small = tuple(recipe.small)
        add(SMALL, small, [blocks_of(variable).item() for variable in small])
    kept = len(records) - len(tasks)
    if kept:
        listener(Event("resumed", product.label, kept, len(records)))
        logger.info("%s: %d of %d parts are done already", product.label, kept, len(records))
    target = staging.product(product.slug)
    shutil.rmtree(target, ignore_errors=True)
    # Only calls of cpflow's own functions go to the workers, and only plain data with them.
    finish = delayed(finish_product, pure=False)(
        recipe,
        str(directory),
        str(target),
        provenance(plan, product, run),
        records,
        dask_key_name=f"finish-{product.slug}-{uuid.uuid4().hex[:8]}",
    )
    total = len(finish.__dask_graph__())
    listener(Event("started", product.label, 0, total))
    done = 0

    def tick(key: str) -> None:
        nonlocal done
        done += 1
        listener(Event("progress", product.label, done, total, key))

    result: Finished = runner.compute([binding.bind(finish, product, runner, tick)], tick)[0]
    _log_summary(product, result)
    listener(Event("finished", product.label, total, total))
    return result


def _recipe(product: PlannedProduct) -> Recipe:
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


def _log_summary(product: PlannedProduct, result: Finished) -> None:
    if "verdict" in result.summary:
        level = logging.INFO if result.summary["verdict"] == "pass" else logging.WARNING
        logger.log(level, "%s: %s", product.label, sentence(result.summary))
        return
    for amplifier, noise in result.summary.get("read_noise_adu", {}).items():
        logger.info("%s: empirical read noise of %s: %.3f adu", product.label, amplifier, noise)
    if result.summary.get("dropped"):
        logger.warning(
            "%s: left out exposures %s",
            product.label,
            ", ".join(map(str, result.summary["dropped"])),
        )
    if "clip_fraction" in result.summary:
        logger.info(
            "%s: clip fraction %s, %s pixels filled",
            product.label,
            result.summary["clip_fraction"],
            result.summary.get("n_filled"),
        )


def _check_promises(product: PlannedProduct, failed: Mapping[str, CpflowError]) -> None:
    """Refuse a product that is made with one that failed."""
    for source in product.promises:
        if source.slug in failed:
            raise MissingCalibrationError(
                f"{product.label} is not built: the {source.type} that it needs failed",
                hint=f"see to {source.label} first",
            )
