"""``cpflow curated``."""

from __future__ import annotations

import click


@click.command("curated")
@click.argument("repo")
@click.argument("directory", type=click.Path())
@click.option("--instrument", help="Needed if the repository has several.")
@click.option("--collection", help="CALIBRATION collection; default INSTRUMENT/calib/curated.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    repo: str, directory: str, instrument: str | None, collection: str | None, as_json: bool
) -> None:
    """Certify curated defects and crosstalk from ECSV files.

    DIRECTORY holds INSTRUMENT/defects/DETECTOR/YYYYMMDDThhmmss.ecsv, and crosstalk and
    manual_defects (a list made by hand) the same way; defects may be FITS tables too.
    The name of a file is the UTC time from which it holds, until the next file begins. Files that
    are certified already are left alone.
    """
    from cpflow.cli.output import show_json
    from cpflow.repo import Repository
    from cpflow.repo.curated import write_curated

    with Repository(repo) as repository:
        report = write_curated(repository, directory, instrument=instrument, collection=collection)
    if as_json:
        show_json(
            {
                "collection": report.collection,
                "certified": [str(one) for one in report.certified],
                "already": [str(file.path) for file in report.already],
                "new_chain": report.new_chain,
            }
        )
        return
    for one in report.certified:
        click.echo(f"{report.collection}: {one}")
    for file in report.already:
        click.echo(f"{file.path}: certified already, skipped")
    if report.new_chain:
        click.echo(f"{report.new_chain}: a chain of {report.collection}, where runs look")
