"""Workers of their own: tasks per second, overhead per task, speed-up, and memory against the plan.

python benchmarks/cluster_scaling.py [--exposures 30] [--rounds 3] [--directory DIR]

Simulates full-size LATISS biases and darks. A scheduler, and one or two workers of one thread each,
are processes of their own; the client is this one. For a bias and a dark it prints, as JSON:

- the wall time with a thread of this process, and with one and two workers that have worked
  before; of these runs in turn, 1 2 1 2, the median; and beside it that of the first run of new
  workers;
- the peak of each worker's resident memory over the memory limit that the plan states for it, and
  that of the scheduler;
- tasks per second, and what a task costs on a worker beyond what it costs in a thread.

And for tasks that do nothing, how many pass through the scheduler in a second. Files are in the
page cache after the first round, which is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plan_many_detectors import memory_of, scheduler

from cpflow import Repo
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.plan import Plan
from cpflow.scheduler import load_profile, run_plan
from cpflow.scheduler.fitting import worker_memory
from cpflow.scheduler.profiles import AddressProfile, Profile, Worker
from cpflow.simulate import Truth, bias_sequence, dark_sequence, simulate
from cpflow.simulate.cosmic_rays import CosmicRays
from cpflow.simulate.dark import Dark

INPUTS = "LATISS/raw/all,u/bench/bias"
NOTHING = 5000


@dataclass(frozen=True)
class Measured:
    """One run."""

    seconds: float
    cold: float = 0.0
    """Of the first run on workers that have just started: they import and load kernels."""
    workers: tuple[int, ...] = ()
    """Peak resident memory of each, bytes."""
    scheduler: int = 0


@contextmanager
def cluster(directory: Path, workers: int, memory: int) -> Iterator[tuple[str, int, list[int]]]:
    """Start scheduler and workers; yield the address and the process ids."""
    from distributed import Client

    with scheduler(directory) as (address, scheduler_pid):
        processes = [
            subprocess.Popen(
                [
                    sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny",
                    "--no-dashboard", "--nthreads", "1", "--memory-limit", str(memory),
                    "--local-directory", str(directory),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(workers)
        ]  # fmt: skip
        try:
            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(workers)
            yield address, scheduler_pid, [process.pid for process in processes]
        finally:
            for process in processes:
                process.terminate()
                process.wait()


def timed(plan: Plan, name: str, profile: Profile) -> float:
    """Run a plan and return its wall seconds."""
    began = time.perf_counter()
    run_plan(plan, output_run=name, profile=profile)
    return time.perf_counter() - began


def on_workers(plan: Plan, name: str, workers: int, directory: Path) -> Measured:
    """Run a plan on a cluster of its own."""
    profile = AddressProfile(address="tcp://unknown:0", workers=workers, worker=Worker(threads=1))
    limit = worker_memory(plan, profile)
    with cluster(directory, workers, limit) as (address, scheduler_pid, pids):
        there = profile.model_copy(update={"address": address})
        cold = timed(plan, f"{name}-cold", there)
        seconds = timed(plan, name, there)
        peaks = tuple(memory_of(pid, "VmHWM") for pid in pids)
        return Measured(seconds, cold, peaks, memory_of(scheduler_pid, "VmHWM"))


def tasks_that_do_nothing(directory: Path, workers: int) -> float:
    """Return how many such tasks pass through the scheduler in a second."""
    from distributed import Client

    with cluster(directory, workers, 2**30) as (address, _, _), Client(address) as client:
        client.gather(client.map(abs, range(-100, 0)))
        began = time.perf_counter()
        client.gather(client.map(abs, range(NOTHING)))
        return NOTHING / (time.perf_counter() - began)


def measure(repo: Repo, graph: str, options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Build one product in all ways, in turn, and compare."""
    inputs = {} if graph == "bias" else {"inputs": INPUTS}
    plan = repo.plan(graph, f"observation_type='{graph}'", **inputs)
    runs: dict[str, list[Measured]] = {"threads": [], "1": [], "2": []}
    for turn in range(options.rounds + 1):
        for kind in runs:
            name = f"u/bench/{graph}{kind}-{turn}"
            measured = (
                Measured(timed(plan, name, load_profile("threads", workers=1)))
                if kind == "threads"
                else on_workers(plan, name, int(kind), directory)
            )
            if turn:
                runs[kind].append(measured)
    seconds = {kind: statistics.median(one.seconds for one in runs[kind]) for kind in runs}
    profile = AddressProfile(address="tcp://unknown:0", workers=2, worker=Worker(threads=1))
    stated = worker_memory(plan, profile)
    peaks = [peak for kind in ("1", "2") for one in runs[kind] for peak in one.workers]
    schedulers = [one.scheduler for kind in ("1", "2") for one in runs[kind]]
    return {
        "graph": graph,
        "exposures": len(plan.products[0].raws),
        "tasks": plan.tasks,
        "seconds": {kind: round(value, 2) for kind, value in seconds.items()},
        "seconds_of_new_workers": {
            kind: round(statistics.median(one.cold for one in runs[kind]), 2) for kind in ("1", "2")
        },
        "one_over_two_workers": round(seconds["1"] / seconds["2"], 2),
        "worker_over_thread": round(seconds["1"] / seconds["threads"], 2),
        "tasks_per_second_two_workers": round(plan.tasks / seconds["2"], 1),
        "overhead_ms_per_task": round(1000 * (seconds["1"] - seconds["threads"]) / plan.tasks, 1),
        "worker_stated_MiB": round(stated / 2**20),
        "worker_peak_MiB": round(max(peaks) / 2**20),
        "worker_peak_over_stated": round(max(peaks) / stated, 3),
        "scheduler_peak_MiB": round(max(schedulers) / 2**20),
        "scheduler_peak_over_stated": round(max(schedulers) / plan.scheduler_memory(2), 3),
    }


def main() -> None:
    """Simulate, build and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exposures", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--raws", type=Path, help="full-size LATISS raws, instead of simulating")
    parser.add_argument("--graphs", nargs="+", default=["bias", "dark"])
    options = parser.parse_args()
    if options.directory is not None:
        options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        here = Path(directory)
        raws = options.raws or here / "raws"
        camera = load_instrument("latiss")
        camera = camera if options.scale == 1 else scaled(camera, options.scale)
        truth = Truth(dark=Dark(), cosmic_rays=CosmicRays())
        for sequence in (
            bias_sequence(options.exposures, truth=truth),
            dark_sequence(options.exposures, exposure_time=30.0, truth=truth),
        ):
            if options.raws is None:
                simulate(raws, camera, sequence, truth=truth)
        dump_instrument(camera, here / "instrument.yaml")
        Repo.create(here / "repo", here / "instrument.yaml").close()
        with Repo(here / "repo") as repo:
            repo.ingest(raws)
            repo.plan("bias", "observation_type='bias'").run(output="u/bench/bias")
            for graph in options.graphs:
                print(json.dumps(measure(repo, graph, options, here)), flush=True)
        for workers in (1, 2):
            rate = tasks_that_do_nothing(here, workers)
            print(json.dumps({"tasks_that_do_nothing_per_second": round(rate), "workers": workers}))


if __name__ == "__main__":
    main()
