"""``cpflow run``."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cpflow.cli.run_options import planned, run_options

if TYPE_CHECKING:
    from cpflow.plan import Plan
    from cpflow.registry import DatasetRef
    from cpflow.scheduler.tally import RunSummary
    from cpflow.session import Repo

logger = logging.getLogger(__name__)

# What a dry run says the time of, and how many products it lists.
_CORES = (100, 1000)
_SHOWN = 12


@click.command("run")
@run_options
@click.option(
    "--cluster",
    default="threads",
    show_default=True,
    help="Where to run: a profile, its file, tcp://HOST:PORT or tls://HOST:PORT.",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(cluster: str, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Build products with a graph.

    The same command again resumes an interrupted run.

    \b
    cpflow run -b repo -p bias -o u/me/biasGen -d "detector=0 AND day_obs = 20210121"
    """
    from cpflow.cli.output import show_json, shown_progress
    from cpflow.cli.stopping import stopped_by_sigterm
    from cpflow.errors import BuildError
    from cpflow.repo.verdicts import unwaived
    from cpflow.scheduler import load_profile, run_plan
    from cpflow.session import Repo
    from cpflow.verify.summary import refuse_failures

    output: str | None = options["output"]
    with stopped_by_sigterm(), Repo(options["repo"]) as repository:
        profile = load_profile(cluster, workers=options["processes"], repo_root=repository.root)
        plan = planned(repository, options)
        if dry_run:
            show_json(describe(plan)) if as_json else _show(plan)
            return
        with shown_progress() as (listener, tally):
            try:
                run = run_plan(
                    plan,
                    output=output,
                    output_run=options["output_run"],
                    profile=profile,
                    listener=listener,
                    performance_report=options["performance_report"],
                )
            except BuildError:
                if as_json:
                    summary = tally.summary()
                    made = repository.registry.datasets("*", collections=[summary.run])
                    show_json(_made(repository, summary, output, made))
                raise
        if as_json:
            show_json(_made(repository, tally.summary(), run.chain, run.datasets))
        else:
            for ref in run.datasets:
                click.echo(f"{ref}: {repository.store.absolute(ref.path)}")
        refuse_failures(unwaived(repository, run.datasets))


def describe(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data."""
    from dataclasses import asdict

    from cpflow.plan import project

    return {
        "graph": plan.graph.name,
        "identity": plan.identity,
        "tasks": plan.tasks,
        "bytes_to_read": plan.bytes_to_read,
        "task_memory": plan.task_memory,
        "notes": list(plan.notes),
        "on_cores": [
            {
                "cores": cores,
                "products_in_flight": plan.in_flight(cores),
                "scheduler_memory": plan.scheduler_memory(cores),
                "seconds": project(plan, cores).seconds,
                "computing_seconds": project(plan, cores).computing_seconds,
                "core_seconds": project(plan, cores).core_seconds,
                "assumptions": list(project(plan, cores).assumptions),
            }
            for cores in _CORES
        ],
        "inputs": list(plan.inputs),
        "products": [
            {
                **({"step": p.step} if p.step else {}),
                "graph": p.graph.name,
                "config": p.resolved.as_dict(),
                "config_origins": dict(p.resolved.origins),
                "type": p.type,
                "instrument": p.instrument,
                "detector": p.detector.id,
                "physical_filter": p.physical_filter,
                **asdict(p.facts),
                "exposures": [e.exposure for e, _ in p.raws],
                "calibrations": {name: str(found) for name, found in p.calibrations.items()},
            }
            for p in plan.products
        ],
    }


def _show(plan: Plan) -> None:
    from cpflow.sizes import size_text

    click.echo(f"graph {plan.graph.name}: {plan.graph.title}")
    for p in plan.products[:_SHOWN]:
        facts = p.facts
        step = f"{p.step}: " if p.step else ""
        click.echo(f"{step}{p.label}, from {facts.exposures} exposures")
        click.echo(
            f"  {facts.tasks} tasks, {facts.bands} bands of {facts.band_rows} rows; "
            f"reads {size_text(facts.bytes_to_read)}"
        )
        click.echo(
            f"  memory: {size_text(facts.task_memory)} a task, "
            f"{size_text(facts.finish_memory)} to put the product together"
        )
        for name, calibration in p.calibrations.items():
            click.echo(f"  {name}: {calibration}")
    if len(plan.products) > _SHOWN:
        click.echo(f"and {len(plan.products) - _SHOWN} more products; --json shows all of them")
    click.echo(
        f"{len(plan.products)} products: {plan.tasks} tasks, reads {size_text(plan.bytes_to_read)}"
    )
    for note in plan.notes:
        click.echo(f"note: {note}")
    cores = len(os.sched_getaffinity(0))
    click.echo(f"memory: {size_text(plan.memory(cores))} in all with {cores} tasks at once")
    _show_projections(plan)
    told: set[str] = set()
    for p in plan.products:
        if (p.step or p.graph.name) in told:
            continue
        told.add(p.step or p.graph.name)
        prefix = f"{p.step}." if p.step else ""
        values = p.resolved.as_dict()
        for key, origin in p.resolved.origins.items():
            click.echo(f"  {prefix}{key} = {values.get(key)!r} ({origin})")
    click.echo("dry run: nothing was written")


def _show_projections(plan: Plan) -> None:
    from cpflow.plan import project
    from cpflow.sizes import size_text

    for cores in _CORES:
        found = project(plan, cores)
        click.echo(
            f"on {cores} cores: {_duration(found.seconds)} projected "
            f"({_duration(found.computing_seconds)} if files were read without waiting), "
            f"{plan.in_flight(cores)} products in flight, "
            f"{size_text(plan.scheduler_memory(cores))} for the scheduler"
        )
    for assumption in found.assumptions:
        click.echo(f"  if {assumption}")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _made(
    repository: Repo, summary: RunSummary, output: str | None, datasets: Sequence[DatasetRef]
) -> dict[str, Any]:
    return {
        "run": summary.run,
        "output": output,
        "datasets": [_dataset(repository, ref) for ref in datasets],
        "summary": summary.as_dict(),
    }


def _dataset(repository: Repo, ref: Any) -> dict[str, Any]:
    return {
        "id": ref.id,
        "type": ref.type,
        "run": ref.run,
        "checksum": ref.checksum,
        "path": str(repository.store.absolute(ref.path)),
        "summary": ref.provenance.get("summary", {}),
    }
