"""``cpflow doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cpflow.errors import DataError

if TYPE_CHECKING:
    from cpflow.repo.doctor import Finding


@click.command("doctor")
@click.argument("repo")
@click.option("--checksum", is_flag=True, help="Read all products and raw files, compare content.")
@click.option("--clean", is_flag=True, help="Remove what crashes left behind.")
@click.option("--upgrade", is_flag=True, help="Bring a repository of an older cpflow up to date.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(repo: str, checksum: bool, clean: bool, upgrade: bool, as_json: bool) -> None:
    """Compare registry, products and raw files, and say what to do.

    Leftovers of crashes are warnings; what is missing or damaged is an error, and the exit code is
    4.
    """
    from cpflow.cli.output import show_json
    from cpflow.repo import Repository
    from cpflow.repo import doctor as checks

    if upgrade:
        before, after = Repository.upgrade(repo)
        if not as_json:
            same = before == after
            click.echo(
                f"schema {after}: up to date" if same else f"schema upgraded: {before} to {after}"
            )
    with Repository(repo) as repository:
        found = checks.examine(repository, checksum=checksum)
        cleaned = checks.clean(repository, found) if clean else []
        facts = {"root": str(repository.root), "registry": repository.registry.url}
    left = [one for one in found if one not in cleaned]
    errors = [one for one in left if one.level is checks.Level.ERROR]
    if as_json:
        show_json(
            {
                **facts,
                "versions": checks.versions(),
                "findings": [_plain(one) for one in left],
                "cleaned": [one.problem for one in cleaned],
            }
        )
    else:
        versions = ", ".join(f"{name} {text}" for name, text in checks.versions().items())
        click.echo(versions)
        click.echo(f"registry {facts['registry']}")
        for one in cleaned:
            click.echo(f"cleaned: {one.problem}")
        for one in left:
            click.echo(f"{one.level}: {one.subject}: {one.problem}\n  {one.remedy}")
        if not left:
            click.echo("nothing is wrong")
    if errors:
        raise DataError(f"{len(errors)} things are missing or damaged")


def _plain(one: Finding) -> dict[str, str]:
    return {
        "level": one.level.value,
        "subject": one.subject,
        "problem": one.problem,
        "remedy": one.remedy,
    }
