"""``cpflow daily``."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cpflow.daily import StepOutcome

logger = logging.getLogger(__name__)


@click.command("daily")
@click.argument("repo")
@click.argument("day_obs", type=int)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--config", "-C", "config", default="latiss", show_default=True, metavar="NAME|FILE.yaml"
)
@click.option("-j", "--processes", type=click.IntRange(1), help="Tasks at once.")
@click.option("--cluster", default="threads", show_default=True, help="Where to run.")
@click.option(
    "--notify-command", help="Run this in a shell with the summary as JSON on standard input."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.pass_context
def command(
    ctx: click.Context,
    repo: str,
    day_obs: int,
    paths: tuple[str, ...],
    config: str,
    processes: int | None,
    cluster: str,
    notify_command: str | None,
    as_json: bool,
) -> None:
    """Do what is done with the frames of a night.

    PATHs are ingested; what is in force is verified with the night's frames; products are built,
    verified, and certified for the observing day; reports go to REPO/daily/DAY_OBS. Run again, it
    does what is missing and changes nothing else.

    Exit codes: 0 all right, 4 something could not be read or built, 5 a verification failed.

    \b
    cpflow daily repo 20210715 /data/raw/20210715 --config latiss.yaml
    """
    import json

    from cpflow.cli.output import show_json
    from cpflow.daily import load_daily, run_night
    from cpflow.report.progress import progress_listener
    from cpflow.scheduler import load_profile
    from cpflow.session import Repo

    options = load_daily(config)
    profile = load_profile(cluster, workers=processes, repo_root=Path(repo))
    with Repo(repo) as repository, progress_listener() as listener:
        done = run_night(
            repository, day_obs, options, paths=paths, profile=profile, listener=listener
        )
    if notify_command is not None:
        told = subprocess.run(  # noqa: S602  a shell is what the operator asks for
            notify_command, shell=True, input=json.dumps(done.as_dict()), text=True, check=False
        )
        if told.returncode:
            logger.warning("--notify-command ended with code %d", told.returncode)
    if as_json:
        show_json(done.as_dict())
    else:
        if paths:
            click.echo(f"{done.ingested} files ingested, {len(done.refused)} refused")
            for line in done.refused[:10]:
                click.echo(f"  {line}")
        for step in done.steps:
            _show(step)
        click.echo(f"{done.directory}")
    ctx.exit(done.exit_code)


def _show(step: StepOutcome) -> None:
    parts = [f"{step.exposures} exposures"]
    if step.external:
        parts.append(f"in force: {step.external}")
    if step.internal:
        parts.append(f"built: {step.internal}")
    if step.certified:
        parts.append(f"certified in {step.certified}")
    if step.note:
        parts.append(step.note)
    click.echo(f"{step.product}: {'; '.join(parts)}")
    for line in [*step.failures[:10], *step.unusual[:10], *step.error.splitlines()]:
        click.echo(f"  {line}")
