"""Putting curated calibrations in force at once (spec I10, V41)."""

from __future__ import annotations

import pytest
from registries import make, ref, span

from cpflow.errors import CollectionTypeError, ConflictError, UsageError
from cpflow.registry import CollectionType

OWN = "C/curated/"


def spans(registry, collection="C"):
    return [(one.dataset.run, str(one.timespan)) for one in registry.certified(collection)]


def test_runs_datasets_and_ranges_appear_together(registry):
    first, second = ref("C/curated/1"), ref("C/curated/2")
    early, late = span("2020-01-01", "2021-01-01"), span("2021-01-01", None)
    made = registry.put_in_force(
        "C", [first, second], [(first, early), (second, late)], own_runs=OWN, reason="curated"
    )
    assert [one.timespan for one in made] == [early, late]
    assert [one.reason for one in made] == ["curated", "curated"]
    assert registry.collection("C").type is CollectionType.CALIBRATION
    assert {one.run for one in registry.datasets("bias")} == {"C/curated/1", "C/curated/2"}


def test_a_later_file_shortens_the_range_of_an_own_run(registry):
    first, second = ref("C/curated/1"), ref("C/curated/2")
    registry.put_in_force("C", [first], [(first, span("2020-01-01", None))], own_runs=OWN)
    registry.put_in_force("C", [second], [(second, span("2021-01-01", None))], own_runs=OWN)
    assert spans(registry) == [
        ("C/curated/1", str(span("2020-01-01", "2021-01-01"))),
        ("C/curated/2", str(span("2021-01-01", None))),
    ]


def test_what_somebody_else_certified_is_not_displaced_and_nothing_is_left_behind(registry):
    (held,) = make(registry, "u/me/bias")
    registry.certify("C", [held], span("2021-06-01", "2021-07-01"), create=True)
    before = spans(registry)
    first, second = ref("C/curated/1", detector=1), ref("C/curated/2")
    rows = [(first, span("2020-01-01", None)), (second, span("2020-01-01", None))]
    with pytest.raises(ConflictError, match="u/me/bias"):
        registry.put_in_force("C", [first, second], rows, own_runs=OWN)
    assert spans(registry) == before
    assert "C/curated/1" not in registry.collection_names()


def test_v12_an_empty_range_and_c5_the_wrong_collection_are_refused(registry):
    first = ref("C/curated/1")
    with pytest.raises(UsageError, match="swap"):
        registry.put_in_force(
            "C", [first], [(first, span("2021-01-01", "2020-01-01"))], own_runs=OWN
        )
    registry.register_collection("T", CollectionType.TAGGED)
    with pytest.raises(CollectionTypeError):
        registry.put_in_force("T", [first], [(first, span(None, None))], own_runs=OWN)
    assert registry.datasets("bias") == []
