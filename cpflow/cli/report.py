"""``cpflow report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cpflow.cli.products import find_product, product_options


@click.command("report")
@click.argument("repo")
@click.argument("collection", metavar="RUN")
@click.option("--product", help="Product type, if the run has several.")
@product_options
@click.option(
    "-o", "--output", type=click.Path(), help="HTML file, or a directory for page and picture."
)
def command(
    repo: str, collection: str, product: str | None, output: str | None, **named: Any
) -> None:
    """Write one self-contained HTML page about a product, and its picture as PNG.

    RUN is a RUN or a chain. Without -o the files go beside you as <type>-<detector>.html and .png.
    """
    from cpflow.repo import Repository
    from cpflow.report.product import write_report

    with Repository(repo) as repository:
        ref = find_product(repository, collection, product, **named)
        detector = ref.data_id.detector
        stem = (
            f"{ref.type}-{detector}"
            if ref.data_id.physical_filter is None
            else (f"{ref.type}-{detector}-{ref.data_id.physical_filter}")
        )
        page = Path(output) if output else Path(f"{stem}.html")
        if page.is_dir() or page.suffix != ".html":
            page = page / f"{stem}.html"
        pages = write_report(repository, ref, page)
    for path in pages:
        click.echo(path)
