"""Run a command as a whole process and account for it: processor time, wall time, peak memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process used."""

    cpu: float
    """Seconds of processor time, user and system."""
    wall: float
    """Seconds."""
    memory: int
    """Peak resident memory in bytes."""


def run(command: Sequence[str], *, one_core: bool = False) -> Usage:
    """Run a command and return what it used; its output is thrown away.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=(lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))
        if one_core
        else None,
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{errors.decode()[-2000:]}")
    return Usage(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024)


def compare(commands: dict[str, Sequence[str]], rounds: int = 3) -> dict[str, Usage]:
    """Run commands in turn, A B C A B C, so that a drift of the machine meets all of them.

    One round of each is not counted: it fills caches and compiles kernels.
    """
    used: dict[str, list[Usage]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            usage = run(command)
            if turn:
                used[name].append(usage)
    return {
        name: Usage(
            statistics.median(u.cpu for u in all_used),
            statistics.median(u.wall for u in all_used),
            int(statistics.median(u.memory for u in all_used)),
        )
        for name, all_used in used.items()
    }


def table(results: dict[str, Usage], ours: str) -> str:
    """Return results as Markdown; ratios are ours over theirs."""
    lines = [
        "| | cpu / s | wall / s | peak memory / MiB | cpu, ours / theirs | memory, ours / theirs |",
        "|---|---|---|---|---|---|",
    ]
    mine = results[ours]
    for name, usage in results.items():
        lines.append(
            f"| {name} | {usage.cpu:.2f} | {usage.wall:.2f} | {usage.memory / 2**20:.0f} "
            f"| {mine.cpu / usage.cpu:.3f} | {mine.memory / usage.memory:.3f} |"
        )
    return "\n".join(lines)
