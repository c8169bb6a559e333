"""Certifying what a run made, as the command does (spec 3.6)."""

from __future__ import annotations

import pytest
from registries import CAM, make, ref, span

from cpflow.errors import (
    CollectionError,
    CollectionTypeError,
    ConflictError,
    MissingCollectionError,
    NoDataError,
    UsageError,
)
from cpflow.registry import Registry

ALWAYS = span(None, None)


def test_V35_the_output_is_made_only_if_all_goes_well(registry: Registry) -> None:
    refs = make(registry, "r", "bias", (0, 1))
    with pytest.raises(NoDataError):
        registry.certify_from("r", "calib", ["bias", "dark"], ALWAYS)
    with pytest.raises(UsageError):
        registry.certify_from("r", "calib", "bias", span("2022-01-01", "2021-01-01"))
    assert registry.collection_names() == ["r"]
    rows = registry.certify_from("r", "calib", "bias", ALWAYS, verdict="pass", reason="fine")
    assert [row.dataset for row in rows] == refs
    assert {(row.verdict, row.reason) for row in registry.certified("calib")} == {("pass", "fine")}
    with pytest.raises(CollectionTypeError):
        registry.certify_from("r", "r", "bias", ALWAYS)


def test_V36_only_the_first_child_of_a_chain(registry: Registry) -> None:
    old = make(registry, "old", "bias", (0, 1))
    new = make(registry, "new", "bias", (0,))
    registry.change_chain("out", ["new", "old"])
    rows = registry.certify_from("out", "first", "bias", ALWAYS)
    assert [row.dataset for row in rows] == new
    rows = registry.certify_from("out", "all", "bias", ALWAYS, search_all_inputs=True)
    assert [row.dataset for row in rows] == [new[0], old[1]]


def test_V36_a_first_child_that_is_a_chain_is_searched_as_one(registry: Registry) -> None:
    old = make(registry, "old", "bias", (0, 1))
    new = make(registry, "new", "bias", (0,))
    make(registry, "other", "bias", (2,))
    registry.change_chain("inner", ["new", "old"])
    registry.change_chain("out", ["inner", "other"])
    rows = registry.certify_from("out", "calib", "bias", ALWAYS)
    assert [row.dataset for row in rows] == [new[0], old[1]]


def test_V36_a_tagged_collection(registry: Registry) -> None:
    refs = make(registry, "r", "bias", (0, 1))
    registry.set_run_state("r", "incomplete")
    registry.associate("vetted", refs[1:])
    rows = registry.certify_from("vetted", "calib", "bias", ALWAYS)
    assert [row.dataset for row in rows] == refs[1:]


@pytest.mark.parametrize("state", ["running", "failed", "incomplete"])
def test_V37_a_run_that_did_not_complete_is_refused(registry: Registry, state: str) -> None:
    make(registry, "good")
    registry.publish("bad", [ref("bad", detector=1)], state=state)
    registry.change_chain("out", ["bad", "good"])
    for given in ("bad", "out"):
        with pytest.raises(CollectionError, match=f"run bad.* did not complete: it is {state}"):
            registry.certify_from(given, "calib", "bias", ALWAYS)
    assert "calib" not in registry.collection_names()
    rows = registry.certify_from("out", "calib", "bias", ALWAYS, allow_incomplete=True)
    assert [row.dataset.run for row in rows] == ["bad"]


def test_V37_an_empty_failed_run_says_so(registry: Registry) -> None:
    make(registry, "good")
    registry.publish("bad", [], state="failed")
    registry.change_chain("out", ["bad", "good"])
    with pytest.raises(CollectionError, match="run bad, the first of out, did not complete"):
        registry.certify_from("out", "calib", "bias", ALWAYS)
    rows = registry.certify_from("out", "calib", "bias", ALWAYS, search_all_inputs=True)
    assert rows[0].dataset.run == "good"


