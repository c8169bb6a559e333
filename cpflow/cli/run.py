"""``cpflow run``."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cpflow.plan import Plan
    from cpflow.session import Repo

logger = logging.getLogger(__name__)


@click.command("run")
@click.option("-b", "--repo", "--butler-config", "repo", required=True, help="Repository.")
@click.option("-p", "--graph", "--pipeline", "graph", required=True, help="Graph name or file.")
@click.option("-i", "--input", "inputs", multiple=True, help="Collections, in search order.")
@click.option("-o", "--output", help="Output chain; the new RUN goes to its front.")
@click.option("--output-run", help="Name of the RUN; without -o no chain is made.")
@click.option("-d", "--data-query", "query", default="", help="Data query.")
@click.option("-c", "--config", "assignments", multiple=True, metavar="STEP.OPTION=VALUE")
@click.option("-C", "--config-file", "files", multiple=True, metavar="FILE.yaml")
@click.option("-j", "--processes", type=click.IntRange(1), help="Tasks at once.")
@click.option(
    "--cluster", default="threads", show_default=True, help="Profile, its file, or tcp://HOST:PORT."
)
@click.option("--drop-bad", default=0, help="Leave out up to so many unusable exposures.")
@click.option("--memory", default="128MiB", show_default=True, help="What one task may hold.")
@click.option("--band-rows", type=click.IntRange(1), help="Rows per task, instead of --memory.")
@click.option("--candidate", help="Collection with the product that a verification is of.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("-n", "--cores-per-task", type=int, hidden=True, help="Taken for pipetask's sake.")
@click.option("--register-dataset-types", is_flag=True, hidden=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    repo: str,
    graph: str,
    inputs: tuple[str, ...],
    output: str | None,
    output_run: str | None,
    query: str,
    assignments: tuple[str, ...],
    files: tuple[str, ...],
    processes: int | None,
    cluster: str,
    drop_bad: int,
    memory: str,
    band_rows: int | None,
    candidate: str | None,
    dry_run: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Build products with a graph.

    The same command again resumes an interrupted run.

    \b
    cpflow run -b repo -p bias -o u/me/biasGen -d "detector=0 AND day_obs = 20210121"
    """
    from cpflow.cli.output import comma_list, show_json
    from cpflow.graph.config import parse_assignments
    from cpflow.report.progress import progress_listener
    from cpflow.scheduler import load_profile, run_plan
    from cpflow.session import Repo
    from cpflow.verify.summary import refuse_failures

    profile = load_profile(cluster, workers=processes)
    with Repo(repo) as repository:
        plan = repository.plan(
            graph,
            query,
            inputs=comma_list(inputs),
            config=parse_assignments(assignments),
            config_files=files,
            drop_bad=drop_bad,
            task_memory=_bytes(memory),
            band_rows=band_rows,
            candidate=candidate,
        )
        if dry_run:
            show_json(describe(plan)) if as_json else _show(plan)
            return
        with progress_listener() as listener:
            run = run_plan(
                plan, output=output, output_run=output_run, profile=profile, listener=listener
            )
        if as_json:
            show_json(
                {
                    "run": run.name,
                    "output": run.chain,
                    "datasets": [_dataset(repository, ref) for ref in run.datasets],
                }
            )
        else:
            for ref in run.datasets:
                click.echo(f"{ref}: {repository.store.absolute(ref.path)}")
        refuse_failures({str(ref): ref.provenance["summary"] for ref in run.datasets})


def describe(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data."""
    from dataclasses import asdict

    return {
        "graph": plan.graph.name,
        "identity": plan.identity,
        "tasks": plan.tasks,
        "bytes_to_read": plan.bytes_to_read,
        "task_memory": plan.task_memory,
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
    from cpflow.plan import size_text

    click.echo(f"graph {plan.graph.name}: {plan.graph.title}")
    for p in plan.products:
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
    cores = len(os.sched_getaffinity(0))
    click.echo(f"memory: {size_text(plan.memory(cores))} in all with {cores} tasks at once")
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


def _dataset(repository: Repo, ref: Any) -> dict[str, Any]:
    return {
        "id": ref.id,
        "type": ref.type,
        "run": ref.run,
        "checksum": ref.checksum,
        "path": str(repository.store.absolute(ref.path)),
        "summary": ref.provenance.get("summary", {}),
    }


def _bytes(text: str) -> int:
    from dask.utils import parse_bytes

    from cpflow.errors import UsageError

    try:
        value = int(parse_bytes(text))
    except ValueError as error:
        raise UsageError(f"cannot read a size from {text!r}", hint="as in 256MiB") from error
    if value < 1:
        raise UsageError(f"{text!r} is no size")
    return value
