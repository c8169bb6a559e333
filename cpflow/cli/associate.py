"""``cpflow associate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cpflow.errors import NoDataError, UsageError

if TYPE_CHECKING:
    from cpflow.repo import Repository


@click.command("associate")
@click.argument("repo")
@click.argument("tag")
@click.option(
    "--datasets",
    "types",
    multiple=True,
    help="Product types or globs; `raw` for raw frames.",
)
@click.option("--collections", "collections", multiple=True, help="Search these, in order.")
@click.option("-d", "--where", "where", default="", help="Data query.")
@click.option("--find-first", is_flag=True, help="Only the first match of each data id.")
@click.option("--remove", is_flag=True, help="Take them out of the tag instead.")
def command(
    repo: str,
    tag: str,
    types: tuple[str, ...],
    collections: tuple[str, ...],
    where: str,
    find_first: bool,
    remove: bool,
) -> None:
    """Put products or raw frames into a TAGGED collection, or take them out.

    \b
    cpflow associate repo LATISS/raw/DM-1 --datasets raw --where "day_obs = 20210121"
    """
    from cpflow.cli.output import comma_list, given_list
    from cpflow.repo import Repository

    kinds = comma_list(types) or ["*"]
    path = given_list(collections, "--collections")
    if not (types or path or where):
        raise UsageError(
            f"say what to {'take out' if remove else 'put there'}",
            hint="--datasets, --collections, --where",
        )
    if remove and not path:
        path = [tag]
    with Repository(repo) as repository:
        count = 0
        if "raw" in kinds:
            count += _raws(repository, tag, path, where, remove)
            kinds = [kind for kind in kinds if kind != "raw"]
        if kinds:
            count += _products(repository, tag, kinds, path, where, find_first, remove)
    click.echo(f"{count} {'taken out of' if remove else 'in'} {tag}")


def _products(
    repository: Repository,
    tag: str,
    kinds: Sequence[str],
    path: Sequence[str],
    where: str,
    find_first: bool,
    remove: bool,
) -> int:
    registry = repository.registry
    refs = registry.datasets(kinds, collections=path or None, where=where, find_first=find_first)
    if not refs:
        raise NoDataError("no products are selected", hint="`cpflow datasets REPO` lists them")
    if remove:
        registry.disassociate(tag, refs)
    else:
        registry.associate(tag, refs)
    return len(refs)


def _raws(repository: Repository, tag: str, path: Sequence[str], where: str, remove: bool) -> int:
    registry = repository.registry
    pairs = registry.select(where, collections=list(path) or None)
    if not pairs:
        raise NoDataError(
            "no raw frames are selected",
            hint="`cpflow records REPO exposure --where ...` shows what a query selects",
        )
    # Exposures that share their detectors go together.
    detectors: dict[tuple[str, int], set[int]] = {}
    for exposure, raw in pairs:
        detectors.setdefault((exposure.instrument, exposure.exposure), set()).add(raw.detector)
    groups: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for (instrument, number), chosen in detectors.items():
        groups.setdefault((instrument, tuple(sorted(chosen))), []).append(number)
    runs = list(path) or registry.collection_names(types=["RUN"])
    for (instrument, numbers), exposures in groups.items():
        if remove:
            registry.disassociate_raws(tag, exposures, numbers)
        else:
            registry.associate_raws(
                tag, exposures, collections=runs, detectors=numbers, instrument=instrument
            )
    return len(pairs)
