"""Dataset types and datasets (spec 1, C1, C2), listing them, and TAGGED collections."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from registries import CAM, add_exposures, exposure, make, raw, ref, span

from cpflow.errors import CollectionError, ConflictError, NoDataError, QueryError, UsageError
from cpflow.registry import DataId, DatasetType, Registry


def test_types_are_fixed_by_name(registry: Registry) -> None:
    assert not registry.register_dataset_type("bias", ("detector", "instrument"))
    assert not registry.register_dataset_type(DatasetType("bias", ("instrument", "detector")))
    with pytest.raises(ConflictError, match="bias is registered as"):
        registry.register_dataset_type("bias", ("instrument",))
    with pytest.raises(ConflictError):
        registry.register_dataset_type("bias", ("instrument", "detector"), False)
    kinds = registry.dataset_types("*a*")
    assert [kind.name for kind in kinds] == ["bias", "camera", "dark", "flat"]


@pytest.mark.parametrize(
    ("name", "dimensions", "calibration"),
    [
        ("a b", ("instrument",), True),
        ("1a", ("instrument",), True),
        ("x", ("detector",), True),
        ("x", (), True),
        ("x", ("instrument", "visit"), True),
        ("x", ("instrument", "exposure"), True),
        ("x" * 65, ("instrument",), True),
    ],
)
def test_types_that_are_refused(
    registry: Registry, name: str, dimensions: tuple[str, ...], calibration: bool
) -> None:
    with pytest.raises(UsageError):
        registry.register_dataset_type(name, dimensions, calibration)


def test_per_frame_datasets(registry: Registry) -> None:
    registry.register_dataset_type("verify", ("instrument", "exposure", "detector"), False)
    one = replace(ref("r", "verify"), data_id=DataId(CAM, 0, None, 5))
    assert registry.publish("r", [one]) == [one]
    assert registry.datasets("verify", where="exposure IN (4..6)") == [one]
    with pytest.raises(UsageError, match="not a calibration type"):
        registry.certify("calib", [one], span(None, None), create=True)


def test_a_dataset_comes_back_whole(registry: Registry) -> None:
    one = ref("r", provenance={"a": [1, {"b": None}]}, created=5)
    registry.publish("r", [one])
    found = registry.dataset(one.id.upper())
    assert found == one
    assert found.provenance == {"a": [1, {"b": None}]}
    assert str(found) == "bias (instrument=TestCam, detector=0) in r"


def test_unknown_dataset(registry: Registry) -> None:
    with pytest.raises(NoDataError):
        registry.dataset(str(uuid.uuid4()))
    with pytest.raises(UsageError, match="not a UUID"):
        registry.dataset("'; DROP TABLE dataset; --")


def test_C2_one_of_a_type_and_data_id_in_a_run(registry: Registry) -> None:
    (one,) = make(registry, "r")
    with pytest.raises(ConflictError, match=f"holds a bias .* already: {one.id}"):
        registry.add_datasets("r", [ref("r", detector=1), ref("r", detector=0)])
    with pytest.raises(ConflictError):
        registry.add_datasets("r", [ref("r", detector=2), ref("r", detector=2)])
    with pytest.raises(ConflictError, match="exists already"):
        registry.publish("other", [ref("other", id=one.id)])
    assert registry.datasets() == [one]
    registry.add_datasets("r", [ref("r", "dark"), ref("r", "flat"), ref("r", "bias", 1)])
    assert len(registry.datasets()) == 4


def test_two_filters_of_one_band_are_different_flats(registry: Registry) -> None:
    a, b = ref("r", "flat", physical_filter="r_1"), ref("r", "flat", physical_filter="r_2")
    registry.publish("r", [a, b])
    assert registry.datasets("flat", where="band='r'") == [a, b]
    assert registry.datasets("flat", where="physical_filter='r_2'") == [b]
    assert registry.datasets("flat", where="band='g'") == []


def test_dimensions_that_a_type_lacks_are_left_out(registry: Registry) -> None:
    (stored,) = registry.publish("r", [ref("r", "bias", physical_filter="r_1")])
    assert stored.data_id == DataId(CAM, 0)
    with pytest.raises(UsageError, match="identified by detector"):
        registry.publish("s", [ref("s", "bias", None)])
    with pytest.raises(UsageError, match="no detector 77"):
        registry.publish("s", [ref("s", "bias", 77)])
    with pytest.raises(UsageError, match=r"no dataset type 'bais'\n.*did you mean 'bias'"):
        registry.publish("s", [ref("s", "bais")])
    with pytest.raises(UsageError, match="cannot be added to run s"):
        registry.publish("s", [ref("t")])
    assert registry.collection_names() == ["r"]


def test_listing_by_type_collection_and_query(registry: Registry) -> None:
    old = make(registry, "u/old", "bias", (0, 1))
    new = make(registry, "u/new", "bias", (0,))
    dark = make(registry, "u/new/dark", "dark", (3,))
    registry.certify("calib", old, span(None, None), create=True)
    registry.change_chain("chain", ["u/new", "u/old"])
    assert registry.datasets(["bias", "dark"], "chain") == [*new, *old]
    assert registry.datasets("bias", "chain", find_first=True) == [new[0], old[1]]
    assert registry.datasets("bias", ["u/*"]) == [*new, *old]
    assert registry.datasets("*", "calib") == old
    assert registry.datasets("d*") == dark
    assert registry.datasets("*", where="raft='R1'") == dark
    assert registry.datasets("*", where="run='u/new'") == new
    assert registry.datasets("bias", where=f"bias.dataset_id = UUID('{new[0].id}')") == new
    assert registry.datasets("bias", where="bias.run != 'u/new' AND detector IN (1)") == old[1:]
    assert registry.datasets("bias", where="ingest_date < T'2001-01-01'") == []
    assert len(registry.datasets("bias", limit=2)) == 2
    assert registry.datasets("bias", "chain", limit=1) == new
    with pytest.raises(QueryError, match="no name that a query for datasets knows"):
        registry.datasets("bias", where="exposure.day_obs = 20210101")
    with pytest.raises(CollectionError):
        registry.datasets("bias", find_first=True)


def test_find_first_passes_over_calibration_collections(registry: Registry) -> None:
    """X8: without a time they have no first."""
    (one,) = make(registry, "r")
    registry.certify("calib", [one], span("2021-01-01", "2021-02-01"), create=True)
    registry.certify("calib", [one], span("2021-03-01", None))
    assert registry.datasets("bias", "calib") == [one]
    assert registry.datasets("bias", "calib", find_first=True) == []


def test_C2_associating(registry: Registry) -> None:
    (one,), (other,), (dark,) = (
        make(registry, "a"),
        make(registry, "b"),
        make(registry, "a2", "dark"),
    )
    registry.associate("tag", [one, dark])
    registry.associate("tag", [one.id])
    assert registry.datasets("*", "tag") == [one, dark]
    with pytest.raises(ConflictError, match="holds another dataset"):
        registry.associate("tag", [other])
    with pytest.raises(ConflictError):
        registry.associate("new", [one, other])
    assert "new" not in registry.collection_names()
    registry.disassociate("tag", [other, dark])
    registry.disassociate("tag", [dark])
    assert registry.datasets("*", "tag") == [one]
    assert registry.find("bias", (CAM, 0), "tag") == one


def test_tagging_raws(registry: Registry) -> None:
    """2.5: <inst>/raw/<ticket> is a vetted subset."""
    records = [exposure(seq_num=i) for i in range(4)]
    add_exposures(registry, records, (0, 1))
    run = f"{CAM}/raw/all"
    ids = [record.exposure for record in records]
    assert registry.associate_raws("vetted", ids[:2], collections=[run]) == 4
    assert registry.associate_raws("vetted", ids[:3], collections=[run], detectors=[0]) == 1
    selected = registry.select("detector=0", collections=["vetted"])
    assert [one.exposure for one, _ in selected] == ids[:3]
    registry.disassociate_raws("vetted", ids[:1])
    registry.disassociate_raws("vetted", ids[:1])
    assert len(registry.raws(ids, collections=["vetted"])) == 3
    other = raw(records[1], path="/b", checksum="sha256:b")
    registry.add_exposure(records[1], [other], "raw2")
    with pytest.raises(ConflictError):
        registry.associate_raws("vetted", ids[1:2], collections=["raw2"])
    assert registry.raws(ids[1:2], 0, ["raw2", "vetted"]) == [other]
    with pytest.raises(NoDataError, match="without a raw"):
        registry.associate_raws("vetted", [7], collections=[run])
