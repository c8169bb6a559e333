"""``cpflow unwaive``."""

from __future__ import annotations

import click


@click.command("unwaive")
@click.argument("repo")
@click.argument("waiver", metavar="ID")
@click.option("--comment", required=True, help="Why it does not hold any more.")
@click.option("--author", help="By default the user.")
def command(repo: str, waiver: str, comment: str, author: str | None) -> None:
    """Take a waiver back; it stays in the history. The beginning of its ID will do.

    What was certified with it stays certified, with the verdict that was recorded.
    """
    from cpflow.session import Repo

    with Repo(repo) as repository:
        revoked = repository.unwaive(waiver, comment=comment, author=author)
    click.echo(f"taken back: {revoked}")
