"""Deleting (spec 2.4): what is referred to does not go away in silence."""

from __future__ import annotations

import pytest
from registries import CAM, add_exposures, exposure, make, span

from cpflow.errors import CollectionError, ConflictError, MissingCollectionError, NoDataError
from cpflow.registry import Registry, RunState

ALWAYS = span(None, None)


def test_C20_a_child_of_a_chain_cannot_be_removed(registry: Registry) -> None:
    make(registry, "r")
    registry.register_collection("tag", "TAGGED")
    registry.change_chain("chain", ["r", "tag"])
    with pytest.raises(CollectionError, match="r is in chain"):
        registry.remove_runs("r")
    with pytest.raises(CollectionError, match="tag is in chain"):
        registry.remove_collections("tag")
    assert registry.flatten("chain") == ["r", "tag"]


def test_C21_removing_a_grouping_leaves_the_datasets(registry: Registry) -> None:
    (one,) = make(registry, "r")
    registry.associate("g/tag", [one])
    registry.certify("g/calib", [one], ALWAYS, create=True)
    registry.change_chain("g/chain", ["g/tag", "r"])
    registry.change_chain("top", ["g/chain", "r"])
    make(registry, "g/run")
    assert registry.remove_collections("g/*", dry_run=True) == ["g/calib", "g/chain", "g/tag"]
    with pytest.raises(CollectionError, match="g/chain is in top"):
        registry.remove_collections("g/*")
    assert len(registry.collection_names()) == 6
    registry.remove_collections("g/*", unlink=True)
    assert registry.collection_names() == ["g/run", "r", "top"]
    assert registry.collection("top").children == ("r",)
    assert registry.dataset(one.id) == one
    with pytest.raises(CollectionError, match="goes with its datasets"):
        registry.remove_collections("r")
    with pytest.raises(MissingCollectionError):
        registry.remove_collections("nothing")
    assert registry.remove_collections("nothing*") == []


def test_C21_a_chain_goes_together_with_its_children(registry: Registry) -> None:
    registry.register_collection("a", "TAGGED")
    registry.change_chain("b", ["a"])
    assert registry.remove_collections(["a", "b"]) == ["a", "b"]


def test_C22_certified_products_are_not_removed_with_their_run(registry: Registry) -> None:
    refs = make(registry, "r", "bias", (0, 1))
    registry.certify("calib", refs[:1], span("2021-01-01", None), create=True)
    registry.associate("tag", refs[1:])
    plan = registry.plan_run_removal("r")
    assert plan.counts == {"bias": 2}
    assert plan.paths == tuple(ref.path for ref in refs)
    with pytest.raises(ConflictError) as caught:
        registry.remove_runs("r")
    shown = str(caught.value)
    assert f"calib: bias {refs[0].id}" in shown
    assert "[2021-01-01T00:00:00, open) TAI" in shown
    assert "in tag" in shown
    assert "--force" in shown
    assert len(registry.datasets()) == 2
    done = registry.remove_runs("r", force=True)
    assert done == plan
    assert registry.datasets() == []
    assert registry.certified("calib") == []
    assert registry.collection_names() == ["calib", "tag"]


def test_C23_runs_by_glob_decided_first(registry: Registry) -> None:
    make(registry, "u/a")
    make(registry, "u/b", "bias", (0, 1))
    registry.register_collection("u/tag", "TAGGED")
    registry.change_chain("chain", ["u/a"])
    plan = registry.plan_run_removal("u/*")
    assert plan.runs == ("u/a", "u/b")
    assert plan.parents == {"u/a": ["chain"]}
    with pytest.raises(CollectionError):
        registry.remove_runs("u/*")
    assert len(registry.datasets()) == 3
    registry.remove_runs("u/*", unlink=True)
    assert registry.collection_names() == ["chain", "u/tag"]
    assert registry.flatten("chain") == []
    with pytest.raises(NoDataError):
        registry.remove_runs("u/*")
    with pytest.raises(CollectionError, match="not a RUN: chain"):
        registry.remove_runs("chain")


