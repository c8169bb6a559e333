"""Time and memory of a photon transfer curve from full-size flat pairs, over merely reading them.

python benchmarks/ptc_pairs.py [--pairs 40] [--scale 1] [--directory DIR]

Simulates LATISS biases and pairs of flats (75 MB a frame at full size). In processes of their own,
with the same number of threads: the pixels of all flats are read once through astropy, and the
curve is measured. Prints the ratio of the times (wall and cpu) and of the peak memories.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from cpflow import Repo
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, simulate
from cpflow.simulate.flatfield import FlatField

MEASURE = """
import resource, sys, time
began = time.perf_counter()
{work}
usage = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss, which a process inherits from the one that starts it.
peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
print(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, peak * 1024)
"""
READ = """
from concurrent.futures import ThreadPoolExecutor
from astropy.io import fits
def read(path):
    total = 0
    with fits.open(path) as hdus:
        for hdu in hdus[1:]:
            total += int(hdu.data.sum())
    return total
with ThreadPoolExecutor(int(sys.argv[1])) as pool:
    sum(pool.map(read, sys.argv[3:]))
"""
PTC = """
from cpflow import Repo
from cpflow.scheduler import load_profile, run_plan
with Repo(sys.argv[2]) as repo:
    plan = repo.plan("ptc", "observation_type='flat'", inputs="LATISS/raw/all,u/bench/bias",
                     config={"isr.dark": False})
    profile = load_profile("threads", workers=int(sys.argv[1]))
    run_plan(plan, output=f"u/bench/ptc{sys.argv[1]}", profile=profile)
"""


def run(work: str, threads: int, repo: Path, flats: list[str]) -> tuple[float, float, float]:
    """Run a script in a process of its own; return its wall time, cpu time and peak memory."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(work=work), str(threads), str(repo), *flats],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    wall, cpu, peak = map(float, done.stdout.split())
    return wall, cpu, peak


def main() -> None:
    """Simulate, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        here = Path(directory)
        camera = load_instrument("latiss")
        camera = camera if options.scale == 1 else scaled(camera, options.scale)
        truth = Truth(flat=FlatField(lamp_scatter=0.0))
        times = np.geomspace(0.1, 18, options.pairs).round(3)
        flats = Sequence(
            tuple(
                Observation(
                    day_obs=20210311, seq_num=1 + i, type="flat", filter="empty~empty",
                    exposure_time=float(times[i // 2]), lamp=5000.0, target="flat",
                )
                for i in range(2 * options.pairs)
            ),
            truth=truth,
        )  # fmt: skip
        simulate(here / "raws", camera, bias_sequence(10, truth=truth), truth=truth)
        made = simulate(here / "raws", camera, flats, truth=truth)
        dump_instrument(camera, here / "raws" / "instrument.yaml")
        Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
        with Repo(here / "repo") as repo:
            repo.ingest(here / "raws")
            repo.plan("bias", "observation_type='bias'").run(output="u/bench/bias")
        paths = [str(path) for path in made.paths][-2 * options.pairs :]
        for threads in (1, 2):
            read = run(READ, threads, here / "repo", paths)
            ptc = run(PTC, threads, here / "repo", paths)
            print(
                json.dumps(
                    {
                        "threads": threads,
                        "pairs": options.pairs,
                        "ptc_seconds": round(ptc[0], 1),
                        "wall_over_reading": round(ptc[0] / read[0], 2),
                        "cpu_over_reading": round(ptc[1] / read[1], 2),
                        "ptc_peak_MiB": round(ptc[2] / 2**20),
                        "memory_over_reading": round(ptc[2] / read[2], 2),
                        "all_frames_over_peak": round(
                            sum(Path(p).stat().st_size for p in paths) / ptc[2], 1
                        ),
                    }
                )
            )


if __name__ == "__main__":
    main()
