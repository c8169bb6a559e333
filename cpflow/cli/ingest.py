"""``cpflow ingest``."""

from __future__ import annotations

from typing import Any

import click

from cpflow.errors import BuildError


@click.command("ingest")
@click.argument("repo")
@click.argument("paths", nargs=-1, required=True)
@click.option("--instrument", help="Needed if the repository has several.")
@click.option(
    "-t",
    "--transfer",
    type=click.Choice(["direct", "copy", "link"]),
    default="direct",
    show_default=True,
    help="Leave files where they are, copy them into the repository, or link them.",
)
@click.option("--output-run", help="RUN collection; by default INSTRUMENT/raw/all.")
@click.option("--update-records", is_flag=True, help="Overwrite exposure records that differ.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first file that cannot be used.")
@click.option("-j", "--processes", "threads", type=click.IntRange(1), help="Threads.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(repo: str, paths: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Bring raw FITS exposures into a repository.

    PATHS are files, or directories to search. Files that are there already are left alone. A file
    that cannot be used is reported with its reason; the others go in, and the exit code is 4.
    """
    from cpflow.cli.output import show_json
    from cpflow.repo import Repository
    from cpflow.repo.ingest import ingest
    from cpflow.report.progress import progress_counter

    with Repository(repo) as repository, progress_counter("looking at files") as progress:
        report = ingest(repository, paths, progress=progress, **options)
    if as_json:
        show_json(
            {
                "added": [str(path) for path in report.added],
                "already": [str(path) for path in report.already],
                "refused": [{"path": r.path, "reason": str(r.error)} for r in report.refused],
            }
        )
    else:
        click.echo(
            f"{len(report.added)} files ingested, {len(report.already)} already there, "
            f"{len(report.refused)} refused"
        )
    if report.refused:
        raise BuildError(
            f"{len(report.refused)} files were refused, for the reasons given above",
            hint="the others are in; when these are mended, the same command takes them",
        )
