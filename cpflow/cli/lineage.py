"""``cpflow lineage``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cpflow.cli.output import table_format
from cpflow.errors import UsageError

if TYPE_CHECKING:
    from cpflow.registry import DatasetRef
    from cpflow.repo import Repository


@click.command("lineage")
@click.argument("repo")
@click.argument("kind", type=click.Choice(["exposure", "dataset"]))
@click.argument("identity", metavar="ID")
@click.option("--rebuild", is_flag=True, help="Everything to rebuild if it is bad, in order.")
@click.option("--detector", type=int, help="Only this detector of an exposure.")
@click.option("--instrument", help="Needed if the repository has several.")
@table_format
def command(
    repo: str,
    kind: str,
    identity: str,
    rebuild: bool,
    detector: int | None,
    instrument: str | None,
    form: str,
) -> None:
    """Show what was made from an exposure or with a product.

    \b
    cpflow lineage repo exposure 2021012100010             products made from it
    cpflow lineage repo exposure 2021012100010 --rebuild   and all that were made with those
    cpflow lineage repo dataset UUID                       what it was made from, what uses it
    """
    from cpflow.cli.output import show_table
    from cpflow.repo import Repository

    with Repository(repo) as repository:
        if kind == "exposure":
            rows = _of_exposure(repository, identity, rebuild, detector, instrument)
        else:
            rows = _of_dataset(repository, identity, rebuild)
    if not rows and form == "table":
        click.echo(f"nothing was made from {kind} {identity}")
        return
    names = ["relation", "type", "instrument", "detector", "physical_filter", "exposure", "run",
             "certified in", "id"]  # fmt: skip
    if form == "table":
        names = [name for name in names if any(row.get(name) is not None for row in rows)]
    show_table(names, rows, form)


def _of_exposure(
    repository: Repository,
    identity: str,
    rebuild: bool,
    detector: int | None,
    instrument: str | None,
) -> list[dict[str, Any]]:
    registry = repository.registry
    try:
        number = int(identity)
    except ValueError:
        raise UsageError(
            f"{identity[:40]!r} is not the id of an exposure",
            hint="`cpflow records REPO exposure` lists them; they are numbers as 2021012100010",
        ) from None
    record = registry.exposure(number, instrument=instrument)
    ask = registry.to_rebuild if rebuild else registry.made_from
    refs = ask(number, instrument=record.instrument, detector=detector)
    return [_row(repository, "rebuild" if rebuild else "made from it", ref) for ref in refs]


def _of_dataset(repository: Repository, identity: str, rebuild: bool) -> list[dict[str, Any]]:
    registry = repository.registry
    ref = registry.dataset(identity)
    users = registry.users_of(ref.id, recursive=rebuild)
    if rebuild:
        return [_row(repository, "rebuild", one) for one in (ref, *users)]
    made = registry.lineage(ref.id)
    known = {one.id: one for one in registry.datasets()} if made.datasets else {}
    rows = [
        {
            "relation": "made from",
            "type": "raw",
            "instrument": raw.instrument,
            "detector": raw.detector,
            "exposure": raw.exposure,
        }
        for raw in made.raws
    ]
    for one in made.datasets:
        if one in known:
            rows.append(_row(repository, "made with", known[one]))
        else:
            rows.append({"relation": "made with", "type": "(removed)", "id": one})
    return rows + [_row(repository, "used by", one) for one in users]


def _row(repository: Repository, relation: str, ref: DatasetRef) -> dict[str, Any]:
    certified = repository.registry.certifications_of(ref.id)
    return {
        "relation": relation,
        "type": ref.type,
        "instrument": ref.data_id.instrument,
        "detector": ref.data_id.detector,
        "physical_filter": ref.data_id.physical_filter,
        "run": ref.run,
        "certified in": ", ".join(sorted({one.collection for one in certified})) or None,
        "id": ref.id,
    }
