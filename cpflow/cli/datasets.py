"""``cpflow datasets``."""

from __future__ import annotations

import click


@click.command("datasets")
@click.argument("repo")
@click.argument("types", nargs=-1, metavar="[TYPE GLOB]...")
@click.option("--collections", "collections", multiple=True, help="Search these, in order.")
@click.option("--where", default="", help="Data query.")
@click.option("--find-first", is_flag=True, help="Only the first match of each data id.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table")
def command(
    repo: str,
    types: tuple[str, ...],
    collections: tuple[str, ...],
    where: str,
    find_first: bool,
    form: str,
) -> None:
    """List products: what, of which detector, in which run, where."""
    from cpflow.cli.output import comma_list, given_list, show_table
    from cpflow.repo import Repository

    rows = []
    path = given_list(collections, "--collections")
    with Repository(repo) as repository:
        for pattern in comma_list(types) or ["*"]:
            for ref in repository.registry.datasets(
                pattern,
                collections=path or None,
                where=where,
                find_first=find_first,
            ):
                rows.append(
                    {
                        "type": ref.type,
                        "instrument": ref.data_id.instrument,
                        "detector": ref.data_id.detector,
                        "physical_filter": ref.data_id.physical_filter,
                        "run": ref.run,
                        "path": str(repository.store.absolute(ref.path)),
                        "id": ref.id,
                    }
                )
    names = ["type", "instrument", "detector", "physical_filter", "run", "path"]
    show_table([*names, "id"] if form != "table" else names, rows, form)
