"""A scheduler and workers in processes of their own, which say what they are at work on.

Workers write a line to a file when they begin to process rows of an exposure: what is done twice
can be counted, without asking cpflow. They can be told to misbehave by files.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from cpflow.scheduler.suspects import NO_WAITING

# Loaded by each worker, before any task.
_TRACER = """
import json, os, time
from pathlib import Path
import cpflow.stack.tasks as tasks

here = Path(os.environ["CPFLOW_TRACE"])
trace = os.open(here / "trace.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
# Dask may load this more than once.
plain = getattr(tasks.process, "plain", tasks.process)

def process(source, detector, rows, *rest):
    exposure = source.exposure.exposure
    place = None if rows is None else [rows.start, rows.stop]
    line = json.dumps({"pid": os.getpid(), "exposure": exposure, "rows": place})
    os.write(trace, line.encode() + b"\\n")
    for hog in (here / f"hog-{exposure}", here / f"hog-{exposure}-once"):
        if rows is None and hog.exists():
            if hog.name.endswith("once"):
                hog.unlink()
            taken = []
            for _ in range(200):
                taken.append(bytearray(16 * 2**20))
                time.sleep(0.01)
            time.sleep(60)
    time.sleep(float((here / "pace").read_text()))
    return plain(source, detector, rows, *rest)

process.plain = plain
tasks.process = process
"""


@dataclass(frozen=True)
class Call:
    """Rows of an exposure that a worker began to process; None for the whole frame."""

    pid: int
    exposure: int
    rows: tuple[int, int] | None

    def size(self, frame: int) -> int:
        return frame if self.rows is None else self.rows[1] - self.rows[0]


@dataclass
class Cluster:
    """A scheduler, and workers under nannies that start them again."""

    directory: Path
    workers: int = 2
    memory: str = "0"
    pace: float = 0.0
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> Cluster:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "tracer.py").write_text(_TRACER)
        self.set_pace(self.pace)
        self.port = _free_port()
        self.start_scheduler()
        for _ in range(self.workers):
            self.start_worker()
        self.wait_for_workers()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            for one in _family(process):
                one.kill()
            process.wait()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def set_pace(self, seconds: float) -> None:
        """Let each look at an exposure take so long more."""
        (self.directory / "pace").write_text(str(seconds))

    def start_scheduler(self) -> None:
        self.scheduler = self._start(
            "dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--dashboard-address",
            "127.0.0.1:0",
        )

    def start_worker(self) -> subprocess.Popen[bytes]:
        return self._start(
            "dask_worker", self.address, "--nthreads", "1", "--memory-limit", self.memory,
            "--dashboard-address", "127.0.0.1:0", "--preload", str(self.directory / "tracer.py"),
            "--death-timeout", "30", "--local-directory", str(self.directory),
        )  # fmt: skip

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "CPFLOW_TRACE": str(self.directory),
            **NO_WAITING,
            "DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL": "50ms",
        }
        with (self.directory / f"{program}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{program}", *arguments],
                stdout=log, stderr=log, env=environment,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def wait_for_workers(self, count: int | None = None) -> None:
        from distributed import Client

        with Client(self.address, timeout=30, set_as_default=False) as client:
            client.wait_for_workers(count or self.workers, timeout=60)

    def worker_pids(self) -> list[int]:
        """The processes that tasks run in."""
        nannies = [p for p in self.processes if p is not self.scheduler and p.poll() is None]
        return [
            one.pid
            for nanny in nannies
            for one in psutil.Process(nanny.pid).children(recursive=True)
            if "spawn_main" in " ".join(one.cmdline())
        ]

    def calls(self) -> list[Call]:
        """What workers have begun, oldest first."""
        path = self.directory / "trace.jsonl"
        if not path.exists():
            return []
        found: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
        return [
            Call(one["pid"], one["exposure"], tuple(one["rows"]) if one["rows"] else None)
            for one in found
        ]

    def forget(self) -> None:
        """Begin a new list of calls."""
        path = self.directory / "trace.jsonl"
        if path.exists():
            os.truncate(path, 0)

    def begun(self) -> int:
        """How many calls there are."""
        path = self.directory / "trace.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it has started, and wait."""
    for one in _family(process):
        one.kill()
    process.wait()


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    if process.poll() is not None:
        return []
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.001)
    return found


def recorded(root: Path, slug: str = "bias-0") -> tuple[set[int], set[int]]:
    """The exposures whose measurement is in the staging of the only run, and the bands."""
    (staging,) = [path for path in (root / ".staging").iterdir() if path.is_dir()]
    exposures = {int(p.name.split("-")[2]) for p in (staging / "values").glob("measure-*.npz")}
    bands = {int(p.stem.split("-")[1]) for p in (staging / "bands" / slug).glob("band-*.json")}
    return exposures, bands


@dataclass(frozen=True)
class Work:
    """How many rows of exposures were processed, and how many of them in vain."""

    frame: int
    band_rows: int

    def rows(self, calls: list[Call]) -> int:
        return sum(call.size(self.frame) for call in calls)

    def lost(self, calls: list[Call], done: tuple[set[int], set[int]]) -> int:
        """Rows whose result is neither in a measurement nor in a band that is recorded."""
        exposures, bands = done
        return self.rows(
            [
                call
                for call in calls
                if (
                    call.exposure not in exposures
                    if call.rows is None
                    else call.rows[0] // self.band_rows not in bands
                )
            ]
        )

    def most_often(self, calls: list[Call]) -> int:
        return max(Counter((call.exposure, call.rows) for call in calls).values())


def freeze(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)


def thaw(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
