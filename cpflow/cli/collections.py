"""``cpflow collections``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from cpflow.cli.output import table_format

if TYPE_CHECKING:
    from cpflow.registry import Collection


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
    from cpflow.errors import UsageError
    from cpflow.registry import CollectionType
    from cpflow.repo import Repository

    wanted = {kind.upper() for kind in comma_list(kinds)}
    for kind in sorted(wanted - set(CollectionType)):
        raise UsageError(
            f"there are no collections of type {kind!r}", hint=f"types: {', '.join(CollectionType)}"
        )
    with Repository(repo) as repository:
        registry = repository.registry
        # One query, however deep the chains are.
        known = {one.name: one for one in registry.collections()}
        names = registry.collection_names(comma_list(patterns) or None)
    parents: dict[str, list[str]] = {}
    for one in known.values():
        for child in one.children:
            parents.setdefault(child, []).append(one.name)
    rows: list[dict[str, str]] = []
    for collection in (known[name] for name in names if name in known):
        if wanted and collection.type.value not in wanted:
            continue
        if chains == "flatten" and collection.children:
            rows += [_row(known[leaf], 0) for leaf in _leaves(known, collection.name)]
            continue
        row = _row(collection, 0)
        rows.append(row)
        if chains == "table":
            row["children"] = ", ".join(collection.children)
        elif chains == "inverse-table":
            row["parents"] = ", ".join(parents.get(collection.name, ()))
        elif chains == "tree":
            rows += _below(known, lambda name: known[name].children, collection.name, 1)
        elif chains == "inverse-tree":
            rows += _below(known, lambda name: parents.get(name, ()), collection.name, 1)
    shown = ["collection", "type", "state"]
    shown += {"table": ["children"], "inverse-table": ["parents"]}.get(chains, [])
    show_table(shown, rows, form)


def _row(collection: Collection, depth: int) -> dict[str, str]:
    return {
        "collection": "  " * depth + collection.name,
        "type": collection.type.value,
        "state": "" if collection.state is None else collection.state.value,
    }


def _below(
    known: Mapping[str, Collection], step: Callable[[str], Sequence[str]], name: str, depth: int
) -> list[dict[str, str]]:
    """Rows of what is below a collection, or above it, as `step` says."""
    rows: list[dict[str, str]] = []
    for one in step(name):
        rows.append(_row(known[one], depth))
        rows += _below(known, step, one, depth + 1)
    return rows


def _leaves(known: Mapping[str, Collection], name: str) -> list[str]:
    """Return what a chain flattens to (spec C7)."""
    children = known[name].children
    if known[name].type.value != "CHAINED":
        return [name]
    return list(dict.fromkeys(leaf for child in children for leaf in _leaves(known, child)))
