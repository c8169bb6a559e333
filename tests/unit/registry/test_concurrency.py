"""Several processes at once, and processes that are killed (issue 3, acceptance)."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import registry_workers as workers
from registries import make

from cpflow.registry import Registry

SPAWN = multiprocessing.get_context("spawn")
ROUNDS = [20, pytest.param(200, marks=pytest.mark.slow)]
KILLS = [3, pytest.param(50, marks=pytest.mark.slow)]


def race(url: str, action: str, rounds: int, processes: int = 2) -> dict[int, list[str]]:
    """Run processes in step and return what each round gave to each."""
    barrier, results = SPAWN.Barrier(processes), SPAWN.Queue()
    started = [
        SPAWN.Process(target=workers.race, args=(url, barrier, results, n, action, rounds))
        for n in range(processes)
    ]
    for process in started:
        process.start()
    try:
        outcomes = dict(results.get(timeout=300) for _ in started)
    finally:
        for process in started:
            process.join(30)
            process.kill()
    assert all(process.exitcode == 0 for process in started)
    return outcomes


@pytest.fixture
def two_runs(registry: Registry) -> Registry:
    for n in range(2):
        make(registry, f"run/{n}", "bias", workers.DETECTORS)
    registry.register_collection("calib", "CALIBRATION")
    return registry


@pytest.mark.parametrize("rounds", ROUNDS)
def test_V13_overlapping_certifications_at_once(two_runs: Registry, url: str, rounds: int) -> None:
    outcomes = race(url, "certify", rounds)
    for pair in zip(*outcomes.values(), strict=True):
        assert sorted(pair) == ["ConflictError", "done"]
    rows = two_runs.certified("calib")
    assert len(rows) == rounds * len(workers.DETECTORS)
    by_span = Counter((row.timespan.begin, row.dataset.run) for row in rows)
    assert set(by_span.values()) == {len(workers.DETECTORS)}
    assert two_runs.problems() == []


@pytest.mark.parametrize("rounds", ROUNDS)
def test_V20_replacing_at_once_leaves_one_of_them(
    two_runs: Registry, url: str, rounds: int
) -> None:
    outcomes = race(url, "replace", rounds)
    assert {outcome for given in outcomes.values() for outcome in given} == {"done"}
    assert two_runs.problems() == []


@pytest.mark.parametrize("rounds", ROUNDS)
def test_C16_two_changes_cannot_close_a_cycle_between_them(
    registry: Registry, url: str, rounds: int
) -> None:
    for i in range(rounds):
        registry.register_collection(f"A{i}", "CHAINED")
        registry.register_collection(f"B{i}", "CHAINED")
    outcomes = race(url, "cycle", rounds)
    for pair in zip(*outcomes.values(), strict=True):
        assert sorted(pair) == ["CollectionCycleError", "done"]


@pytest.mark.parametrize("rounds", ROUNDS)
def test_the_same_exposures_ingested_at_once(registry: Registry, url: str, rounds: int) -> None:
    outcomes = race(url, "ingest", rounds)
    for pair in zip(*outcomes.values(), strict=True):
        assert sorted(pair) == ["added", "already"]
    assert len(registry.select()) == rounds * 2


def kill(url: str, work: Callable[..., None], begin: int, seconds: float) -> None:
    ready = SPAWN.Event()
    process = SPAWN.Process(target=work, args=(url, ready, begin))
    process.start()
    assert ready.wait(60)
    time.sleep(seconds)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def whole(counts: Counter[Any]) -> bool:
    return set(counts.values()) <= {len(workers.DETECTORS)}


@pytest.mark.parametrize("kills", KILLS)
def test_killed_while_ingesting(
    registry: Registry, url: str, reopen: Callable[[], Registry], kills: int
) -> None:
    rng = random.Random(kills)
    for n in range(kills):
        kill(url, workers.ingest_until_killed, 100 * n, rng.uniform(0, 0.15))
        with reopen() as again:
            assert again.problems() == []
            found = Counter(one.exposure for one, _ in again.select())
            assert whole(found)
            assert len(found) == len(again.exposures())
    assert registry.exposures()


@pytest.mark.parametrize("kills", KILLS)
def test_killed_while_certifying(
    two_runs: Registry, url: str, reopen: Callable[[], Registry], kills: int
) -> None:
    rng = random.Random(kills)
    for n in range(kills):
        kill(url, workers.certify_until_killed, 1000 * n, rng.uniform(0, 0.15))
        with reopen() as again:
            assert again.problems() == []
            assert whole(Counter(row.timespan for row in again.certified("calib")))
    assert two_runs.certified("calib")


@pytest.mark.parametrize("kills", KILLS)
def test_killed_while_publishing(
    registry: Registry, url: str, reopen: Callable[[], Registry], kills: int
) -> None:
    rng = random.Random(kills)
    for n in range(kills):
        kill(url, workers.publish_until_killed, 1000 * n, rng.uniform(0, 0.15))
        with reopen() as again:
            assert again.problems() == []
            runs = again.collection_names("out/*")
            assert whole(Counter(ref.run for ref in again.datasets()))
            if runs:
                assert sorted(again.collection("out").children) == runs
    assert registry.collection_names()
