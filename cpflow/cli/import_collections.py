"""``cpflow import-collections``."""

from __future__ import annotations

import click


@click.command("import-collections")
@click.argument("repo")
@click.argument("directory", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(repo: str, directory: str, as_json: bool) -> None:
    """Bring in what `cpflow export-collections` wrote.

    What is here already is skipped, so that it can be done again. Everything is checked first; if
    something here differs, nothing is imported.
    """
    from cpflow.cli.output import show_json
    from cpflow.repo import Repository
    from cpflow.repo.transfer import import_collections

    with Repository(repo) as repository:
        done = import_collections(repository, directory)
    if as_json:
        show_json(
            {
                "datasets": [str(ref) for ref in done.datasets],
                "already": done.already,
                "certified": done.certified,
                "kept_chains": done.kept_chains,
            }
        )
        return
    click.echo(
        f"{len(done.datasets)} products imported, {done.already} here already, "
        f"{done.certified} certifications added"
    )
