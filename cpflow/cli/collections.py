"""``cpflow collections``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cpflow.registry import Collection, Registry


@click.command("collections")
@click.argument("repo")
@click.argument("patterns", nargs=-1, metavar="[GLOB]...")
@click.option(
    "--collection-type", "kinds", multiple=True, help="RUN, TAGGED, CALIBRATION, CHAINED."
)
@click.option(
    "--chains",
    type=click.Choice(["tree", "flatten", "no-children"]),
    default="tree",
    show_default=True,
    help="How to show what is in chains.",
)
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table")
def command(
    repo: str, patterns: tuple[str, ...], kinds: tuple[str, ...], chains: str, form: str
) -> None:
    """List collections, with the children of chains below them."""
    from cpflow.cli.output import comma_list, show_table
    from cpflow.repo import Repository

    wanted = {kind.upper() for kind in comma_list(kinds)}
    rows = []
    with Repository(repo) as repository:
        registry = repository.registry
        for name in registry.collection_names(comma_list(patterns) or None):
            collection = registry.collection(name)
            if wanted and collection.type.value not in wanted:
                continue
            if chains == "flatten" and collection.children:
                names = registry.flatten([name])
                rows += [_row(registry.collection(child), 0) for child in names]
                continue
            rows.append(_row(collection, 0))
            if chains == "tree":
                rows += _children(registry, collection, 1)
    show_table(["collection", "type", "state"], rows, form)


def _row(collection: Collection, depth: int) -> dict[str, str]:
    return {
        "collection": "  " * depth + collection.name,
        "type": collection.type.value,
        "state": "" if collection.state is None else collection.state.value,
    }


def _children(registry: Registry, collection: Collection, depth: int) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for name in collection.children:
        child = registry.collection(name)
        rows.append(_row(child, depth))
        rows += _children(registry, child, depth + 1)
    return rows
