"""``cpflow remove-collection``."""

from __future__ import annotations

import click


@click.command("remove-collection")
@click.argument("repo")
@click.argument("patterns", nargs=-1, required=True, metavar="GLOB...")
@click.option("--dry-run", is_flag=True, help="Show what would go, and change nothing.")
@click.option(
    "--remove-from-parents",
    "--unlink",
    "unlink",
    is_flag=True,
    help="Take them out of chains that stay.",
)
@click.option("-y", "--yes", "--no-confirm", "yes", is_flag=True, help="Do not ask.")
def command(repo: str, patterns: tuple[str, ...], dry_run: bool, unlink: bool, yes: bool) -> None:
    """Remove chains, TAGGED and CALIBRATION collections; products stay.

    RUNs that a glob matches are passed over: `cpflow remove-run` removes those.
    """
    from cpflow.cli.output import confirm, given_list
    from cpflow.repo import Repository

    with Repository(repo) as repository:
        registry = repository.registry
        names = registry.remove_collections(given_list(patterns, "GLOB"), dry_run=True)
        if not names:
            click.echo("no collection but RUNs matches")
            return
        for name in names:
            collection = registry.collection(name)
            count = 0
            if collection.type == "CALIBRATION":
                count = len(registry.certified(name))
            detail = f", {count} certifications" if count else ""
            parents = registry.parents(name)
            detail += f", in chain {', '.join(parents)}" if parents else ""
            click.echo(f"{name} ({collection.type}{detail})")
        if dry_run:
            click.echo("dry run: nothing was removed")
            return
        if not confirm(f"Remove {len(names)} collections?", yes=yes):
            click.echo("nothing was removed")
            return
        removed = registry.remove_collections(names, unlink=unlink)
    click.echo(f"{len(removed)} collections removed")