def test_V38_where_and_several_types(registry: Registry) -> None:
    biases, darks = make(registry, "r", "bias", (0, 1, 2)), make(registry, "r", "dark", (0, 1, 2))
    rows = registry.certify_from("r", "calib", ["bias", "dark"], ALWAYS, "detector IN (0..1)")
    assert [row.dataset for row in rows] == [*biases[:2], *darks[:2]]
    where = f"instrument='{CAM}' AND detector=7"
    with pytest.raises(NoDataError, match="nothing to certify"):
        registry.certify_from("r", "calib", "bias", ALWAYS, where)


def test_V39_nothing_to_certify(registry: Registry) -> None:
    make(registry, "r")
    with pytest.raises(NoDataError, match=r"r holds no dark \(searched r\)"):
        registry.certify_from("r", "calib", "dark", ALWAYS)
    registry.register_collection("empty", "CHAINED")
    with pytest.raises(NoDataError, match="empty chain"):
        registry.certify_from("empty", "calib", "bias", ALWAYS)
    registry.certify_from("r", "calib", "bias", ALWAYS)
    with pytest.raises(CollectionTypeError, match="CALIBRATION"):
        registry.certify_from("calib", "other", "bias", ALWAYS)
    registry.change_chain("chain", ["calib"])
    with pytest.raises(CollectionTypeError):
        registry.certify_from("chain", "other", "bias", ALWAYS)
    with pytest.raises(MissingCollectionError):
        registry.certify_from("nothing", "other", "bias", ALWAYS)
    with pytest.raises(UsageError):
        registry.certify_from("r", "other", [], ALWAYS)


def test_V40_a_type_is_one_name(registry: Registry) -> None:
    make(registry, "r")
    with pytest.raises(UsageError, match="no dataset type 'bias,dark'"):
        registry.certify_from("r", "calib", "bias,dark", ALWAYS)


def test_searching_all_inputs_passes_over_calibrations_of_the_chain(registry: Registry) -> None:
    (old,) = make(registry, "old", "bias", (1,))
    registry.certify("calib", [old], ALWAYS, create=True)
    new = registry.publish("out/1", [ref("out/1")], chain="out", chain_inputs=["calib"])
    rows = registry.certify_from("out", "next", "bias", ALWAYS, search_all_inputs=True)
    assert [row.dataset for row in rows] == new


def test_replace(registry: Registry) -> None:
    (old,), (new,) = make(registry, "old"), make(registry, "new")
    registry.certify_from("old", "calib", "bias", ALWAYS)
    with pytest.raises(ConflictError, match="--replace"):
        registry.certify_from("new", "calib", "bias", span("2021-01-01", None))
    registry.certify_from("new", "calib", "bias", span("2021-01-01", None), replace=True)
    assert [(c.dataset, c.timespan) for c in registry.certified("calib")] == [
        (old, span(None, "2021-01-01")),
        (new, span("2021-01-01", None)),
    ]


def test_what_would_be_certified_can_be_looked_at_before(registry: Registry) -> None:
    old = make(registry, "old", "bias", (0, 1))
    new = make(registry, "new", "bias", (0,))
    registry.change_chain("out", ["new", "old"])
    assert registry.to_certify("out", "bias") == new
    assert registry.to_certify("out", ["bias"], search_all_inputs=True) == [new[0], old[1]]
    assert registry.to_certify("old", "bias", "detector = 1 AND instrument='TestCam'") == old[1:]
    for refused in (registry.to_certify, lambda *a: registry.certify_from(a[0], "c", a[1], ALWAYS)):
        with pytest.raises(NoDataError, match="nothing to certify"):
            refused("out", "dark")
        with pytest.raises(UsageError, match="name the types"):
            refused("out", [])
        with pytest.raises(MissingCollectionError):
            refused("nowhere", "bias")
    registry.set_run_state("new", "incomplete")
    with pytest.raises(CollectionError, match="did not complete"):
        registry.to_certify("out", "bias")
    assert registry.to_certify("out", "bias", allow_incomplete=True) == new
    assert registry.collection_names() == ["new", "old", "out"]
