"""``cpflow decertify``."""

from __future__ import annotations

import click

from cpflow.cli.output import table_format


@click.command("decertify")
@click.argument("repo")
@click.argument("collection")
@click.argument("product", metavar="TYPE")
@click.option("--begin-date", "--begin_date", "begin", help="First instant, TAI; open if left out.")
@click.option("--end-date", "--end_date", "end", help="End, not included, TAI; open if left out.")
@click.option("--detector", "detectors", multiple=True, help="Only these: 0,3 or 0..8.")
@click.option("--where", help="Only products that a data query selects.")
@click.option("--dry-run", is_flag=True, help="Show what would be, and change nothing.")
@table_format
def command(
    repo: str,
    collection: str,
    product: str,
    begin: str | None,
    end: str | None,
    detectors: tuple[str, ...],
    where: str | None,
    dry_run: bool,
    form: str,
) -> None:
    """Take a span of time away from what is certified.

    Ranges that reach into the span are trimmed, split, or removed; the products stay. Prints the
    ranges before and after.

    \b
    cpflow decertify repo LATISS/calib/DM-1 bias --begin-date 2021-07-15 --detector 0
    """
    from cpflow.cli.certified import COLUMNS, row_of
    from cpflow.cli.output import integers, show_json, show_table
    from cpflow.session import Repo

    wanted = integers(detectors, "--detector") if detectors else None
    with Repo(repo) as repository:
        before, after = repository.decertify(
            collection,
            product,
            begin=begin,
            end=end,
            detectors=wanted,
            where=where,
            dry_run=dry_run,
        )
    rows = [[row_of(one) for one in group] for group in (before, after)]
    if form == "json":
        shown = [[{n: row[n] for n in (*COLUMNS, "id")} for row in group] for group in rows]
        show_json({"dry_run": dry_run, "before": shown[0], "after": shown[1]})
        return
    if form == "csv":
        marked = [
            {"state": state, **row}
            for state, group in zip(("before", "after"), rows, strict=True)
            for row in group
        ]
        show_table(["state", *COLUMNS, "id"], marked, "csv")
        return
    if not before:
        click.echo(f"no range of {product} in {collection} reaches into that span")
        return
    click.echo("before")
    show_table(list(COLUMNS), rows[0])
    click.echo("\nafter" if after else "\nafter: nothing is left")
    if after:
        show_table(list(COLUMNS), rows[1])
    if dry_run:
        click.echo("\ndry run: nothing was changed")