def test_a_run_of_raws(registry: Registry) -> None:
    one = exposure()
    add_exposures(registry, [one], (0, 1))
    run = f"{CAM}/raw/all"
    registry.associate_raws("vetted", [one.exposure], collections=[run])
    assert registry.plan_run_removal(run).counts == {"raw": 2}
    with pytest.raises(ConflictError, match="2 raws in vetted"):
        registry.remove_runs(run)
    registry.remove_runs(run, force=True)
    assert registry.raws([one.exposure]) == []
    assert registry.exposures() == [one]


def test_C24_a_certified_product_cannot_be_unstored(registry: Registry) -> None:
    one, two = make(registry, "r", "bias", (0, 1))
    registry.certify("calib", [one], ALWAYS, create=True)
    registry.unstore([two])
    assert registry.dataset(two.id).stored is False
    with pytest.raises(ConflictError, match="would find no file"):
        registry.unstore([one])
    registry.unstore([one], force=True)
    assert registry.find("bias", (CAM, 0), "calib", exposure().timespan) is not None
    assert registry.problems() == [f"dataset {one.id} is certified, but its file was given up"]
    assert registry.plan_run_removal("r").paths == ()


def test_removing_datasets(registry: Registry) -> None:
    one, two = make(registry, "r", "bias", (0, 1))
    registry.certify("calib", [one], ALWAYS, create=True)
    with pytest.raises(ConflictError):
        registry.remove_datasets([one, two])
    assert registry.remove_datasets([two.id]).paths == (two.path,)
    assert registry.datasets() == [one]
    registry.remove_datasets([one], force=True)
    assert registry.certified("calib") == []
    with pytest.raises(NoDataError):
        registry.remove_datasets([one])


def test_C25_a_type_with_datasets_stays(registry: Registry) -> None:
    make(registry, "r")
    with pytest.raises(ConflictError, match="1 datasets of type bias"):
        registry.remove_dataset_type("bias")
    registry.remove_dataset_type("dark")
    assert "dark" not in [kind.name for kind in registry.dataset_types()]


def test_C26_purge_takes_an_output_chain_and_its_runs(registry: Registry) -> None:
    make(registry, "input")
    make(registry, "out/1")
    registry.publish("out/2", [], chain="out", chain_inputs=["out/1", "input"])
    make(registry, "out/other")
    registry.change_chain("second", ["out/1"])
    with pytest.raises(CollectionError, match="out/1 is in second"):
        registry.purge("out")
    registry.remove_collections("second")
    assert registry.purge("out", dry_run=True).runs == ("out/2", "out/1")
    registry.purge("out")
    assert registry.collection_names() == ["input", "out/other"]


def test_C26_purge_does_not_lose_certifications(registry: Registry) -> None:
    (one,) = make(registry, "out/1")
    registry.change_chain("out", ["out/1"])
    registry.certify("calib", [one], ALWAYS, create=True)
    with pytest.raises(ConflictError):
        registry.purge("out")
    assert registry.flatten("out") == ["out/1"]
    registry.purge("out", force=True)
    assert registry.collection_names() == ["calib"]


def test_C26_cleanup_takes_runs_that_left_the_chain(registry: Registry) -> None:
    for name in ("out/1", "out/2", "other/1"):
        make(registry, name)
    registry.change_chain("out", ["out/2"])
    assert registry.cleanup("out", dry_run=True).runs == ("out/1",)
    registry.cleanup("out")
    assert registry.collection_names() == ["other/1", "out", "out/2"]


def test_a_run_can_be_made_again(registry: Registry) -> None:
    make(registry, "r")
    registry.remove_runs("r")
    make(registry, "r")
    assert registry.collection("r").state is RunState.COMPLETE
