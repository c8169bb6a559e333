"""``cpflow chain``."""

from __future__ import annotations

import click


@click.command("chain")
@click.argument("repo")
@click.argument("parent")
@click.argument("children", nargs=-1)
@click.option(
    "--mode",
    type=click.Choice(["redefine", "prepend", "extend", "remove", "pop"]),
    default="redefine",
    show_default=True,
)
@click.option("--flatten", is_flag=True, help="Put in the leaves of chains among the children.")
@click.option("--doc", help="Description of a new chain.")
def command(
    repo: str, parent: str, children: tuple[str, ...], mode: str, flatten: bool, doc: str | None
) -> None:
    """Define or change a chain of collections, and print its children.

    CHILDREN are collections, separate or comma-separated; with --mode=pop, positions (default 0).
    """
    from cpflow.cli.output import comma_list
    from cpflow.repo import Repository

    with Repository(repo) as repository:
        result = repository.registry.change_chain(
            parent, comma_list(children), mode=mode, flatten=flatten, doc=doc
        )
    click.echo(f"[{', '.join(result)}]")
