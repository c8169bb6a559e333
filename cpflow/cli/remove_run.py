"""``cpflow remove-run``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cpflow.registry import Removal

_SHOWN = 20


@click.command("remove-run")
@click.argument("repo")
@click.argument("patterns", nargs=-1, required=True, metavar="GLOB...")
@click.option("--dry-run", is_flag=True, help="Show what would go, and change nothing.")
@click.option("--force", is_flag=True, help="Lose certifications and tags, and leave chains.")
@click.option("--unlink", is_flag=True, help="Take the runs out of chains that hold them.")
@click.option("-y", "--yes", "--no-confirm", "yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    repo: str,
    patterns: tuple[str, ...],
    dry_run: bool,
    force: bool,
    unlink: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove runs with their products and the files of these.

    Shows what would be lost. What is certified or tagged stays unless you say --force. Raw files
    are never deleted.
    """
    from cpflow.cli.output import confirm, given_list, show_json
    from cpflow.registry.removal import check_allowed
    from cpflow.repo import Repository
    from cpflow.repo.removal import remove_runs

    given = given_list(patterns, "GLOB")
    with Repository(repo) as repository:
        plan = remove_runs(repository, given, dry_run=True)
        if as_json and dry_run:
            show_json(_facts(plan, removed=False))
            return
        if not as_json:
            _show(plan)
        if dry_run:
            click.echo("dry run: nothing was removed")
            return
        check_allowed(plan, force=force, unlink=unlink)
        if not confirm(f"Remove {len(plan.runs)} runs and {len(plan.datasets)} products?", yes=yes):
            click.echo("nothing was removed")
            return
        removed = remove_runs(repository, list(plan.runs), force=force, unlink=unlink)
    if as_json:
        show_json(_facts(removed, removed=True))
    else:
        click.echo(f"{len(removed.runs)} runs and {len(removed.datasets)} products removed")


def _show(plan: Removal) -> None:
    for run in plan.runs:
        parents = plan.parents.get(run)
        click.echo(f"{run}, in chain {', '.join(parents)}" if parents else run)
    counts = ", ".join(f"{count} {name}" for name, count in plan.counts.items())
    click.echo(f"holds {counts or 'nothing'}")
    lost = [f"{one.collection}: {one}" for one in plan.certifications] + list(plan.tags)
    if lost:
        click.echo(f"{len(lost)} certifications and tags would be lost:")
    for line in lost[:_SHOWN]:
        click.echo(f"  {line}")
    if len(lost) > _SHOWN:
        click.echo(f"  and {len(lost) - _SHOWN} more")


def _facts(plan: Removal, *, removed: bool) -> dict[str, object]:
    return {
        "removed": removed,
        "runs": list(plan.runs),
        "counts": plan.counts,
        "chains": {run: list(parents) for run, parents in plan.parents.items()},
        "certifications": [f"{one.collection}: {one}" for one in plan.certifications],
        "tags": list(plan.tags),
        "paths": list(plan.paths),
    }
