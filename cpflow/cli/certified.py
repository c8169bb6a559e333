"""``cpflow certified``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cpflow.cli.output import table_format

if TYPE_CHECKING:
    from cpflow.registry import Certification, Gap

COLUMNS = ("type", "detector", "physical_filter", "begin", "end", "run")


@click.command("certified")
@click.argument("repo")
@click.argument("collection")
@click.argument("types", nargs=-1, metavar="[TYPE]...")
@click.option("--gaps", "only_gaps", is_flag=True, help="Only spans without a certification.")
@table_format
def command(repo: str, collection: str, types: tuple[str, ...], only_gaps: bool, form: str) -> None:
    """List what is certified in a collection, and the gaps between.

    COLLECTION is a CALIBRATION collection or a chain of them. Times are TAI; the end is not
    included.
    """
    from cpflow.cli.output import comma_list, show_table
    from cpflow.products import product_name
    from cpflow.repo import Repository

    names = [product_name(name) for name in comma_list(types)] or None
    with Repository(repo) as repository:
        registry = repository.registry
        certified = [] if only_gaps else registry.certified(collection, names)
        gaps = registry.gaps(collection, names)
    rows = [row_of(one) for one in certified] + [_gap(one) for one in gaps]
    rows.sort(key=_order)
    if not rows and form == "table":
        click.echo("no gaps" if only_gaps else f"nothing is certified in {collection}")
        return
    shown = list(COLUMNS)
    if len({row["collection"] for row in rows}) > 1 or form != "table":
        shown.insert(0, "collection")
    said = ("verdict", "reason")
    shown += [name for name in said if form != "table" or any(row[name] for row in rows)]
    if form != "table":
        shown += ["instrument", "gap", "id"]
    show_table(shown, rows, form)


def row_of(one: Certification) -> dict[str, Any]:
    """Return a certification as a row of a table."""
    ref = one.dataset
    return {
        **_place(one),
        "type": ref.type,
        "instrument": ref.data_id.instrument,
        "detector": ref.data_id.detector,
        "physical_filter": ref.data_id.physical_filter,
        "run": ref.run,
        "verdict": one.verdict,
        "reason": one.reason,
        "gap": False,
        "id": ref.id,
    }


def _gap(one: Gap) -> dict[str, Any]:
    return {
        **_place(one),
        "type": one.type,
        "instrument": one.data_id.instrument,
        "detector": one.data_id.detector,
        "physical_filter": one.data_id.physical_filter,
        "run": "(gap)",
        "verdict": None,
        "reason": None,
        "gap": True,
        "id": None,
    }


def _place(one: Certification | Gap) -> dict[str, Any]:
    from cpflow.timespan import isoformat

    begin, end = one.timespan.begin, one.timespan.end
    return {
        "collection": one.collection,
        "begin": "open" if begin is None else isoformat(begin),
        "end": "open" if end is None else isoformat(end),
        "order": -(2**63) if begin is None else begin,
    }


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    detector = -1 if row["detector"] is None else row["detector"]
    return (
        row["collection"],
        row["type"],
        row["instrument"],
        detector,
        row["physical_filter"] or "",
        row["order"],
    )
