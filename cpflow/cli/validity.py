"""``cpflow validity``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("validity")
@click.argument("repo")
@click.argument("run")
@click.option("--exposures", "query", required=True, help="Data query of further exposures.")
@click.option("--product", help="Product type, if the run has several.")
@click.option("-i", "--input", "inputs", multiple=True, help="Collections, in search order.")
@click.option("-c", "--config", "assignments", multiple=True, metavar="STEP.OPTION=VALUE")
@click.option(
    "--pass-fraction",
    type=click.FloatRange(0, 1),
    default=0.8,
    show_default=True,
    help="Of a night's exposures.",
)
@click.option(
    "--min-exposures",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="That make a night tested.",
)
@click.option(
    "--max-bad-nights",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="That end the range.",
)
@click.option(
    "--max-gap-days", type=click.IntRange(1), default=30, show_default=True, help="Without a test."
)
@click.option("--open-end", is_flag=True, help="Leave the end open if nothing ends the range.")
@click.option("-o", "--output", help="Output chain of the verification.")
@click.option("--plot", type=click.Path(dir_okay=False), help="Figure of the statistics by time.")
@click.option("-j", "--processes", type=click.IntRange(1), help="Tasks at once.")
@click.option("--cluster", default="threads", show_default=True, help="Where to run.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    repo: str,
    run: str,
    query: str,
    product: str | None,
    inputs: tuple[str, ...],
    assignments: tuple[str, ...],
    pass_fraction: float,
    min_exposures: int,
    max_bad_nights: int,
    max_gap_days: int,
    open_end: bool,
    output: str | None,
    plot: str | None,
    processes: int | None,
    cluster: str,
    as_json: bool,
) -> None:
    """Verify a product with exposures of other nights, and propose from when to when it holds.

    Nights are walked through from those that the product was made from, until it fails for
    several, the camera's settings change, or nothing was tested for too long.

    \b
    cpflow validity repo u/me/biasGen --exposures "observation_type='bias'" --plot validity.png
    """
    from cpflow.cli.output import figure_file, given_list, show_json, shown_progress
    from cpflow.errors import VerificationError
    from cpflow.graph.config import parse_assignments
    from cpflow.scheduler import load_profile
    from cpflow.session import Repo

    figure_file(plot)
    profile = load_profile(cluster, workers=processes, repo_root=Path(repo))
    with Repo(repo) as repository, shown_progress() as (listener, _):
        validity = repository.validity(
            run,
            query,
            product=product,
            inputs=given_list(inputs, "--input"),
            config=parse_assignments(assignments),
            output=output,
            profile=profile,
            listener=listener,
            pass_fraction=pass_fraction,
            min_exposures=min_exposures,
            max_bad_nights=max_bad_nights,
            max_gap_days=max_gap_days,
            open_end=open_end,
        )
    if plot is not None:
        validity.save(plot)
    if as_json:
        show_json(validity.as_dict())
    else:
        for line in validity.lines():
            click.echo(line)
        if plot is not None:
            click.echo(plot)
    if validity.range.first is None:
        raise VerificationError(
            f"{validity.product} holds for no night: {validity.range.reason_before}",
            hint=f"`cpflow report {repo} {validity.run}` shows each test",
        )
