"""Seconds of each kind of task, by which `cpflow run --dry-run` projects the time on a cluster.

python benchmarks/task_times.py [--exposures 12] [--scale 1] [--directory DIR]

Full-size LATISS exposures (75 MB each, uncompressed, in the page cache), one thread: bias, dark and
flat, task by task. Printed per million pixels: of raw frames for what looks at whole frames, of
raw frames of all exposures for a band, of the product for the rest. Then what Dask's scheduler
takes for a task that does nothing, with worker processes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from cpflow import Repo
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.plan import kind_of
from cpflow.scheduler.flow import Flow
from cpflow.simulate import (
    Observation,
    Sequence,
    Truth,
    bias_sequence,
    dark_sequence,
    simulate,
)  # fmt: skip


class Timed:
    """An executor of one thread that times tasks by kind."""

    cores = 1

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._done: list[tuple[str, Any]] = []

    def submit(self, name: str, value: Any, tick: Any) -> None:
        import dask

        began: dict[Any, float] = {}

        def before(key: Any, *_: Any) -> None:
            began[key] = time.perf_counter()

        def after(key: Any, *_: Any) -> None:
            self.seconds[kind_of(key)].append(time.perf_counter() - began[key])

        (result,) = dask.compute(
            value, scheduler="sync", callbacks=[(None, None, before, after, None)]
        )
        self._done.append((name, result))

    def completed(self) -> Any:
        from cpflow.scheduler.executors import Outcome

        return Outcome(*self._done.pop())

    def close(self) -> None:
        """Nothing is left."""


def times(repo: Repo, graph: str, inputs: str) -> dict[str, Any]:
    """Build a product twice, and return times of the second: the first compiles and loads."""
    from cpflow.scheduler.events import ignore

    plan = repo.plan(graph, f"observation_type='{graph}'", inputs=inputs)
    for turn in range(2):
        timed = Timed()
        staging = repo.store.staging(f"{turn:032d}")
        Flow(plan, staging, timed, ignore, lambda product: "u/bench/run", 1).run()
        repo.store.discard(staging)
    (product,) = plan.products
    rows, columns = product.detector.raw_shape
    raw = rows * columns * len(product.detector.amplifiers) / 1e6
    pixels = product.detector.shape[0] * product.detector.shape[1] / 1e6
    found: dict[str, Any] = {"graph": graph, "exposures": len(product.raws)}
    for kind, seconds in sorted(timed.seconds.items()):
        if sum(seconds) < 0.01:
            continue
        if kind.startswith("measure-") or kind.endswith("-band"):
            per = raw * len(product.raws)
        else:
            per = pixels
        found[kind] = round(sum(seconds) / per, 5)
    return found


def overhead(count: int, directory: Path) -> dict[str, Any]:
    """Processor seconds of the scheduler's process for each of many tasks that do nothing.

    It is one thread, so that no cluster does more tasks in a second, however many workers it has.
    """
    from dask.delayed import delayed
    from distributed import Client
    from plan_many_detectors import scheduler

    with scheduler(directory) as (address, pid), Client(address) as client:
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
        process = subprocess.Popen(
            [*worker, "--nworkers", "2", "--no-dashboard"],
            cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            client.wait_for_workers(2, timeout=60)
            seconds = []
            for _ in range(2):
                tasks = [delayed(abs, pure=False)(i) for i in range(count)]
                before, began = _processor_seconds(pid), time.perf_counter()
                client.compute(delayed(len, pure=False)(tasks)).result()
                wall = time.perf_counter() - began
                seconds.append(_processor_seconds(pid) - before)
        finally:
            process.terminate()
            process.wait()
    return {
        "tasks": count,
        "scheduler_processor_seconds_a_task": round(seconds[-1] / count, 6),
        "wall_seconds_a_task_on_two_cores": round(wall / count, 6),
    }


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Simulate, build and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exposures", type=int, default=12)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        here = Path(directory)
        camera = load_instrument("latiss")
        camera = camera if options.scale == 1 else scaled(camera, options.scale)
        truth = Truth()
        flats = Sequence(
            tuple(
                Observation(
                    day_obs=20210122, seq_num=1 + i, type="flat", exposure_time=10.0, lamp=2500.0,
                    filter="RG610~empty", target="flat",
                )
                for i in range(options.exposures)
            ),
            truth=truth,
        )  # fmt: skip
        for sequence in (
            bias_sequence(options.exposures, truth=truth),
            dark_sequence(options.exposures, exposure_time=30.0, truth=truth),
            flats,
        ):
            simulate(here / "raws", camera, sequence, truth=truth)
        dump_instrument(camera, here / "raws" / "instrument.yaml")
        Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
        with Repo(here / "repo") as repo:
            repo.ingest(here / "raws")
            inputs = "LATISS/raw/all"
            for graph in ("bias", "dark", "flat"):
                print(json.dumps(times(repo, graph, inputs)), flush=True)
                repo.plan(graph, f"observation_type='{graph}'", inputs=inputs).run(
                    output=f"u/bench/{graph}"
                )
                inputs = f"u/bench/{graph},{inputs}"
        print(json.dumps(overhead(5_000, here)), flush=True)


if __name__ == "__main__":
    main()
