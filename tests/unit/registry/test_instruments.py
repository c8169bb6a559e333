"""Instruments, detectors and filters: the safe insert (spec D5, I1)."""

from __future__ import annotations

import math

import pytest
from registries import CAM

from cpflow.errors import ConflictError, UsageError
from cpflow.registry import DetectorRecord, FilterRecord, Registry


def test_I1_registering_twice_changes_nothing(empty: Registry) -> None:
    definition = {"name": "Cam", "gain": 1.5, "boxes": [1, 2], "none": None}
    detectors = [DetectorRecord(0, "S00", {"shape": (4, 5), "noise": math.nan})]
    filters = [FilterRecord("r_1", "r")]
    args = ("Cam", definition, "cam.yaml")
    assert empty.register_instrument(*args, detectors=detectors, filters=filters)
    assert not empty.register_instrument(*args, detectors=detectors, filters=filters)
    assert empty.instruments() == ["Cam"]
    assert empty.instrument("Cam") == definition
    assert empty.physical_filters("Cam") == filters
    geometry = empty.detectors("Cam")[0].geometry
    assert geometry is not None
    assert geometry["shape"] == [4, 5]
    assert math.isnan(geometry["noise"])


def test_D5_a_definition_that_differs_is_refused_and_named(empty: Registry) -> None:
    empty.register_instrument("Cam", {"gain": 1, "old": 2}, "a")
    with pytest.raises(ConflictError, match=r"gain is 1, given 3; old is 2, given None"):
        empty.register_instrument("Cam", {"gain": 3}, "b")
    assert empty.instrument("Cam") == {"gain": 1, "old": 2}
    assert empty.register_instrument("Cam", {"gain": 3}, "b", update=True)
    assert empty.instrument("Cam") == {"gain": 3}


def test_a_refused_instrument_leaves_nothing(empty: Registry) -> None:
    two = [DetectorRecord(0, "S00"), DetectorRecord(0, "S01")]
    with pytest.raises(ConflictError, match="detector 0 of Cam"):
        empty.register_instrument("Cam", {}, "a", detectors=two)
    assert empty.instruments() == []


def test_geometry_is_set_at_first_ingest_and_then_fixed(registry: Registry) -> None:
    assert not registry.register_detector(CAM, 0, "D0")
    assert registry.register_detector(CAM, 0, "D0", {"rows": 10})
    assert not registry.register_detector(CAM, 0, "D0", {"rows": 10})
    assert not registry.register_detector(CAM, 0, "D0")
    with pytest.raises(ConflictError, match=r"geometry is \{'rows': 10\}, given \{'rows': 11\}"):
        registry.register_detector(CAM, 0, "D0", {"rows": 11})
    with pytest.raises(ConflictError, match="name is 'D0', given 'E0'"):
        registry.register_detector(CAM, 0, "E0")
    assert registry.register_detector(CAM, 0, "E0", update=True)


def test_a_band_is_filled_in_and_then_fixed(registry: Registry) -> None:
    assert registry.register_filter(CAM, "clear")
    assert registry.register_filter(CAM, "clear", "white")
    assert not registry.register_filter(CAM, "clear")
    with pytest.raises(ConflictError, match="band is 'white', given 'r'"):
        registry.register_filter(CAM, "clear", "r")


def test_unknown_instrument_is_named_with_the_nearest(registry: Registry) -> None:
    with pytest.raises(UsageError, match="did you mean 'TestCam'") as caught:
        registry.instrument("testcam")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a|b", "-x", "x" * 65, "é", "a\n"])
def test_names_of_instruments_are_words(empty: Registry, name: str) -> None:
    with pytest.raises(UsageError):
        empty.register_instrument(name, {}, "")
