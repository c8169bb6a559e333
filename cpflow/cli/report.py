"""``cpflow report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cpflow.cli.products import find_product, product_options

if TYPE_CHECKING:
    from cpflow.registry import DatasetRef
    from cpflow.repo import Repository
    from cpflow.report.verification import VerificationReport


@click.command("report")
@click.argument("repo")
@click.argument("collection", metavar="RUN")
@click.option("--product", help="Product type, if the run has several.")
@product_options
@click.option("--pages", is_flag=True, help="Of a verification: one page for each detector, too.")
@click.option(
    "-o", "--output", type=click.Path(), help="HTML file, or a directory for page and picture."
)
def command(
    repo: str,
    collection: str,
    product: str | None,
    pages: bool,
    output: str | None,
    **named: Any,
) -> None:
    """Write one self-contained HTML page about a product or a verification.

    RUN is a RUN or a chain. A run that holds verifications gets one page about all of them, or with
    --detector about one. A product gets a page, its picture as PNG, and if it was verified, the
    page of its newest verification. Without -o the files go beside you as <type>-<detector>.html.
    """
    from cpflow.repo import Repository
    from cpflow.report.product import write_report
    from cpflow.report.verification import verification_of

    with Repository(repo) as repository:
        report = _verification(repository, collection, product, named)
        written = []
        if report is None:
            ref = find_product(repository, collection, product, **named)
            page = _page(output, _stem(ref))
            written += write_report(repository, ref, page)
            report = verification_of(repository, ref)
            page = page.with_name(f"{page.stem}-verification.html")
        else:
            page = _page(output, _run_stem(report))
        if report is not None:
            written += report.save(page, pages=pages)
    for path in written:
        click.echo(path)


def _verification(
    repository: Repository, collection: str, product: str | None, named: dict[str, Any]
) -> VerificationReport | None:
    """Return the report of a run that holds verifications, if that is what is asked for."""
    from cpflow.errors import NoDataError
    from cpflow.products import product_name
    from cpflow.report.verification import verification_report

    if named["exposure"] is not None:
        return None
    if product is not None and not product_name(product).endswith("_verification"):
        return None
    options = {name: value for name, value in named.items() if name != "exposure"}
    newest = repository.registry.datasets("*", collections=[collection])[:1]
    try:
        report = verification_report(repository, collection, product, **options)
    except NoDataError:
        return None
    held = {ref.run for ref in report.refs} <= {ref.run for ref in newest}
    return report if held or product is not None else None


def _page(output: str | None, stem: str) -> Path:
    page = Path(output) if output else Path(f"{stem}.html")
    return page / f"{stem}.html" if page.is_dir() or page.suffix != ".html" else page


def _stem(ref: DatasetRef) -> str:
    parts = [ref.type, ref.data_id.detector, ref.data_id.physical_filter]
    return "-".join(str(part) for part in parts if part is not None).replace("/", "_")


def _run_stem(report: VerificationReport) -> str:
    if len(report.refs) == 1:
        return _stem(report.refs[0])
    types = sorted({ref.type for ref in report.refs})
    return types[0] if len(types) == 1 else "verification"
