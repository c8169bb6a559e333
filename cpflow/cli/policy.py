"""``cpflow policy``."""

from __future__ import annotations

import click


@click.command("policy")
@click.argument("repo")
@click.argument("name", required=False, metavar="[warn|require]")
def command(repo: str, name: str | None) -> None:
    """Show or change what certification does with a product that is not verified.

    warn, the default, certifies it and says so. require refuses what is unverified, fails or could
    not be tested, with exit code 5, unless `cpflow certify --reason` says why.
    """
    from cpflow.repo import Repository

    with Repository(repo) as repository:
        if name is not None:
            repository.set_policy(name)
        click.echo(repository.policy)
