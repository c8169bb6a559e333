"""Run a plan: bands to staging, products put together, then published in one transaction."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpflow.errors import (
    BuildError,
    InterruptedRunError,
    UsageError,
)
from cpflow.plan import Plan
from cpflow.registry import DatasetRef
from cpflow.scheduler.events import Event, Listener, ignore
from cpflow.scheduler.executors import executor
from cpflow.scheduler.fitting import check_workers, worker_memory
from cpflow.scheduler.flow import Flow
from cpflow.scheduler.journal import recorded
from cpflow.scheduler.observe import check_performance_report, observed
from cpflow.scheduler.opening import check_output, open_run
from cpflow.scheduler.profiles import Profile, ThreadsProfile
from cpflow.scheduler.provenance import user
from cpflow.scheduler.publication import publish, published, run_of
from cpflow.scheduler.starting import check_installed
from cpflow.scheduler.tally import RunSummary
from cpflow.scheduler.task_errors import room_needed

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
        If products failed; those that did not are published all the same, and the same plan
        with the same output does the rest, into the same RUN.
    StorageError
        If a file system is full.
    InterruptedRunError
        If the user stopped it.
    UsageError
        If the workers of the profile are too small for the plan, or another process is at it.
    AccessError
        If the user may not write to the repository.
    ConfigurationError
        If the profile needs a package that is not installed.
    """
    if output is None and output_run is None:
        output = f"u/{user()}/{plan.graph.product}Gen"
    store = plan.repository.store
    staging = store.staging(f"{plan.identity[:24]}{_short(output, output_run)}")
    check_output(plan, output, output_run, resumed=staging.facts().get("run"))
    report = check_performance_report(performance_report, profile, client)
    if profile is None:
        profile = ThreadsProfile()
    if client is None:
        check_installed(profile)
        check_workers(plan, profile)
    with ExitStack() as stack:
        stack.enter_context(room_needed(store.root))
        stack.enter_context(store.locked(staging))
        facts = open_run(staging, plan, output, output_run)
        made = published(plan, facts)
        tell, tally = stack.enter_context(recorded(store, plan, str(facts["run"]), listener))
        # Within, too, for the journal to know.
        stack.enter_context(room_needed(store.root))
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
                    {slug: store.absolute(ref.path) for slug, ref in made.items()},
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
        summary = tally.summary(tally.state())
        refs = publish(plan, staging, store, facts, finished, failed, summary, made)
        summaries = {slug: ref.provenance.get("summary", {}) for slug, ref in made.items()}
        summaries.update({slug: result.summary for slug, result in finished.items()})
        for ref in refs:
            if ref not in made.values():
                tell(Event("published", str(ref), text=ref.run))
        for slug in finished:
            shutil.rmtree(staging.bands(slug), ignore_errors=True)
        if not failed:
            # While it is held: whoever waits for it begins a run of his own.
            store.discard(staging)
    run = Run(str(facts["run"]), facts.get("output"), refs, plan, summaries, tally.summary())
    if failed:
        raise BuildError(
            f"{len(failed)} of {len(plan.products)} products failed in run {run.name}",
            causes=list(failed.values()),
            hint="what is finished is kept: mend the cause, and the same command does the rest",
        )
    return run


def _short(output: str | None, output_run: str | None) -> str:
    import hashlib

    return hashlib.sha256(f"{output}\0{output_run}".encode()).hexdigest()[:8]
