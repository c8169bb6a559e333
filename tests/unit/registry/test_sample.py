"""The page's semi-random sample."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from registries import exposure

from cpflow.errors import UsageError
from cpflow.exposure import Exposure
from cpflow.registry.sample import sample


def nights(sizes: dict[int, int]) -> list[Exposure]:
    return [exposure(day, i) for day, size in sizes.items() for i in range(size)]


SIZES = {20210101: 200, 20210102: 3, 20210103: 50, 20210104: 1}


def counts(chosen: list[Exposure]) -> dict[int, int]:
    return dict(Counter(one.day_obs for one in chosen))


def test_every_date_is_there_and_none_dominates() -> None:
    chosen = sample(nights(SIZES), 50)
    assert len(chosen) == 50
    assert counts(chosen) == {20210101: 23, 20210102: 3, 20210103: 23, 20210104: 1}


def test_the_last_round_is_drawn_among_dates() -> None:
    chosen = sample(nights(dict.fromkeys(range(20210101, 20210111), 10)), 25)
    assert sorted(counts(chosen).values()) == [2] * 5 + [3] * 5
    few = sample(nights(SIZES), 2)
    assert len(counts(few)) == 2


def test_the_order_given_does_not_matter_and_the_seed_does() -> None:
    records = nights(SIZES)
    first = sample(records, 20, seed=1)
    random.Random(5).shuffle(records)
    assert sample(records, 20, seed=1) == first
    assert sample(records, 20, seed=2) != first
    assert first == sorted(first, key=lambda one: one.exposure)


def test_a_sample_is_the_same_on_every_machine() -> None:
    chosen = sample(nights({20210101: 10, 20210102: 10}), 4, seed=1)
    assert [one.exposure for one in chosen] == [
        2021010100002,
        2021010100005,
        2021010200001,
        2021010200003,
    ]


def test_more_than_there_are_gives_all() -> None:
    records = nights(SIZES)
    assert sample(records, 10_000) == sorted(records, key=lambda one: one.exposure)
    assert sample(records, 0) == []
    assert sample([], 5) == []


def test_other_fields() -> None:
    records = [
        exposure(seq_num=i, target_name="ab"[i > 3], extra={"run": i % 2}) for i in range(10)
    ]
    assert len({one.target_name for one in sample(records, 2, per="target_name")}) == 2
    assert len({one.extra["run"] for one in sample(records, 2, per="run")}) == 2
    with pytest.raises(UsageError, match="did you mean 'day_obs'"):
        sample(records, 2, per="dayobs")
    with pytest.raises(UsageError):
        sample(records, -1)
