"""``cpflow submit``."""

from __future__ import annotations

from typing import Any

import click

from cpflow.cli.run_options import planned, run_arguments, run_options

DIRECTORY = "batch"


@click.command("submit")
@run_options
@click.option(
    "--cluster", default="slurm", show_default=True, help="Profile of kind slurm, or its file."
)
@click.option("--dry-run", is_flag=True, help="Print the script and stop.")
@click.option("--wait", is_flag=True, help="Wait for the job, and return its exit code.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.pass_context
def command(
    ctx: click.Context, /, cluster: str, dry_run: bool, wait: bool, as_json: bool, **options: Any
) -> None:
    """Build products with a graph, in a batch job.

    The job has everything in it: scheduler, workers, and `cpflow run` with the same options. It
    stops some minutes before its walltime; the same command again, or sbatch of its script,
    resumes.

    \b
    cpflow submit -b repo -p bias -o u/me/biasGen -d "day_obs = 20210121" --cluster slurm
    """
    from pathlib import Path

    from cpflow.cli.output import show_json
    from cpflow.cli.stopping import stopped_by_sigterm
    from cpflow.errors import UsageError
    from cpflow.scheduler import load_profile
    from cpflow.scheduler.batch import batch_job, batch_script
    from cpflow.scheduler.fitting import check_workers
    from cpflow.scheduler.profiles import SlurmProfile
    from cpflow.scheduler.submission import submit
    from cpflow.scheduler.submission import wait as wait_for
    from cpflow.session import Repo

    with Repo(options["repo"]) as repository:
        profile = load_profile(cluster, workers=options["processes"], repo_root=repository.root)
        if not isinstance(profile, SlurmProfile):
            raise UsageError(
                f"profile {cluster} is of kind {profile.kind}; batch jobs are of kind slurm",
                hint=f"cpflow run --cluster {cluster}",
            )
        plan = planned(repository, options)
        check_workers(plan, profile)
        root = repository.root.resolve()
    level = ctx.find_root().params.get("log_level", "INFO")
    told = run_arguments(ctx, without=("cluster", "dry_run", "as_json", "processes"))
    job = batch_job(
        plan,
        profile,
        ["--long-log", f"--log-level={level}", "run", *told],
        directory=root / DIRECTORY / f"{_now()}-{plan.graph.name.replace('/', '-')}",
        working_directory=Path.cwd(),
    )
    if dry_run:
        click.echo(batch_script(job), nl=False)
        return
    job_id = submit(job)
    log = job.log_path(job_id)
    if as_json:
        show_json({"job": job_id, "script": str(job.script_path), "log": str(log)})
    else:
        click.echo(f"job {job_id}: {job.script_path}")
        click.echo(f"log: {log}")
    if wait:
        with stopped_by_sigterm():
            ctx.exit(wait_for(job, job_id))


def _now() -> str:
    import uuid
    from datetime import UTC, datetime

    # Two may submit within a second.
    return f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}-{uuid.uuid4().hex[:4]}"
