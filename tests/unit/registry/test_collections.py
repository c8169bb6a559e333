"""Collections (spec 2.1) and their names."""

from __future__ import annotations

import pytest
from registries import make

from cpflow.errors import CollectionError, CollectionTypeError, MissingCollectionError
from cpflow.registry import CollectionType, Registry, RunState


def test_C3_the_same_again_is_a_no_op_and_another_type_is_refused(registry: Registry) -> None:
    assert registry.register_collection("a", "RUN", doc="first")
    assert not registry.register_collection("a", "RUN", doc="second")
    assert registry.collection("a").doc == "first"
    with pytest.raises(CollectionTypeError, match=r"exists as a RUN.*CHAINED"):
        registry.register_collection("a", "CHAINED")
    registry.set_doc("a", "third")
    assert registry.collection("a").doc == "third"


def test_C4_a_missing_collection_is_an_error_except_in_a_glob(registry: Registry) -> None:
    registry.register_collection("u/me/bias", "RUN")
    with pytest.raises(MissingCollectionError, match="did you mean 'u/me/bias'"):
        registry.collection("u/me/bais")
    with pytest.raises(MissingCollectionError):
        registry.flatten(["nothing"])
    with pytest.raises(MissingCollectionError):
        registry.collections(["u/*", "nothing"])
    assert registry.collections("nothing*") == []


def test_globs(registry: Registry) -> None:
    for name in ("u/a/bias", "u/a/dark", "u/B/bias", "calib"):
        registry.register_collection(name, "TAGGED")
    assert registry.collection_names() == ["calib", "u/B/bias", "u/a/bias", "u/a/dark"]
    assert registry.collection_names("u/a/*") == ["u/a/bias", "u/a/dark"]
    assert registry.collection_names("u/?/bias") == ["u/B/bias", "u/a/bias"]
    assert registry.collection_names(["*/dark", "calib"]) == ["calib", "u/a/dark"]
    assert registry.collection_names("U/*") == []
    assert registry.collection_names("*", types=["RUN"]) == []
    assert registry.collection_names("*" * 200 + "dark") == ["u/a/dark"]


def test_C5_operations_on_the_wrong_type(registry: Registry) -> None:
    (one,) = make(registry, "run")
    registry.register_collection("chain", "CHAINED")
    with pytest.raises(CollectionTypeError, match="run is a RUN collection, not CHAINED"):
        registry.change_chain("run", ["chain"], "remove")
    with pytest.raises(CollectionTypeError):
        registry.associate("run", [one])
    with pytest.raises(CollectionTypeError):
        registry.add_datasets("chain", [])
    with pytest.raises(CollectionTypeError):
        registry.set_run_state("chain", "failed")
    with pytest.raises(CollectionTypeError):
        registry.register_collection("x", "TAGGED", state="failed")


def test_state_and_facts_of_a_run(registry: Registry) -> None:
    registry.register_collection("r", "RUN")
    assert registry.collection("r").state is RunState.COMPLETE
    registry.register_collection("s", "RUN", state="running", facts={"n": 1})
    registry.set_run_state("s", "failed", {"exit": 4})
    found = registry.collection("s")
    assert (found.type, found.state, found.facts) == (CollectionType.RUN, "failed", {"exit": 4})
    registry.set_run_state("s", "incomplete")
    assert registry.collection("s").facts == {"exit": 4}


GOOD = [
    "LATISS/raw/all",
    "u/czw/DM-28920/biasGen.20210702a",
    "with space",
    "été/Größe/日本語/☂",
    "a" * 240,
    "20210101T000000Z",
    "a'b\"c;--",
    "%s %(x)s {x} $x ~ & < >",
    "DROP TABLE collection",
]


def test_names_that_are_allowed_come_back(registry: Registry) -> None:
    for name in GOOD:
        registry.register_collection(name, "RUN")
        assert registry.collection(name).name == name
        assert registry.flatten([name]) == [name]
        (one,) = make(registry, name)
        assert registry.datasets("bias", [name]) == [one]
    assert registry.collection_names() == sorted(GOOD)


BAD = [
    "",
    "/",
    "/abs",
    "a/",
    "a//b",
    "..",
    "../../etc/passwd",
    "a/../b",
    "a/./b",
    ".hidden",
    "a/.hidden",
    "a\\b",
    "a|b",
    "a*",
    "a?",
    "[a]",
    "a,b",
    "-o",
    " a",
    "a ",
    "a/ b",
    "a\nb",
    "a\tb",
    "a\0b",
    "a\x7fb",
    "a\u202eb",
    "a\u200bb",
    "e\u0301",
    "\ud800",
    "x" * 256,
    "x" * 10_000,
    "é" * 200,
]


def test_names_that_are_refused(registry: Registry) -> None:
    for name in BAD:
        with pytest.raises(CollectionError) as caught:
            registry.register_collection(name, "RUN")
        assert len(caught.value.message) < 250
    assert registry.collection_names() == []


def test_names_that_cannot_exist_are_missing(registry: Registry) -> None:
    for name in [*BAD, "'; --"]:
        with pytest.raises(CollectionError) as caught:
            registry.collection(name)
        assert len(caught.value.message) < 250
