"""``cpflow records``."""

from __future__ import annotations

import logging
from typing import Any

import click

from cpflow.errors import UsageError

logger = logging.getLogger(__name__)

_LIMIT = 20000


@click.command("records")
@click.argument("repo")
@click.argument(
    "element", type=click.Choice(["exposure", "detector", "physical_filter", "instrument"])
)
@click.option("--where", default="", help="Data query.")
@click.option("--sample", "sample_size", type=click.IntRange(1), help="Take a sample of so many.")
@click.option("--per", default="day_obs", show_default=True, help="What the sample spreads over.")
@click.option("--seed", default=1, show_default=True, help="Seed of the sample.")
@click.option("--order-by", help="Fields, comma-separated; -FIELD descends.")
@click.option("--limit", type=click.IntRange(0), default=0, help="At most so many; 0 means all.")
@click.option("--columns", help="Fields to show, comma-separated.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "ids"]),
    default="table",
    show_default=True,
    help="ids can be put into `exposure IN (...)`.",
)
def command(
    repo: str,
    element: str,
    where: str,
    sample_size: int | None,
    per: str,
    seed: int,
    order_by: str | None,
    limit: int,
    columns: str | None,
    form: str,
) -> None:
    """List the records that a data query selects.

    \b
    cpflow records repo exposure --where "observation_type='bias' AND day_obs > 20210101"
    cpflow records repo exposure --where "observation_type='bias'" --sample 50 --format ids
    """
    from cpflow.cli.output import given_list, show_table
    from cpflow.repo import Repository
    from cpflow.repo.exposures import COLUMNS

    order = given_list([order_by], "--order-by") if order_by is not None else None
    shown = given_list([columns], "--columns") if columns is not None else [*COLUMNS, "timespan"]
    if element != "exposure" and (where or sample_size is not None):
        raise UsageError(
            f"--where and --sample select exposures, not records of {element}",
            hint=f"cpflow records {repo} {element}",
        )
    with Repository(repo) as repository:
        if element != "exposure":
            rows, names = _others(repository, element)
            show_table(names, rows, "table" if form == "ids" else form)
            return
        found = repository.exposures(where)
        if sample_size is not None:
            found = found.sample(sample_size, per=per, seed=seed)
        records = list(found)
    if order:
        records = _ordered(records, order)
    if limit:
        records = records[:limit]
    if not records and form == "table":
        click.echo("no exposures are selected")
        return
    if form == "ids":
        click.echo(", ".join(str(record.exposure) for record in records))
        return
    table = [_row(record) for record in records]
    for name in shown:
        if table and name not in table[0]:
            raise UsageError(
                f"an exposure has no field {name!r}", hint=f"fields: {', '.join(table[0])}"
            )
    show_table(shown, table, form)


def _row(record: Any) -> dict[str, Any]:
    from dataclasses import fields

    values = {f.name: getattr(record, f.name) for f in fields(record) if f.name != "extra"}
    return {**values, **dict(record.extra)}


def _ordered(records: list[Any], order: list[str]) -> list[Any]:
    for name in reversed(order):
        field, descending = name.lstrip("-"), name.startswith("-")
        if records and not hasattr(records[0], field):
            raise UsageError(
                f"an exposure has no field {field!r}", hint=f"fields: {', '.join(_row(records[0]))}"
            )
        # Unknown values come last either way.
        known = [r for r in records if getattr(r, field) is not None]
        unknown = [r for r in records if getattr(r, field) is None]
        records = sorted(known, key=lambda r: getattr(r, field), reverse=descending) + unknown
    return records


def _others(repository: Any, element: str) -> tuple[list[dict[str, Any]], list[str]]:
    registry = repository.registry
    if element == "instrument":
        return [{"instrument": name} for name in registry.instruments()], ["instrument"]
    rows = []
    for instrument in registry.instruments():
        if element == "detector":
            rows += [
                {"instrument": instrument, "detector": record.id, "full_name": record.name}
                for record in registry.detectors(instrument)
            ]
        else:
            rows += [
                {"instrument": instrument, "physical_filter": record.name, "band": record.band}
                for record in registry.physical_filters(instrument)
            ]
    names = ["instrument", "detector", "full_name"]
    if element == "physical_filter":
        names = ["instrument", "physical_filter", "band"]
    return rows, names
