"""``cpflow waive``."""

from __future__ import annotations

import click


@click.command("waive")
@click.argument("repo")
@click.argument("product")
@click.argument("test")
@click.option("--category", required=True, help="permanent, uncorrectable, below-science-impact, "
              "threshold-wrong.")  # fmt: skip
@click.option("--comment", required=True, help="Why it may fail.")
@click.option("--reference", help="Link or ticket.")
@click.option("--until", help="Does not count from this date on, TAI; never, if left out.")
@click.option("--detector", type=int, help="Only this one.")
@click.option("--amp", help="Only this amplifier.")
@click.option("--exposure", type=int, help="Only this one.")
@click.option("--filter", "physical_filter", help="Only products of this filter.")
@click.option("--candidate", metavar="RUN", help="Only the product that this collection holds.")
@click.option("--instrument", help="Needed if the repository has several.")
@click.option("--author", help="By default the user.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    repo: str,
    product: str,
    test: str,
    category: str,
    comment: str,
    reference: str | None,
    until: str | None,
    detector: int | None,
    amp: str | None,
    exposure: int | None,
    physical_filter: str | None,
    candidate: str | None,
    instrument: str | None,
    author: str | None,
    as_json: bool,
) -> None:
    """Document a failed test of a product, so that the product can be certified.

    The test counts as waived then, never as passed. What is left out is not restricted: without
    --detector, --amp and --exposure a waiver is about all of them.

    \b
    cpflow waive repo bias NOISE --detector 0 --amp C04 --category permanent \\
        --comment "noisy since the warm-up of May" --reference DM-123 --until 2027-01-01
    """
    from cpflow.cli.output import show_json
    from cpflow.cli.waivers import plain
    from cpflow.session import Repo

    with Repo(repo) as repository:
        waiver = repository.waive(
            product,
            test,
            until=until,
            category=category,
            comment=comment,
            reference=reference,
            detector=detector,
            amp=amp,
            exposure=exposure,
            physical_filter=physical_filter,
            candidate=candidate,
            instrument=instrument,
            author=author,
        )
    if as_json:
        show_json(plain(waiver))
        return
    click.echo(str(waiver))
