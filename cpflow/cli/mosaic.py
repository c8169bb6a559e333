"""``cpflow mosaic``."""

from __future__ import annotations

from pathlib import Path

import click

from cpflow.errors import UsageError


@click.command("mosaic")
@click.argument("repo")
@click.argument("collection")
@click.argument("product", metavar="TYPE")
@click.option(
    "--filter", "--physical-filter", "physical_filter", help="Needed if there are several."
)
@click.option("--instrument", help="Needed if the repository has several.")
@click.option("--exposure", type=int, help="What holds at this exposure's time.")
@click.option(
    "--binning",
    type=click.Choice(["8", "64"]),
    default="64",
    show_default=True,
    help="Pixels of a side of each cell.",
)
@click.option("-o", "--output", type=click.Path(), help="PNG, SVG, PDF or FITS file.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def command(
    repo: str,
    collection: str,
    product: str,
    physical_filter: str | None,
    instrument: str | None,
    exposure: int | None,
    binning: str,
    output: str | None,
    overwrite: bool,
) -> None:
    """Show the products of all detectors at their places in the focal plane.

    COLLECTION is a RUN or a chain, or with --exposure a CALIBRATION collection. Pixels flagged BAD
    or NO_DATA are left out of the means. Without -o the picture goes beside you as
    <type>-mosaic.png.
    """
    from cpflow.repo import Repository
    from cpflow.report.mosaic import mosaic_of
    from cpflow.report.mosaic_picture import write_mosaic

    stem = f"{product}-mosaic" if physical_filter is None else f"{product}-mosaic-{physical_filter}"
    path = Path(output) if output else Path(f"{stem}.png".replace("/", "_"))
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists", hint="--overwrite replaces it")
    with Repository(repo) as repository:
        made = mosaic_of(
            repository,
            product,
            collections=collection,
            physical_filter=physical_filter,
            instrument=instrument,
            exposure=exposure,
            binning=int(binning),
        )
        write_mosaic(made, path)
    click.echo(path)
