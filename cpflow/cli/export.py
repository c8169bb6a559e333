"""``cpflow export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cpflow.cli.products import find_product, product_options
from cpflow.errors import UsageError


@click.command("export")
@click.argument("repo")
@click.argument("collection", metavar="RUN")
@click.argument("target", type=click.Path())
@click.option("--product", help="Product type, if the run has several.")
@click.option("--overwrite", is_flag=True, help="Replace TARGET if it exists.")
@product_options
def command(
    repo: str,
    collection: str,
    target: str,
    product: str | None,
    overwrite: bool,
    **named: Any,
) -> None:
    """Write a product as one file.

    Images become FITS: image, variance, mask, and their inputs in the header. Photon transfer
    curves, linearizers and brighter-fatter kernels become FITS tables, defects ECSV or FITS
    tables, as TARGET ends, crosstalk ECSV.
    """
    from cpflow.repo import Repository
    from cpflow.repo.export import export_product

    path = Path(target)
    if path.is_dir():
        raise UsageError(f"{target} is a directory", hint="name a file in it, as bias.fits")
    if path.exists() and not overwrite:
        raise UsageError(f"{target} exists", hint="--overwrite replaces it")
    with Repository(repo) as repository:
        ref = find_product(repository, collection, product, **named)
        export_product(repository, ref, path)
    click.echo(target)
