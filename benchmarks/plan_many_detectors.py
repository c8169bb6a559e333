"""Planning the whole LSSTCam, and the memory of the scheduler that holds a part of the plan.

python benchmarks/plan_many_detectors.py [--exposures 60] [--detectors 189] [--cores 2 100 1000]

No pixel is read: see `focal_plane_scene`. For each graph a process of its own plans all detectors;
then the products that a run has in flight on so many cores are sent to a real Dask scheduler, a
process of its own without workers, so that it holds all of their tasks. Printed as JSON: seconds
and tasks of the plan, and the peak of the scheduler's resident memory against what the plan states
(`Plan.scheduler_memory`).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import focal_plane_scene

from cpflow.plan import Plan
from cpflow.scheduler.binding import Binding
from cpflow.scheduler.jobs import product_job
from cpflow.session import Repo


def memory_of(pid: int, field: str) -> int:
    """Bytes of a process: VmRSS now, VmHWM at its peak."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return int(status[field].split()[0]) * 1024


@contextmanager
def scheduler(directory: Path) -> Iterator[tuple[str, int]]:
    """Start a scheduler as a process of its own; yield its address and process id."""
    facts = directory / "scheduler.json"
    facts.unlink(missing_ok=True)
    process = subprocess.Popen(
        [
            sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
            "--port", "0", "--no-dashboard", "--scheduler-file", str(facts),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            assert process.poll() is None, "the scheduler does not start"
            try:
                address = json.loads(facts.read_text())["address"]
                break
            except (OSError, ValueError, KeyError):
                time.sleep(0.1)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait()


def hold(plan: Plan, cores: int, directory: Path) -> dict[str, Any]:
    """Let a scheduler hold what is in flight on so many cores, and measure it."""
    from distributed import Client

    products = plan.products[: plan.in_flight(cores)]
    staging = plan.repository.store.staging("0" * 32)
    binding = Binding(staging)
    with scheduler(directory) as (address, pid), Client(address) as client:
        alone = memory_of(pid, "VmRSS")
        futures, tasks = [], 0
        began = time.perf_counter()
        for product in products:
            job = product_job(product, plan, "u/bench/run", staging)
            # Values of solutions over detectors are not there: a small one stands for each.
            for one in plan.together:
                binding.solutions[one.key] = {}
            value = binding.bind(job.key, job.nodes, product.promises)
            tasks += len(job.nodes)
            futures.append(client.compute(value))

        def known(dask_scheduler: Any = None) -> int:
            return len(dask_scheduler.tasks)

        while client.run_on_scheduler(known) < 0.99 * tasks:
            time.sleep(0.2)
        seconds = time.perf_counter() - began
        held = int(client.run_on_scheduler(known))
        time.sleep(1)
        now, peak = memory_of(pid, "VmRSS"), memory_of(pid, "VmHWM")
        client.cancel(futures)
    stated = plan.scheduler_memory(cores)
    return {
        "cores": cores,
        "in_flight": len(products),
        "tasks_held": held,
        "seconds_to_submit": round(seconds, 2),
        "scheduler_alone_MiB": round(alone / 2**20),
        "scheduler_MiB": round(now / 2**20),
        "scheduler_peak_MiB": round(peak / 2**20),
        "stated_MiB": round(stated / 2**20),
        "peak_over_stated": round(peak / stated, 3),
        "bytes_a_task": round((peak - alone) / held),
    }


_WORKERS = """
import asyncio, sys
from distributed import Worker

async def main():
    workers = [Worker(sys.argv[1], nthreads=1, dashboard=False) for _ in range(int(sys.argv[2]))]
    await asyncio.gather(*workers)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def workers(count: int, directory: Path) -> dict[str, Any]:
    """Measure what a connected worker takes: many in one process, each with its own comm."""
    from distributed import Client

    with scheduler(directory) as (address, pid), Client(address) as client:
        before = memory_of(pid, "VmRSS")
        process = subprocess.Popen(
            [sys.executable, "-c", _WORKERS, address, str(count)],
            cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            client.wait_for_workers(count, timeout=120)
            # Some heartbeats, with their metrics.
            time.sleep(15)
            after = memory_of(pid, "VmRSS")
        finally:
            process.kill()
            process.wait()
    return {"workers": count, "bytes_a_worker": round((after - before) / count)}


def one(root: Path, graph: str, cores: list[int]) -> None:
    """Plan one graph, and print what it took."""
    with Repo(root) as repo:
        began, processor = time.perf_counter(), time.process_time()
        plan = repo.plan(graph, f"exposure.observation_type='{graph}'")
        planned = time.perf_counter() - began
        tasks, _ = plan.tasks, plan.identity
        whole = time.perf_counter() - began
        facts = plan.products[0].facts
        print(
            json.dumps(
                {
                    "graph": graph,
                    "products": len(plan.products),
                    "exposures": len(plan.exposures),
                    "seconds_to_plan": round(planned, 2),
                    "seconds_with_counts_and_identity": round(whole, 2),
                    "processor_seconds": round(time.process_time() - processor, 2),
                    "tasks": tasks,
                    "tasks_of_a_product": facts.tasks,
                    "bands": facts.bands,
                    "peak_memory_of_planning_MiB": round(
                        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                    ),
                }
            ),
            flush=True,
        )
        with tempfile.TemporaryDirectory() as directory:
            for number in cores:
                held = hold(plan, number, Path(directory))
                print(json.dumps({"graph": graph, **held}), flush=True)


def main() -> None:
    """Make the repository, then plan each graph in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exposures", type=int, default=60)
    parser.add_argument("--detectors", type=int, default=189)
    parser.add_argument("--cores", type=int, nargs="*", default=[2, 100, 1000])
    parser.add_argument("--graphs", nargs="*", default=list(focal_plane_scene.TYPES))
    parser.add_argument("--repo", type=Path, help="Made if it is not there, and kept.")
    parser.add_argument("--workers", type=int, default=100, help="To measure what one takes.")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.repo, options.one, options.cores)
        return
    with tempfile.TemporaryDirectory() as directory:
        if options.workers:
            print(json.dumps(workers(options.workers, Path(directory))), flush=True)
        root = options.repo or Path(directory) / "repo"
        if not root.exists():
            focal_plane_scene.make(root, options.exposures, options.detectors).close()
        for graph in options.graphs:
            command = [sys.executable, __file__, "--repo", str(root), "--one", graph, "--cores"]
            subprocess.run([*command, *map(str, options.cores)], check=True)


if __name__ == "__main__":
    main()
