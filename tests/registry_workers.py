"""What processes do to one registry at the same time; importable by a spawned interpreter."""

from __future__ import annotations

import os
from typing import Any

from registries import CAM, exposure, raw

from cpflow.errors import CollectionCycleError, ConflictError
from cpflow.registry import Registry
from cpflow.timespan import Timespan

DETECTORS = (0, 1, 2, 3)


def race(url: str, barrier: Any, results: Any, worker: int, action: str, rounds: int) -> None:
    """Do the same action in step with others, and report what each round gave."""
    act = {"certify": certify, "cycle": cycle, "ingest": ingest, "replace": replace}[action]
    outcomes = []
    with Registry.open(url, timeout=120) as registry:
        for i in range(rounds):
            barrier.wait(120)
            try:
                outcomes.append(act(registry, worker, i))
            except (ConflictError, CollectionCycleError) as error:
                outcomes.append(type(error).__name__)
    results.put((worker, outcomes))


def certify(registry: Registry, worker: int, i: int) -> str:
    refs = registry.datasets("bias", f"run/{worker}")
    # In opposite orders, and over different but overlapping spans.
    refs = refs if worker else refs[::-1]
    registry.certify("calib", refs, Timespan(10 * i + worker, 10 * i + 5 + worker))
    return "done"


def replace(registry: Registry, worker: int, i: int) -> str:
    refs = registry.datasets("bias", f"run/{worker}")
    span = Timespan(7 * i + worker, 7 * i + 100)
    registry.certify("calib", refs if worker else refs[::-1], span, replace=True)
    return "done"


def cycle(registry: Registry, worker: int, i: int) -> str:
    mine, other = ("A", "B") if worker else ("B", "A")
    registry.change_chain(f"{mine}{i}", [f"{other}{i}"])
    return "done"


def ingest(registry: Registry, worker: int, i: int) -> str:
    # Every other exposure is known already, and only its files are new.
    one = exposure(seq_num=i - i % 2)
    detectors = DETECTORS[2:] if i % 2 else DETECTORS[:2]
    files = [raw(one, d) for d in detectors]
    states = registry.add_exposure(one, files, f"{CAM}/raw/all").raws
    return " ".join(sorted(set(states.values())))


def ingest_until_killed(url: str, ready: Any, begin: int) -> None:
    """Add exposures with four files each."""
    with Registry.open(url, timeout=120) as registry:
        for i in range(begin, begin + 100_000):
            one = exposure(seq_num=i)
            registry.add_exposure(one, [raw(one, d) for d in DETECTORS], f"{CAM}/raw/all")
            ready.set()


def certify_until_killed(url: str, ready: Any, begin: int) -> None:
    """Certify and decertify four detectors at a time."""
    with Registry.open(url, timeout=120) as registry:
        refs = registry.datasets("bias", "run/0")
        for i in range(begin, begin + 100_000):
            span = Timespan(10 * i, 10 * i + 10)
            registry.certify("calib", refs, span, replace=True)
            registry.decertify("calib", "bias", Timespan(10 * i + 3, 10 * i + 4))
            if i % 5 == 4:
                registry.decertify("calib", "bias", Timespan(None, 10 * i))
            ready.set()


def publish_until_killed(url: str, ready: Any, begin: int) -> None:
    """Publish runs of four datasets into a chain."""
    from registries import ref

    with Registry.open(url, timeout=120) as registry:
        for i in range(begin, begin + 100_000):
            run = f"out/{os.getpid()}-{i}"
            registry.publish(run, [ref(run, detector=d) for d in DETECTORS], chain="out")
            ready.set()
