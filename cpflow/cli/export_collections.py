"""``cpflow export-collections``."""

from __future__ import annotations

import click


@click.command("export-collections")
@click.argument("repo")
@click.argument("directory", type=click.Path())
@click.argument("collections", nargs=-1, required=True, metavar="COLLECTION...")
@click.option("--type", "--dataset-type", "types", multiple=True, help="Only these product types.")
def command(
    repo: str, directory: str, collections: tuple[str, ...], types: tuple[str, ...]
) -> None:
    """Write collections with their products, certifications and chains into a new directory.

    `cpflow import-collections` brings them into another repository. Raw frames do not come along.
    """
    from cpflow.cli.output import comma_list, given_list
    from cpflow.products import product_name
    from cpflow.repo import Repository
    from cpflow.repo.transfer import export_collections

    names = [product_name(name) for name in comma_list(types)] or None
    with Repository(repo) as repository:
        done = export_collections(
            repository, directory, given_list(collections, "COLLECTION"), types=names
        )
    click.echo(
        f"{done.directory}: {len(done.collections)} collections, {done.datasets} products, "
        f"{done.certifications} certifications"
    )
