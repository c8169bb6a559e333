"""``cpflow demo``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("demo")
@click.argument("directory", default="cpflow-demo", type=click.Path(file_okay=False))
@click.option(
    "--exposures", type=click.IntRange(2), default=20, show_default=True, help="How many biases."
)
@click.option(
    "--scale",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="1 is the full size of LATISS.",
)
def command(directory: str, exposures: int, scale: int) -> None:
    """Simulate, ingest, build, report, certify and look up a bias.

    Prints the command of each step, so that you can go on from there with your own camera.
    """
    from cpflow.demo import demo

    made = demo(
        Path(directory), exposures=exposures, scale=scale, say=lambda text: click.echo(f"$ {text}")
    )
    click.echo(
        f"The bias scatters by {made.scatter:.2f} adu about the simulated truth; the read noise of "
        f"{exposures} exposures is {made.expected:.2f} adu."
    )
    click.echo(f"Look at it: {made.report}")
