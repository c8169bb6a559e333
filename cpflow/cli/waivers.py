"""``cpflow waivers``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cpflow.registry import Waiver

_COLUMNS = ("id", "product", "test", "scope", "category", "comment", "author", "expires")
_TIMES = ("created", "expires", "revoked")


@click.command("waivers")
@click.argument("repo")
@click.option("--product", help="Only those of a product type.")
@click.option("--all", "history", is_flag=True, help="Also those that expired or were taken back.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list on standard output.")
def command(repo: str, product: str | None, history: bool, as_json: bool) -> None:
    """List the failed tests that are documented. Times are TAI.

    Those in force, oldest first; with --all every one that there ever was, and what became of it.
    """
    import time

    from cpflow.cli.output import show_json, show_table
    from cpflow.products import product_name
    from cpflow.repo import Repository
    from cpflow.timespan import utc_to_tai

    product = None if product is None else product_name(product)
    at = utc_to_tai(time.time_ns())
    with Repository(repo) as repository:
        found = repository.registry.waivers(product, history=history)
    states = {waiver.id: waiver.state(at) for waiver in found}
    if as_json:
        show_json([{**plain(waiver), "state": states[waiver.id]} for waiver in found])
        return
    if not found:
        click.echo("no test was ever waived" if history else "no waiver is in force")
        return
    names = list(_COLUMNS)
    if any(waiver.reference for waiver in found):
        names.append("reference")
    rows = []
    for waiver in found:
        row = {**plain(waiver), "id": waiver.short, "state": states[waiver.id]}
        row["expires"] = row["expires"] or "never"
        if waiver.is_broad:
            row["scope"] = f"{waiver.scope} (everything)"
        rows.append(row)
    if history:
        names += ["state", *(["revoked_by", "revoked_comment"] if _any_revoked(found) else [])]
    show_table(names, rows)


def plain(waiver: Waiver) -> dict[str, Any]:
    """Return a waiver as plain data, times as ISO dates."""
    from cpflow.timespan import isoformat

    values = {**asdict(waiver), "category": waiver.category.value, "scope": waiver.scope}
    for name in _TIMES:
        if values[name] is not None:
            values[name] = isoformat(values[name])
    return values


def _any_revoked(found: list[Waiver]) -> bool:
    return any(waiver.revoked is not None for waiver in found)
