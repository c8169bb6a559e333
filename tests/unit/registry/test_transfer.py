"""Carrying collections to another repository (spec 5.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from registries import CAM, make, prepare, ref, span

from cpflow.errors import ConflictError, UsageError
from cpflow.registry import DatasetRef, Lineage, RawUse, Registry


@pytest.fixture
def source(registry: Registry) -> Registry:
    lineage = Lineage((RawUse(CAM, 5, 0, "sha256:5"),), ("00000000-0000-0000-0000-000000000001",))
    a, b = make(registry, "r/1", "bias", (0, 1), lineage=lineage, provenance={"x": 1})
    registry.set_run_state("r/1", "incomplete", {"failed": ["bias 2"]})
    (flat,) = make(registry, "r/2", "flat")
    registry.certify("calib", [a], span("2021-01-01", None), create=True, verdict="pass")
    registry.certify("calib", [b], span(None, "2021-01-01T00:00:00.000000001"), reason="why")
    registry.associate("tag", [flat])
    registry.change_chain("inner", ["calib"])
    registry.change_chain("chain", ["inner", "tag", "r/1"], doc="all of it")
    return registry


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Registry]:
    with Registry.create(tmp_path / "target.sqlite") as registry:
        yield registry


def carried(source: Registry, *collections: str) -> dict[str, object]:
    exported: dict[str, object] = json.loads(json.dumps(source.export_records(collections)))
    return exported


def types(registry: Registry) -> None:
    prepare(registry)


def test_X2_everything_arrives_certification_included(source: Registry, target: Registry) -> None:
    types(target)
    result = target.import_records(carried(source, "chain"))
    assert {ref.id for ref in result.datasets} == {ref.id for ref in source.datasets()}
    assert target.datasets() == source.datasets()
    assert target.certified("calib") == source.certified("calib")
    assert result.certified == 2
    for name in ("chain", "inner", "tag", "r/1", "r/2"):
        here, there = target.collection(name), source.collection(name)
        assert (here.type, here.children, here.state, here.facts) == (
            there.type,
            there.children,
            there.state,
            there.facts,
        )
    assert target.collection("chain").doc == "all of it"
    (one, _) = source.datasets("bias")
    assert target.lineage(one.id) == source.lineage(one.id)
    assert target.dataset(one.id).provenance == {"x": 1}
    assert target.datasets("*", "tag") == source.datasets("*", "tag")


def test_importing_again_is_a_no_op(source: Registry, target: Registry) -> None:
    types(target)
    records = carried(source, "chain")
    target.import_records(records)
    again = target.import_records(records)
    assert (again.datasets, again.already, again.certified, again.kept_chains) == ([], 3, 0, [])


def test_an_instrument_comes_along(source: Registry, target: Registry) -> None:
    for kind in source.dataset_types():
        target.register_dataset_type(kind)
    target.import_records(carried(source, "calib"))
    assert target.instruments() == [CAM]
    assert target.detectors(CAM) == source.detectors(CAM)
    assert target.physical_filters(CAM) == source.physical_filters(CAM)


def test_a_chain_that_is_here_stays_as_it_is(source: Registry, target: Registry) -> None:
    types(target)
    make(target, "mine")
    target.change_chain("chain", ["mine"])
    result = target.import_records(carried(source, "chain"))
    assert result.kept_chains == ["chain"]
    assert target.collection("chain").children == ("mine",)


def test_paths_are_the_receivers(source: Registry, target: Registry) -> None:
    types(target)

    def path_of(ref: DatasetRef) -> str:
        return f"imported/{ref.id}"

    result = target.import_records(carried(source, "r/2"), path_of=path_of)
    assert [ref.path for ref in result.datasets] == [
        f"imported/{ref.id}" for ref in result.datasets
    ]


def test_only_some_types(source: Registry) -> None:
    records = source.export_records("chain", types=["flat"])
    assert [one["type"] for one in records["datasets"]] == ["flat"]
    assert records["certifications"] == []
    with pytest.raises(UsageError):
        source.export_records("chain", types=["nothing"])


def test_what_differs_is_refused_and_nothing_is_imported(
    source: Registry, target: Registry
) -> None:
    types(target)
    records = carried(source, "chain")
    (flat,) = source.datasets("flat")
    target.publish("else", [ref("else", "flat", id=flat.id)])
    target.remove_runs("else")
    clash = ref("else", "flat", id=flat.id)
    object.__setattr__(clash, "checksum", "sha256:other")
    target.publish("else", [clash])
    with pytest.raises(ConflictError, match="another checksum"):
        target.import_records(records)
    assert target.collection_names() == ["else"]


def test_a_certification_that_overlaps_is_refused(source: Registry, target: Registry) -> None:
    types(target)
    (mine,) = make(target, "mine")
    target.certify("calib", [mine], span("2022-01-01", None), create=True)
    with pytest.raises(ConflictError):
        target.import_records(carried(source, "chain"))
    assert target.datasets() == [mine]


def test_another_format_is_refused(target: Registry) -> None:
    with pytest.raises(UsageError, match="format 99"):
        target.import_records({"format": 99})
