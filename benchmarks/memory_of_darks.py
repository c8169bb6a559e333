"""Peak memory of a master dark from many full-size frames, against what the plan says.

python benchmarks/memory_of_darks.py [--darks 100] [--scale 1] [--directory DIR]

Simulates LATISS biases and darks (75 MB each at full size), builds the bias, and then the dark in a
process of its own, once for each number of threads. Prints the peak resident memory over what
`cpflow run --dry-run` states, and the bytes of all frames over the peak.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from cpflow import Repo
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.simulate import Truth, bias_sequence, dark_sequence, simulate
from cpflow.simulate.cosmic_rays import CosmicRays
from cpflow.simulate.dark import Dark

INPUTS = "LATISS/raw/all,u/bench/bias"
BUILD = """
import sys, time
from cpflow import Repo
from cpflow.scheduler import load_profile, run_plan
root, threads = sys.argv[1], int(sys.argv[2])
with Repo(root) as repo:
    plan = repo.plan("dark", "observation_type='dark'", inputs=sys.argv[3])
    began = time.perf_counter()
    profile = load_profile("threads", workers=threads)
    run_plan(plan, output_run=f"u/bench/dark{threads}", profile=profile)
    seconds = time.perf_counter() - began
    # Not ru_maxrss, which a process inherits from the one that starts it.
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    peak = int(status["VmHWM"].split()[0]) * 1024
    print(peak, plan.memory(threads), plan.bytes_to_read, seconds)
"""


def main() -> None:
    """Simulate, build and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--darks", type=int, default=100)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        here = Path(directory)
        camera = load_instrument("latiss")
        camera = camera if options.scale == 1 else scaled(camera, options.scale)
        truth = Truth(dark=Dark(), cosmic_rays=CosmicRays())
        for sequence in (
            bias_sequence(10, truth=truth),
            dark_sequence(options.darks, exposure_time=30.0, truth=truth),
        ):
            simulate(here / "raws", camera, sequence, truth=truth)
        dump_instrument(camera, here / "raws" / "instrument.yaml")
        Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
        with Repo(here / "repo") as repo:
            repo.ingest(here / "raws")
            repo.plan("bias", "observation_type='bias'").run(output="u/bench/bias")
        for threads in (1, 2):
            done = subprocess.run(
                [sys.executable, "-c", BUILD, str(here / "repo"), str(threads), INPUTS],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            peak, stated, read, seconds = map(float, done.stdout.split())
            print(
                json.dumps(
                    {
                        "threads": threads,
                        "darks": options.darks,
                        "peak_MiB": round(peak / 2**20),
                        "stated_MiB": round(stated / 2**20),
                        "peak_over_stated": round(peak / stated, 3),
                        "bytes_read_over_peak": round(read / peak, 1),
                        "seconds": round(seconds, 1),
                    }
                )
            )


if __name__ == "__main__":
    main()
