"""``cpflow init``."""

from __future__ import annotations

import click


@click.command("init")
@click.argument("repo")
@click.option(
    "--instrument",
    multiple=True,
    metavar="NAME|FILE.yaml",
    help="A shipped instrument, or an instrument file. May be repeated.",
)
@click.option("--db", metavar="URL", help="Database; by default SQLite inside the repository.")
@click.option(
    "--policy",
    type=click.Choice(["warn", "require"]),
    help="Whether a product may be certified that is not verified; see `cpflow policy`.",
)
@click.option(
    "--shared",
    metavar="GROUP",
    help="Unix group whose members build in it; also for a repository that exists.",
)
def command(
    repo: str, instrument: tuple[str, ...], db: str | None, policy: str | None, shared: str | None
) -> None:
    """Make a repository, or add an instrument to one that exists.

    The URL of a database is kept in REPO/cpflow.yaml as it is given: leave the password out and
    let PostgreSQL find it in ~/.pgpass.

    \b
    cpflow init repo --instrument latiss
    cpflow init repo --instrument latiss --shared calib
    cpflow init repo --instrument latiss --db postgresql+psycopg://me@host/cpflow
    """
    from cpflow.io.instrument import load_instrument
    from cpflow.repo import Repository

    loaded = [load_instrument(name) for name in instrument]
    with Repository.create(repo, db=db, policy=policy) as repository:
        for item in loaded:
            repository.register_instrument(item)
        if shared is not None:
            repository.share(shared)
        names = ", ".join(repository.registry.instruments()) or "no instrument yet"
        click.echo(f"{repository.root}: {names}")
