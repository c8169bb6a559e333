"""Run a plan: bands to staging, products put together, then published in one transaction."""

from __future__ import annotations

import logging
import os
import shutil
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpflow.errors import (
    BuildError,
    InterruptedRunError,
    UsageError,
)
from cpflow.plan import Plan
from cpflow.registry import CollectionType, DatasetRef
from cpflow.registry.names import check_collection_name
from cpflow.scheduler.events import Event, Listener, ignore
from cpflow.scheduler.executors import executor
from cpflow.scheduler.fitting import check_workers, worker_memory
from cpflow.scheduler.flow import Flow
from cpflow.scheduler.journal import recorded
from cpflow.scheduler.observe import check_performance_report, observed
from cpflow.scheduler.profiles import Profile, ThreadsProfile
from cpflow.scheduler.provenance import user
from cpflow.scheduler.publication import publish, run_names, run_of
from cpflow.scheduler.tally import RunSummary
from cpflow.store import Staging

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A finished run.

    `name` is its RUN collection, `chain` the output chain if there is one; `datasets` are the
    products that it published, `summaries` the numbers of each, and `summary` what it came to.
    """

    name: str
    chain: str | None
    datasets: tuple[DatasetRef, ...]
    plan: Plan = field(repr=False)
    summaries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    summary: RunSummary | None = field(default=None, repr=False)

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
    in_flight: int | None = None,
    performance_report: str | Path | None = None,
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
    in_flight : int, optional
        Products that are computed at once; by default `Plan.in_flight`. It decides how busy the
        cores are and what the scheduler holds, never the values.
    performance_report : path, optional
        HTML file with what Dask saw of the run; on a cluster only.

    Raises
    ------
    BuildError
        If products failed; those that did not are published all the same.
    InterruptedRunError
        If the user stopped it.
    UsageError
        If the workers of the profile are too small for the plan.
    """
    if output is None and output_run is None:
        output = f"u/{user()}/{plan.graph.product}Gen"
    _check_output(plan, output, output_run)
    report = check_performance_report(performance_report, profile, client)
    if profile is None:
        profile = ThreadsProfile()
    if client is None:
        check_workers(plan, profile)
    store = plan.repository.store
    staging = store.staging(f"{plan.identity[:24]}{_short(output, output_run)}")
    with ExitStack() as stack:
        stack.enter_context(store.locked(staging))
        facts = _open_run(staging, plan, output, output_run)
        tell, tally = stack.enter_context(recorded(store, plan, str(facts["run"]), listener))
        try:
            with (
                executor(profile, client, memory=worker_memory(plan, profile)) as runner,
                observed(runner, tell, report),
            ):
                flow = Flow(
                    plan,
                    staging,
                    runner,
                    tell,
                    lambda product: run_of(product, plan, facts),
                    in_flight or plan.in_flight(runner.cores),
                )
                try:
                    flow.run()
                finally:
                    runner.close()
        except KeyboardInterrupt as error:
            raise InterruptedRunError(
                "stopped; finished bands are kept",
                hint="run the same command again to resume",
            ) from error
        finished = flow.finished
        # In the order of the plan, whatever the order in which they were done.
        failed = {p.slug: flow.failed[p.slug] for p in plan.products if p.slug in flow.failed}
        refs = publish(plan, staging, store, facts, finished, failed, tally.summary(tally.state()))
        summaries = {slug: result.summary for slug, result in finished.items()}
        for ref in refs:
            tell(Event("published", str(ref), text=ref.run))
        shutil.rmtree(staging.path / "bands", ignore_errors=True)
    store.discard(staging)
    run = Run(str(facts["run"]), facts.get("output"), refs, plan, summaries, tally.summary())
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
