"""``cpflow explain``."""

from __future__ import annotations

import click

from cpflow.cli.output import table_format


@click.command("explain")
@click.argument("repo")
@click.argument("exposure", type=int)
@click.option("--detector", type=int, help="Needed if the instrument has several.")
@click.option("-i", "--input", "--collections", "inputs", multiple=True, help="In search order.")
@click.option("--type", "types", multiple=True, help="Only these product types.")
@click.option("--instrument", help="Needed if the repository has several.")
@table_format
def command(
    repo: str,
    exposure: int,
    detector: int | None,
    inputs: tuple[str, ...],
    types: tuple[str, ...],
    instrument: str | None,
    form: str,
) -> None:
    """Show which calibrations apply to an exposure, and why the others do not.

    For each product type: the collection that decides, what it shadows, and the collections that
    have nothing at that time. Without -i it looks where a run looks.
    """
    from cpflow.cli.output import comma_list, given_list, show_table
    from cpflow.repo import Repository
    from cpflow.repo.in_force import explain

    with Repository(repo) as repository:
        found = explain(
            repository,
            exposure,
            detector,
            collections=given_list(inputs, "--input"),
            types=comma_list(types) or None,
            instrument=instrument,
        )
    rows = [
        {
            "type": one.type,
            "outcome": one.outcome.value,
            "collection": one.collection,
            "run": None if one.dataset is None else one.dataset.run,
            "holds": None if one.timespan is None else str(one.timespan),
            "verdict": one.verdict,
            "why": one.reason,
            "id": None if one.dataset is None else one.dataset.id,
        }
        for one in found
    ]
    names = ["type", "outcome", "collection", "run", "holds", "verdict", "why"]
    if form != "table":
        show_table([*names, "id"], rows, form)
        return
    if not any(row["verdict"] for row in rows):
        names.remove("verdict")
    shown = [row for row in rows if row["outcome"] != "nothing"]
    empty = [str(row["type"]) for row in rows if row["outcome"] == "nothing"]
    if shown:
        show_table(names, shown)
    if empty:
        click.echo(f"nothing at all of {', '.join(empty)}")
