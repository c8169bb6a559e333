"""``cpflow simulate``."""

from __future__ import annotations

from pathlib import Path

import click

from cpflow.errors import UsageError


def _day(ctx: click.Context, parameter: click.Parameter, value: int) -> int:
    from datetime import datetime

    try:
        datetime.strptime(str(value), "%Y%m%d")
    except ValueError:
        raise click.BadParameter(f"{value} is no day: write it as 20210121") from None
    return value


@click.command("simulate")
@click.argument("outdir", type=click.Path(file_okay=False))
@click.option("--instrument", default="latiss", show_default=True, metavar="NAME|FILE.yaml")
@click.option("--sequence", metavar="NAME|FILE.yaml", help="List of observations.")
@click.option("--bias", type=click.IntRange(1), help="So many biases, instead of a sequence.")
@click.option(
    "--day-obs", default=20210121, show_default=True, callback=_day, help="Day of the biases."
)
@click.option("--scale", default=1, show_default=True, help="Shrink the imaging areas by this.")
@click.option("--compress", type=click.Choice(["none", "rice"]), default="none", show_default=True)
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same bits.")
@click.option("-j", "--processes", "workers", type=click.IntRange(1), help="Threads.")
def command(
    outdir: str,
    instrument: str,
    sequence: str | None,
    bias: int | None,
    day_obs: int,
    scale: int,
    compress: str,
    seed: int,
    workers: int | None,
) -> None:
    """Write raw exposures of a camera whose truth is known.

    The raw files, their truth (truth.zarr) and the instrument file that describes them go to
    OUTDIR.

    \b
    cpflow simulate raws --bias 20 --scale 8
    cpflow init repo --instrument raws/instrument.yaml
    """
    from cpflow.io.instrument import dump_instrument, load_instrument, scaled
    from cpflow.report.progress import progress_counter
    from cpflow.simulate import bias_sequence, simulate

    if (sequence is None) == (bias is None):
        raise UsageError("say what to simulate", hint="--sequence FILE.yaml, or --bias 20")
    camera = load_instrument(instrument)
    if scale != 1:
        camera = scaled(camera, scale)
    if sequence is not None:
        from cpflow.simulate import load_sequence

        observations = load_sequence(sequence)
    else:
        observations = bias_sequence(bias or 0, day_obs=day_obs)
    out = Path(outdir)
    with progress_counter("simulating") as progress:
        written = simulate(
            out,
            camera,
            observations,
            seed=seed,
            compress="rice" if compress == "rice" else "none",
            progress=progress,
            workers=workers,
        )
    dump_instrument(camera, out / "instrument.yaml")
    click.echo(f"{len(written.paths)} raw files in {out}, their truth in {written.truth}")
    click.echo(f"next: cpflow init REPO --instrument {out / 'instrument.yaml'}")
