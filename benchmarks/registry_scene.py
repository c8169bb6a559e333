"""The repository that both sides of the registry benchmark are measured on: plain numbers only."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

PER_DAY = 200
TYPES = ("bias", "dark", "flat", "science")
QUERY = "instrument='Cam' AND exposure.observation_type='bias' AND exposure.day_obs > 20210201"
FIRST = date(2021, 1, 1)


@dataclass(frozen=True)
class Scene:
    """Sizes; `raw_exposures` is how many of the exposures have raw files."""

    root: str
    exposures: int
    raw_exposures: int
    detectors: int
    collections: int = 50
    depth: int = 20
    certifications: int = 1000
    one_by_one: int = 200

    @property
    def days(self) -> int:
        return -(-self.exposures // PER_DAY)


@dataclass(frozen=True)
class Shot:
    """One exposure."""

    id: int
    seq_num: int
    day_obs: int
    kind: str
    begin: datetime
    seconds: float


def shots(scene: Scene) -> Iterator[Shot]:
    for i in range(scene.exposures):
        day, number = divmod(i, PER_DAY)
        when = FIRST + timedelta(days=day)
        day_obs = int(when.strftime("%Y%m%d"))
        begin = datetime(when.year, when.month, when.day, 13) + timedelta(seconds=60 * number)
        yield Shot(day_obs * 100_000 + number, number, day_obs, TYPES[number % 4], begin, 15.0)


def slices(scene: Scene) -> list[tuple[datetime, datetime]]:
    """The span of each CALIBRATION collection: one after the other over all days."""
    begin = datetime(FIRST.year, FIRST.month, FIRST.day)
    step = timedelta(days=scene.days) / scene.collections
    edges = [begin + i * step for i in range(scene.collections + 1)]
    return list(pairwise(edges))


def chains(scene: Scene) -> list[tuple[str, list[str]]]:
    """Chains from the deepest up; each holds the one below it and its share of collections."""
    names = [f"calib/{i:02d}" for i in range(scene.collections)]
    share = -(-len(names) // scene.depth)
    made: list[tuple[str, list[str]]] = []
    for level in range(scene.depth):
        below = [made[-1][0]] if made else []
        held = names[level * share : (level + 1) * share]
        made.append((f"chain/{level:02d}", below + held))
    return made


def timed(function: Callable[[], Any], rounds: int = 1) -> float:
    """Median processor seconds; with several rounds the first is not counted.

    Both sides are one thread on SQLite, and a busy machine does not lengthen processor time.
    """
    seen = []
    for turn in range(rounds + (rounds > 1)):
        began = time.process_time()
        function()
        if turn or rounds == 1:
            seen.append(time.process_time() - began)
    return statistics.median(seen)


def scene_of_arguments() -> Scene:
    parser = argparse.ArgumentParser()
    parser.add_argument("scene", type=json.loads)
    return Scene(**parser.parse_args().scene)
