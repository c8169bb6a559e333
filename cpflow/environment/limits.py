"""What the kernel lets this process have: control groups of containers and batch jobs.

A container sees the cores and the memory of its whole machine, and is killed when it takes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Return how many cores this process may be scheduled on."""
    return len(os.sched_getaffinity(0))


def quota_of_cores(groups: Path = _GROUPS, membership: Path = _MEMBERSHIP) -> float | None:
    """Return how many cores' time this process may take, or None if all."""
    quotas = []
    for place in _places("cpu", groups, membership):
        words = _words(place / "cpu.max") or (
            _words(place / "cpu.cfs_quota_us") + _words(place / "cpu.cfs_period_us")
        )
        if len(words) == 2 and words[0] not in ("max", "-1"):
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def most_memory(groups: Path = _GROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Return how many bytes this process may have, by its machine and its groups."""
    limits = [_of_machine("MemTotal")]
    for place in _places("memory", groups, membership):
        most = _memory_limit(place)
        limits += [] if most is None else [most]
    return min(limits)


def free_memory(groups: Path = _GROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Return how many bytes this process may still take, by its machine and its groups."""
    free = [_of_machine("MemAvailable")]
    for place in _places("memory", groups, membership):
        most = _memory_limit(place)
        taken = _number(place / "memory.current", place / "memory.usage_in_bytes")
        if most is not None and taken is not None:
            # What is only cached is given up when somebody needs it.
            free.append(most - taken + _cached(place / "memory.stat"))
    return max(0, min(free))


def _of_machine(what: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == what:
            return int(value.split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _memory_limit(place: Path) -> int | None:
    return _number(place / "memory.max", place / "memory.limit_in_bytes")


def _places(controller: str, groups: Path, membership: Path) -> Iterator[Path]:
    """Yield the directories of this process's group and those above: each of them limits it."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top = groups
        elif controller in controllers.split(","):
            top = groups / controller
        else:
            continue
        here = top / path.lstrip("/")
        while here.is_relative_to(top):
            # Within a container the upper ones are often not to be seen.
            if here.is_dir():
                yield here
            here = here.parent


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _number(*paths: Path) -> int | None:
    for path in paths:
        words = _words(path)
        if words and words[0].isdecimal():
            return int(words[0])
    return None


def _cached(path: Path) -> int:
    words = _words(path)
    values = dict(zip(words[::2], words[1::2], strict=False))
    return int(values.get("inactive_file", values.get("total_inactive_file", 0)))
