"""``cpflow compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cpflow.cli.products import find_product, product_options


@click.command("compare")
@click.argument("repo")
@click.argument("new")
@click.argument("old", required=False)
@click.option("--collection", "collections", multiple=True, help="Where the old one is certified.")
@click.option("--product", help="Product type, if the run has several.")
@product_options
@click.option(
    "--most", type=click.IntRange(0), default=20, show_default=True, help="So many changes."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="HTML page, or a figure.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    repo: str,
    new: str,
    old: str | None,
    collections: tuple[str, ...],
    product: str | None,
    most: int,
    output: str | None,
    as_json: bool,
    **named: Any,
) -> None:
    """Compare a product with the one certified before, the surest changes first.

    NEW and OLD are runs or chains; without OLD it is what is certified for the exposures of NEW.

    \b
    cpflow compare repo u/me/biasGen -o compare.html
    """
    from cpflow.cli.output import figure_file, given_list, show_json
    from cpflow.repo import Repository
    from cpflow.report.comparison import compare

    figure_file(output, ".html")
    given = given_list(collections, "--collection")
    with Repository(repo) as repository:
        first = find_product(repository, new, product, **named)
        second = None if old is None else find_product(repository, old, first.type, **named)
        comparison = compare(repository, first, second, given)
        if output is not None:
            comparison.save(Path(output))
        if as_json:
            show_json(comparison.as_dict())
            return
        for line in comparison.lines(most):
            click.echo(line)
        if output is not None:
            click.echo(output)
