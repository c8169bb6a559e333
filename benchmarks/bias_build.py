"""A whole bias from raw frames, against ccdproc and against astropy with numpy.

    pip install 'cpflow[benchmark]'
    python benchmarks/bias_build.py [--exposures 20] [--scale 2]

Every peer is a process of its own that reads the same raw files: per amplifier it subtracts the
median of each overscan row, trims, clips at three sigma and averages. cpflow also masks, computes
variances, assembles, stores the product, and records where it came from; its registry is filled
before. `-j 1` holds it to one thread, as the peers are.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from processes import compare, table


def simulate(directory: Path, exposures: int, scale: int, compress: str) -> Path:
    raws = directory / f"raws-{compress}"
    call("simulate", raws, "--bias", exposures, "--scale", scale, "--compress", compress)
    repo = directory / f"repo-{compress}"
    call("init", repo, "--instrument", raws / "instrument.yaml")
    call("ingest", repo, raws)
    return repo


def call(*arguments: object) -> None:
    subprocess.run(
        [sys.executable, "-m", "cpflow", *map(str, arguments)], check=True, capture_output=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exposures", type=int, default=20)
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compress", choices=["none", "rice"], nargs="*", default=["none", "rice"])
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="cpflow-benchmark-"))
    here = Path(__file__).parent
    try:
        for compress in options.compress:
            repo = simulate(directory, options.exposures, options.scale, compress)
            raws = directory / f"raws-{compress}"
            peer = [sys.executable, str(here / "bias_peers.py")]
            commands = {
                "cpflow": [
                    sys.executable, "-m", "cpflow", "run", "-b", str(repo), "-p", "bias",
                    "-o", "u/benchmark/biasGen", "-j", "1",
                ],
                "reading the pixels (astropy)": [*peer, "read", str(raws)],
                "reading the pixels (cpflow)": [*peer, "read_cpflow", str(repo)],
                "ccdproc.combine": [*peer, "ccdproc", str(raws)],
                "astropy sigma_clip": [*peer, "astropy", str(raws)],
            }  # fmt: skip
            results = compare(commands, options.rounds)
            print(
                f"\n{options.exposures} biases, LATISS at 1/{options.scale} of its size in both "
                f"directions, {'RICE' if compress == 'rice' else 'plain'} FITS, one core\n"
            )
            print(table(results, "cpflow"), flush=True)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
