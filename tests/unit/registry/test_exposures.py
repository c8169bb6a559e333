"""Adding exposures (spec 5.1) and reading them back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from registries import CAM, add_exposures, exposure, raw

from cpflow.errors import ConflictError, CpflowError, NoDataError, UsageError
from cpflow.registry import Registry
from cpflow.timespan import Timespan

RUN = f"{CAM}/raw/all"


def test_every_field_comes_back(registry: Registry) -> None:
    one = exposure(
        exposure_time=1.5,
        dark_time=2.25,
        observation_reason="calib",
        target_name="NGC 4755 'é' ☂",
        science_program="BLOCK-1",
        group="g1",
        can_see_sky=False,
        tracking_ra=359.999999999999,
        tracking_dec=-0.1,
        azimuth=1e-300,
        zenith_angle=45.0,
        has_simulated=True,
        extra={"temperature": -90.25, "note": None, "n": 3, "flag": True, "s": "x"},
    )
    files = [raw(one, d, layout={"hdus": [{"offset": 2880, "scale": 0.1}]}) for d in (2, 0)]
    registry.add_exposure(one, files, RUN)
    assert registry.exposures() == [one]
    assert registry.exposure(one.exposure) == one
    assert registry.raws([one.exposure]) == [files[1], files[0]]
    assert registry.raws([one.exposure], detector=2) == [files[0]]
    assert registry.detectors_of([one.exposure, 7]) == {one.exposure: [0, 2], 7: []}
    assert registry.count_exposures() == {CAM: 1}


def test_I4_the_same_again_is_already_there(registry: Registry) -> None:
    one = exposure()
    first = registry.add_exposure(one, [raw(one, 0)], RUN)
    assert (first.record, first.raws) == ("added", {0: "added"})
    again = registry.add_exposure(one, [raw(one, 0, path="/moved.fits")], RUN)
    assert (again.record, again.raws, again.changes) == ("already", {0: "already"}, {})
    assert registry.raws([one.exposure])[0].path == raw(one, 0).path


def test_I5_files_of_one_exposure_may_come_in_several_ingests(registry: Registry) -> None:
    one = exposure()
    registry.add_exposure(one, [raw(one, 0)], RUN)
    later = registry.add_exposure(one, [raw(one, 0), raw(one, 1)], RUN)
    assert (later.record, later.raws) == ("already", {0: "already", 1: "added"})


def test_I5_a_record_that_differs_is_refused_naming_columns_and_values(registry: Registry) -> None:
    one = exposure(dark_time=1.0)
    registry.add_exposure(one, [raw(one)], RUN)
    other = replace(one, dark_time=2.0, target_name="M 31")
    with pytest.raises(ConflictError) as caught:
        registry.add_exposure(other, [raw(one, 1)], RUN)
    assert "dark_time is 1.0, given 2.0" in caught.value.message
    assert "target_name is None, given 'M 31'" in caught.value.message
    assert registry.exposures() == [one]
    assert len(registry.raws([one.exposure])) == 1
    result = registry.add_exposure(other, [raw(one, 1)], RUN, update=True)
    assert result.record == "updated"
    assert result.changes == {"dark_time": (1.0, 2.0), "target_name": (None, "M 31")}
    assert registry.exposures() == [other]


def test_another_file_for_a_detector_is_refused_and_updated(registry: Registry) -> None:
    one = exposure()
    registry.add_exposure(one, [raw(one)], RUN)
    other = raw(one, checksum="sha256:f00", path="/other.fits", layout={"x": 1})
    with pytest.raises(ConflictError, match=r"detector 0: .* holds another file.*/other.fits"):
        registry.add_exposure(one, [other], RUN)
    assert registry.add_exposure(one, [other], RUN, update=True).raws == {0: "updated"}
    assert registry.raws([one.exposure]) == [other]


def test_the_same_raw_in_two_runs_follows_the_search_path(registry: Registry) -> None:
    one = exposure()
    old, new = raw(one, path="/old"), raw(one, path="/new", checksum="sha256:1")
    registry.add_exposure(one, [old], "raw/b")
    registry.add_exposure(one, [new], "raw/a")
    assert registry.raws([one.exposure], collections=["raw/a", "raw/b"]) == [new]
    assert registry.raws([one.exposure], collections=["raw/b", "raw/a"]) == [old]
    assert registry.raws([one.exposure]) == [old]
    assert registry.select(collections=["raw/a"]) == [(one, new)]


def test_I3_one_transaction_for_an_exposure_and_all_its_files(registry: Registry) -> None:
    one = exposure()
    with pytest.raises(UsageError, match="no detector 99"):
        registry.add_exposure(one, [raw(one, 0), raw(one, 99)], RUN)
    with pytest.raises(ConflictError, match="two files for detector 1"):
        registry.add_exposure(one, [raw(one, 1), raw(one, 1, path="/b")], RUN)
    with pytest.raises(UsageError, match="belongs to exposure"):
        registry.add_exposure(one, [raw(exposure(seq_num=2))], RUN)
    assert registry.exposures() == []
    assert registry.collection_names() == []


def test_I6_failures_are_collected_and_the_good_ones_stay(registry: Registry) -> None:
    good, bad, fine = exposure(seq_num=1), exposure(seq_num=2), exposure(seq_num=3)
    items = [(good, [raw(good)]), (bad, [raw(bad, 99)]), (fine, [raw(fine)])]
    results = registry.add_exposures(items, RUN)
    assert [r.record for r in results] == ["added", "refused", "added"]
    assert isinstance(results[1].error, UsageError)
    assert registry.exposures() == [good, fine]
    with pytest.raises(UsageError):
        registry.add_exposures(items, RUN, fail_fast=True)


def test_D4_an_obs_id_belongs_to_one_exposure(registry: Registry) -> None:
    one = exposure(seq_num=1, obs_id="same")
    registry.add_exposure(one, [raw(one)], RUN)
    other = exposure(seq_num=2, obs_id="same")
    with pytest.raises(ConflictError, match=f"obs_id 'same' belongs to exposure {one.exposure}"):
        registry.add_exposure(other, [raw(other)], RUN)


@pytest.mark.parametrize(
    "fields",
    [
        {"timespan": Timespan(20, 10)},
        {"timespan": Timespan(None, 10)},
        {"timespan": Timespan(10, None)},
        {"instrument": "Other"},
        {"exposure": 2**63},
        {"day_obs": 2**31},
        {"target_name": "a\0b"},
        {"target_name": "\ud800"},
    ],
)
def test_V27_records_that_cannot_be_stored(registry: Registry, fields: dict[str, Any]) -> None:
    one = replace(exposure(), **fields)
    with pytest.raises(CpflowError):
        registry.add_exposure(one, [], RUN)
    assert registry.exposures() == []


def test_D2_ids_of_64_bits(registry: Registry) -> None:
    one = exposure(exposure=2**63 - 1)
    registry.add_exposure(one, [raw(one)], RUN)
    assert registry.exposures(f"exposure = {2**63 - 1}") == [one]


def test_a_header_without_a_number_is_null(registry: Registry) -> None:
    one = exposure(dark_time=math.nan)
    registry.add_exposure(one, [], RUN)
    assert registry.exposures("dark_time = NULL") == [replace(one, dark_time=None)]
    assert registry.add_exposure(one, [], RUN).record == "already"


def test_raws_go_to_a_run_only(registry: Registry) -> None:
    registry.register_collection("tags", "TAGGED")
    one = exposure()
    with pytest.raises(CpflowError, match="TAGGED"):
        registry.add_exposure(one, [raw(one)], "tags")


def test_an_unknown_exposure(registry: Registry) -> None:
    with pytest.raises(NoDataError, match="no exposure 5"):
        registry.exposure(5)


def test_one_id_of_two_instruments(registry: Registry) -> None:
    registry.register_instrument("Other", {}, "")
    registry.register_detector("Other", 0, "D0")
    mine, theirs = exposure(), exposure(instrument="Other")
    add_exposures(registry, [mine, theirs])
    with pytest.raises(NoDataError, match="Other, TestCam"):
        registry.exposure(mine.exposure)
    assert registry.exposure(mine.exposure, instrument="Other") == theirs


def test_order_and_limit(registry: Registry) -> None:
    names = ["b", None, "a"]
    records = [exposure(seq_num=i, target_name=name) for i, name in enumerate(names)]
    add_exposures(registry, records)
    first, second, third = records
    assert registry.exposures(order_by="target_name") == [third, first, second]
    assert registry.exposures(order_by=["-target_name"]) == [first, third, second]
    assert registry.exposures(order_by="-exposure", limit=2) == [third, second]
    assert registry.exposures(order_by="-timespan,exposure.id", limit=1) == [third]
    with pytest.raises(UsageError, match="did you mean 'target_name'"):
        registry.exposures(order_by="target_nam")


def test_layouts_that_are_equal_are_kept_once(registry: Registry) -> None:
    from sqlalchemy import func, select

    from cpflow.registry import schema

    records = [exposure(seq_num=i) for i in range(5)]
    add_exposures(registry, records, detectors=(0, 1, 2))
    with registry._db.read() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.layout)) == 1
