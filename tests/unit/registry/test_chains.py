"""Chains: flattening (spec 2.2) and changes (2.3)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from registries import make

from cpflow.errors import (
    CollectionCycleError,
    CollectionError,
    CollectionTypeError,
    MissingCollectionError,
    UsageError,
)
from cpflow.registry import ChainMode, Registry


@pytest.fixture
def runs(registry: Registry) -> Registry:
    for name in "UVWXYZ":
        registry.register_collection(name, "RUN")
    return registry


def children(registry: Registry, name: str) -> list[str]:
    return list(registry.collection(name).children)


def chain(registry: Registry, name: str, given: Iterable[str], **more: bool) -> list[str]:
    return registry.change_chain(name, list(given), **more)


def test_C7_flattening_is_depth_first_and_keeps_first_occurrences(runs: Registry) -> None:
    chain(runs, "A", "XY")
    chain(runs, "B", "ZA")
    chain(runs, "C", "AB")
    assert runs.flatten("C") == ["X", "Y", "Z"]
    assert runs.flatten(["Z", "C"]) == ["Z", "X", "Y"]
    assert runs.flatten("C", include_chains=True) == ["C", "A", "X", "Y", "B", "Z"]


def test_C9_a_chain_is_a_live_reference(runs: Registry) -> None:
    chain(runs, "A", "X")
    chain(runs, "B", "A")
    runs.change_chain("A", ["Y"], "extend")
    assert runs.flatten("B") == ["X", "Y"]


def test_C10_patterns_are_refused_where_order_matters(runs: Registry) -> None:
    with pytest.raises(CollectionError, match="patterns have no order"):
        runs.flatten(["X*"])
    with pytest.raises(CollectionError, match="patterns have no order"):
        chain(runs, "A", ["X*"])
    with pytest.raises(CollectionError, match="patterns have no order"):
        runs.datasets("bias", ["X*"], find_first=True)
    with pytest.raises(CollectionError, match="patterns have no order"):
        runs.find("bias", ("TestCam", 0), ["X*"])


def test_C11_an_empty_chain_finds_nothing_and_repeats_are_dropped(runs: Registry) -> None:
    runs.register_collection("A", "CHAINED")
    assert runs.flatten("A") == []
    assert runs.find("bias", ("TestCam", 0), "A") is None
    assert chain(runs, "B", "XYX") == ["X", "Y"]


@pytest.mark.parametrize(
    ("mode", "given", "result"),
    [
        ("redefine", "ZX", "ZX"),
        ("prepend", "WZ", "WZXY"),
        ("prepend", "ZX", "ZXY"),
        ("extend", "XW", "YZXW"),
        ("remove", "YU", "XZ"),
        ("pop", [], "YZ"),
        ("pop", [-1], "XY"),
        ("pop", [0, 1], "Z"),
        ("pop", ["1", "-1"], "X"),
    ],
)
def test_modes(runs: Registry, mode: str, given: list[str], result: str) -> None:
    chain(runs, "A", "XYZ")
    assert runs.change_chain("A", list(given), mode) == list(result)
    assert children(runs, "A") == list(result)


@pytest.mark.parametrize("mode", ["redefine", "prepend", "extend"])
def test_a_missing_parent_is_made(runs: Registry, mode: str) -> None:
    assert runs.change_chain("A", ["Y", "X"], mode, doc="text") == ["Y", "X"]
    assert runs.collection("A").doc == "text"
    runs.change_chain("A", ["Z"], "extend", doc="other")
    assert runs.collection("A").doc == "text"


@pytest.mark.parametrize("mode", ["remove", "pop"])
def test_a_missing_parent_is_an_error(runs: Registry, mode: str) -> None:
    with pytest.raises(MissingCollectionError):
        runs.change_chain("A", ["0"] if mode == "pop" else ["X"], mode)


@pytest.mark.parametrize("mode", ["redefine", "prepend", "extend", "remove"])
def test_C12_every_mode_but_pop_needs_a_child(runs: Registry, mode: str) -> None:
    chain(runs, "A", "X")
    with pytest.raises(UsageError, match="at least one child"):
        runs.change_chain("A", [], mode)


def test_C13_flatten_replaces_chains_by_leaves(runs: Registry) -> None:
    chain(runs, "A", "XY")
    assert chain(runs, "B", "ZA", flatten=True) == ["Z", "X", "Y"]
    for mode in (ChainMode.REMOVE, ChainMode.POP):
        with pytest.raises(UsageError, match="--flatten"):
            runs.change_chain("B", ["X"], mode, flatten=True)


def test_C14_an_unknown_child_changes_nothing(runs: Registry) -> None:
    with pytest.raises(MissingCollectionError):
        chain(runs, "new", ["X", "nothing"])
    assert "new" not in runs.collection_names()
    chain(runs, "A", "X")
    for mode in ChainMode:
        if mode is not ChainMode.POP:
            with pytest.raises(MissingCollectionError):
                runs.change_chain("A", ["Y", "nothing"], mode)
    assert children(runs, "A") == ["X"]


def test_C15_unknown_child_then_wrong_parent_then_cycle(runs: Registry) -> None:
    chain(runs, "A", "X")
    with pytest.raises(MissingCollectionError):
        chain(runs, "X", ["nothing"])
    with pytest.raises(CollectionTypeError):
        chain(runs, "X", ["A"])
    with pytest.raises(CollectionCycleError):
        chain(runs, "A", ["A"])


def test_C16_cycles_are_refused(runs: Registry) -> None:
    chain(runs, "A", "X")
    chain(runs, "B", "A")
    chain(runs, "C", "B")
    for mode in ("redefine", "prepend", "extend"):
        with pytest.raises(CollectionCycleError) as caught:
            runs.change_chain("A", ["Y", "C"], mode)
        assert isinstance(caught.value, ValueError)
    assert children(runs, "A") == ["X"]
    # The cycle is through a child that is taken out in the same change.
    runs.change_chain("B", ["Y"])
    chain(runs, "A", "C")


def test_C17_pop_out_of_range(runs: Registry) -> None:
    chain(runs, "A", "XY")
    for position in ("2", "-3", "x"):
        with pytest.raises(UsageError):
            runs.change_chain("A", ["0", position], "pop")
    assert children(runs, "A") == ["X", "Y"]


def test_unknown_mode(runs: Registry) -> None:
    with pytest.raises(UsageError, match="no way to change a chain"):
        runs.change_chain("A", ["X"], "append")


def test_deep_nesting(runs: Registry) -> None:
    below = "X"
    for i in range(300):
        chain(runs, f"deep{i:03}", [below, "Y"])
        below = f"deep{i:03}"
    assert runs.flatten(below) == ["X", "Y"]
    with pytest.raises(CollectionCycleError):
        chain(runs, "deep000", [below])


def test_tree_shows_children_that_do_not_match(runs: Registry) -> None:
    chain(runs, "A", "XY")
    chain(runs, "top", ["A", "Z", "B"] if "B" in runs.collection_names() else ["A", "Z"])
    lines = [(line.depth, line.collection.name) for line in runs.collection_tree("top")]
    assert lines == [(0, "top"), (1, "A"), (2, "X"), (2, "Y"), (1, "Z")]


def test_tree_of_diamonds_is_short(runs: Registry) -> None:
    below = ["X", "Y"]
    for i in range(30):
        for side in "lr":
            chain(runs, f"{side}{i:02}", below)
        below = [f"l{i:02}", f"r{i:02}"]
    chain(runs, "top", below)
    lines = runs.collection_tree("top")
    assert len(lines) < 200
    assert any(line.repeated for line in lines)
    assert runs.flatten("top") == ["X", "Y"]


def test_parents(runs: Registry) -> None:
    chain(runs, "B", "XY")
    chain(runs, "A", "X")
    assert runs.parents("X") == ["A", "B"]


def test_R3_an_output_chain_is_the_run_and_the_flattened_inputs(runs: Registry) -> None:
    chain(runs, "in", "YZ")
    runs.publish("out/1", [], chain="out", chain_inputs=["in", "X"])
    assert children(runs, "out") == ["out/1", "Y", "Z", "X"]
    runs.change_chain("in", ["W"], "prepend")
    assert children(runs, "out") == ["out/1", "Y", "Z", "X"]


def test_R4_a_later_run_goes_to_the_front(runs: Registry) -> None:
    runs.publish("out/1", [], chain="out", chain_inputs=["X"])
    runs.publish("out/2", [], chain="out", chain_inputs=["X", "W"])
    assert children(runs, "out") == ["out/2", "out/1", "X", "W"]
    runs.publish("out/3", [], chain="out", chain_inputs=["out"])
    assert runs.flatten("out") == ["out/3", "out/2", "out/1", "X", "W"]


def test_R5_inputs_of_an_output_chain_stand_side_by_side(runs: Registry) -> None:
    chain(runs, "in", "YZ")
    runs.publish("out/1", [], chain="out", chain_inputs=["W", "in", "X"])
    for good in (["in"], ["W", "Y"], ["Z", "X"], ["out/1", "W"], []):
        runs.check_output_chain("out", good)
    for bad in (["Z", "Y"], ["W", "X"], ["U"], ["in", "W"]):
        with pytest.raises(CollectionError, match="made with other inputs"):
            runs.check_output_chain("out", bad)


def test_R5_rebasing_keeps_own_runs_in_front(runs: Registry) -> None:
    runs.publish("out/1", [], chain="out", chain_inputs=["X", "Y"])
    runs.publish("out/2", [], chain="out")
    chain(runs, "in", "UY")
    assert runs.rebase_chain("out", ["in"]) == ["out/2", "out/1", "U", "Y", "X"]


def test_publish_sets_a_whole_chain(runs: Registry) -> None:
    make(runs, "first")
    runs.publish("second", [], chain="out", chain_children=["second", "first"])
    assert children(runs, "out") == ["second", "first"]


def test_a_refused_publication_leaves_nothing(runs: Registry) -> None:
    with pytest.raises(CollectionTypeError):
        runs.publish("out/1", [], chain="X")
    with pytest.raises(MissingCollectionError):
        runs.publish("out/1", [], chain="out", chain_inputs=["nothing"])
    assert "out/1" not in runs.collection_names()
    assert "out" not in runs.collection_names()
