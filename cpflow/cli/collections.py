"""``cpflow collections``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cpflow.cli.output import table_format

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
    type=click.Choice(["tree", "inverse-tree", "table", "inverse-table", "flatten", "no-children"]),
    default="tree",
    show_default=True,
    help="How to show what is in chains; inverse: the chains that a collection is in.",
)
@table_format
def command(
    repo: str, patterns: tuple[str, ...], kinds: tuple[str, ...], chains: str, form: str
) -> None:
    """List collections, with the children of chains below them."""
    from cpflow.cli.output import comma_list, show_table
    from cpflow.repo import Repository

    wanted = {kind.upper() for kind in comma_list(kinds)}
    rows: list[dict[str, str]] = []
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
            row = _row(collection, 0)
            rows.append(row)
            if chains == "table":
                row["children"] = ", ".join(collection.children)
            elif chains == "inverse-table":
                row["parents"] = ", ".join(registry.parents(name))
            elif chains in ("tree", "inverse-tree"):
                rows += _below(registry, collection, 1, inverse=chains == "inverse-tree")
    names = ["collection", "type", "state"]
    names += {"table": ["children"], "inverse-table": ["parents"]}.get(chains, [])
    show_table(names, rows, form)


def _row(collection: Collection, depth: int) -> dict[str, str]:
    return {
        "collection": "  " * depth + collection.name,
        "type": collection.type.value,
        "state": "" if collection.state is None else collection.state.value,
    }


def _below(
    registry: Registry, collection: Collection, depth: int, *, inverse: bool
) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    names = registry.parents(collection.name) if inverse else collection.children
    for name in names:
        one = registry.collection(name)
        rows.append(_row(one, depth))
        rows += _below(registry, one, depth + 1, inverse=inverse)
    return rows
