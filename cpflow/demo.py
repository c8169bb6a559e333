"""The first five minutes: a bias from simulated raws to a certified product, and a look-up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cpflow.errors import UsageError
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.report.product import write_report
from cpflow.report.progress import progress_counter, progress_listener
from cpflow.scheduler import run_plan
from cpflow.session import Repo
from cpflow.simulate import bias_sequence, simulate

_DAY = 20210121
_COLLECTION = "LATISS/calib/demo"


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demonstration made."""

    repository: Path
    run: str
    report: Path
    scatter: float
    """Standard deviation of product - truth, adu."""
    expected: float
    """Read noise of one exposure over the square root of their number, adu."""


def demo(
    directory: Path, *, exposures: int = 20, scale: int = 4, say: Callable[[str], None]
) -> Demo:
    """Simulate raws of a LATISS-like camera and take a bias all the way.

    Parameters
    ----------
    directory : pathlib.Path
        Must be empty or not exist.
    exposures : int
        How many biases.
    scale : int
        Imaging areas are this many times smaller than LATISS's in both directions.
    say : callable
        Called with one line for each step: the command that does the same.

    Raises
    ------
    UsageError
        If the directory holds something.
    """
    if directory.exists() and any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty", hint="name another directory")
    raws, root = directory / "raws", directory / "repo"
    camera = scaled(load_instrument("latiss"), scale) if scale != 1 else load_instrument("latiss")
    say(f"cpflow simulate {raws} --bias {exposures} --scale {scale}")
    with progress_counter("simulating") as progress:
        written = simulate(raws, camera, bias_sequence(exposures, day_obs=_DAY), progress=progress)
    dump_instrument(camera, raws / "instrument.yaml")
    say(f"cpflow init {root} --instrument {raws / 'instrument.yaml'}")
    Repo.create(root, raws / "instrument.yaml").close()
    with Repo(root) as repository:
        say(f"cpflow ingest {root} {raws}")
        with progress_counter("ingesting") as progress:
            repository.ingest(raws, progress=progress)
        say(
            f"cpflow run -b {root} -p bias -o u/demo/biasGen "
            "-d \"instrument='LATISS' AND detector=0\" -c isr:doEmpiricalReadNoise=True"
        )
        plan = repository.plan(
            "bias",
            "instrument='LATISS' AND detector=0",
            config={"isr.empirical_read_noise": True},
        )
        with progress_listener() as listener:
            run = run_plan(plan, output="u/demo/biasGen", listener=listener)
        say(f"cpflow report {root} u/demo/biasGen -o {directory / 'bias.html'}")
        write_report(repository, run.datasets[0], directory / "bias.html")
        say(
            f"cpflow certify {root} u/demo/biasGen {_COLLECTION} "
            "--begin-date 2021-01-01 --end-date 2050-01-01 bias"
        )
        repository.certify(run, _COLLECTION, begin="2021-01-01", end="2050-01-01")
        exposure = plan.exposures[-1].exposure
        say(f"repo.get('bias', collections='{_COLLECTION}', exposure={exposure}, detector=0)")
        bias = repository.get("bias", collections=_COLLECTION, exposure=exposure, detector=0)
        truth = written.open_truth()["detectors/0"]["bias_pattern"].values
        good = bias["mask"].values == 0
        difference = (bias["image"].values - truth)[good]
        noises = [a.read_noise / a.gain for a in camera.camera.detector(0)]
        expected = float(np.sqrt(np.mean(np.square(noises)) / exposures))
        return Demo(root, run.name, directory / "bias.html", float(np.std(difference)), expected)
