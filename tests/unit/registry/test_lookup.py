"""Finding what applies (spec 3.4)."""

from __future__ import annotations

import pytest
from registries import CAM, add_exposures, exposure, make, span, tai

from cpflow.errors import AmbiguousCalibrationError, MissingCollectionError, UsageError
from cpflow.registry import DatasetRef, Outcome, Registry
from cpflow.timespan import DAY, SECOND, Timespan

ID = {"instrument": CAM, "detector": 0}
HOUR = 3600 * SECOND


@pytest.fixture
def a(registry: Registry) -> DatasetRef:
    return make(registry, "run/a")[0]


@pytest.fixture
def b(registry: Registry) -> DatasetRef:
    return make(registry, "run/b")[0]


@pytest.fixture
def c(registry: Registry) -> DatasetRef:
    return make(registry, "R")[0]


@pytest.fixture
def worked(registry: Registry, a: DatasetRef, b: DatasetRef, c: DatasetRef) -> Registry:
    """The worked example of 3.4."""
    registry.certify("K", [a], span("2021-01-01", "2021-01-06"), create=True)
    registry.certify("K", [b], span("2021-01-06", "2021-01-10"))
    registry.certify("L", [a], span("2021-01-01", None), create=True)
    return registry


def at(text: str, seconds: float = 0) -> Timespan:
    begin = tai(text)
    return Timespan(begin, begin + int(seconds * SECOND))


def test_worked_example(worked: Registry, a: DatasetRef, b: DatasetRef, c: DatasetRef) -> None:
    def find(path: str, span: Timespan) -> DatasetRef | None:
        return worked.find("bias", ID, path.split(","), span)

    straddling = at("2021-01-05T23:59:50", 20)
    assert find("K", at("2021-01-05T20:00", 3600)) == a
    assert find("K", at("2021-01-06")) == b
    with pytest.raises(AmbiguousCalibrationError):
        find("K", straddling)
    assert find("L,K", straddling) == a
    assert find("K,L", at("2021-01-12")) == a
    assert find("K,R", at("2021-01-12")) == c
    assert find("R,K", at("2021-01-05")) == c
    worked.decertify("K", "bias", span("2021-01-03", "2021-01-04"))
    assert [(row.dataset, row.timespan) for row in worked.certified("K")] == [
        (a, span("2021-01-01", "2021-01-03")),
        (a, span("2021-01-04", "2021-01-06")),
        (b, span("2021-01-06", "2021-01-10")),
    ]
    with pytest.raises(AmbiguousCalibrationError):
        find("K", span("2021-01-02", "2021-01-05"))
    assert find("K", at("2021-01-03T12:00")) is None


def test_V21_time_plays_no_part_in_a_run(registry: Registry, c: DatasetRef) -> None:
    registry.associate("T", [c])
    for path in ("R", "T"):
        for when in (None, at("1970-01-01"), Timespan.always()):
            assert registry.find("bias", ID, path, when) == c


def test_V22_no_match_is_none(registry: Registry, c: DatasetRef) -> None:
    assert registry.find("bias", {**ID, "detector": 3}, "R") is None
    assert registry.find("dark", ID, "R") is None
    assert registry.find("bias", ID, []) is None
    with pytest.raises(MissingCollectionError):
        registry.find("bias", ID, ["R", "nothing"])


def test_V23_ambiguous_though_it_is_one_dataset_and_a_later_one_is_unique(
    worked: Registry, a: DatasetRef
) -> None:
    worked.decertify("K", "bias", Timespan.at(tai("2021-01-02")))
    window = span("2021-01-01", "2021-01-03")
    with pytest.raises(AmbiguousCalibrationError) as caught:
        worked.find("bias", ID, ["K", "R"], window)
    assert isinstance(caught.value, LookupError)
    assert caught.value.exit_code == 6
    shown = str(caught.value)
    assert shown.count(a.id) == 2
    assert "run/a" in shown
    assert "[2021-01-01T00:00:00, 2021-01-02T00:00:00) TAI" in shown


def test_V23_later_rows_do_not_matter(worked: Registry, a: DatasetRef) -> None:
    worked.change_chain("chain", ["L", "K", "R"])
    assert worked.find("bias", ID, "chain", span("2021-01-01", "2021-01-09")) == a


def test_V24_without_a_time_calibrations_are_skipped(worked: Registry, c: DatasetRef) -> None:
    assert worked.find("bias", ID, ["K"]) is None
    assert worked.find("bias", ID, ["K", "R"]) == c


def test_V24_V28_an_unbounded_time_takes_all_rows(worked: Registry, a: DatasetRef) -> None:
    assert worked.find("bias", ID, "L", Timespan.always()) == a
    with pytest.raises(AmbiguousCalibrationError):
        worked.find("bias", ID, "K", Timespan.always())


def test_V25_the_boundary_instant_belongs_to_the_next(worked: Registry, b: DatasetRef) -> None:
    assert worked.find("bias", ID, "K", Timespan.at(tai("2021-01-06"))) == b
    assert worked.find("bias", ID, "K", Timespan.at(tai("2021-01-10"))) is None
    assert worked.find("bias", ID, "K", Timespan.at(tai("2021-01-10") - 1)) == b


def test_V27_an_empty_time_finds_nothing_anywhere(worked: Registry) -> None:
    assert worked.find("bias", ID, ["K", "L", "R"], Timespan(10, 5)) is None


def test_V29_a_run_earlier_in_the_path_wins_whatever_the_date(
    worked: Registry, c: DatasetRef
) -> None:
    assert worked.find("bias", ID, ["R", "L"], at("2021-01-05")) == c


def test_data_ids(registry: Registry, c: DatasetRef) -> None:
    more = {**ID, "physical_filter": "r_1", "exposure": 5, "band": "r"}
    assert registry.find("bias", more, "R") == c
    with pytest.raises(UsageError, match="identified by physical_filter"):
        registry.find("flat", ID, "R")
    with pytest.raises(UsageError, match="names no instrument"):
        registry.find("bias", {"detector": 0}, "R")
    with pytest.raises(UsageError, match="no dataset type"):
        registry.find("nothing", ID, "R")


def test_flats_follow_the_filter_of_each_exposure(registry: Registry) -> None:
    flats = [make(registry, f"f{i}", "flat", physical_filter=f"r_{i}")[0] for i in (1, 2)]
    registry.certify("calib", flats, span(None, None), create=True)
    one, two = exposure(seq_num=1), exposure(seq_num=2, physical_filter="r_2")
    three = exposure(seq_num=3, physical_filter="g_1", band="g")
    found = registry.find_for_exposures("flat", [one, two, three], 0, ["calib"])
    assert found == {one.exposure: flats[0], two.exposure: flats[1], three.exposure: None}


def test_V34_all_failures_are_collected(worked: Registry, a: DatasetRef, b: DatasetRef) -> None:
    noon = tai("2021-01-05T12:00")
    records = [
        exposure(20210102, 1),
        exposure(20210105, 2, timespan=Timespan(noon, noon + DAY)),
        exposure(20210105, 3, timespan=Timespan(noon + HOUR, noon + DAY)),
        exposure(20210107, 4),
        exposure(20210301, 5),
    ]
    ids = [record.exposure for record in records]
    result = worked.lookup_exposures("bias", records, 0, "K")
    assert result.found == {ids[0]: a, ids[3]: b}
    assert result.missing == (ids[4],)
    assert {id_: [c.dataset for c in found] for id_, found in result.ambiguous.items()} == {
        ids[1]: [a, b],
        ids[2]: [a, b],
    }
    with pytest.raises(AmbiguousCalibrationError) as caught:
        worked.find_for_exposures("bias", records, 0, "K")
    assert f"2 exposures ({ids[1]}, {ids[2]})" in caught.value.message
    assert a.id in caught.value.message
    assert "--drop-bad" in (caught.value.hint or "")
    alone = worked.find_for_exposures("bias", records, 0, ["L"])
    assert set(alone.values()) == {a}


def test_bulk_and_single_look_ups_agree(worked: Registry) -> None:
    records = [exposure(20210101 + i, 1) for i in range(14)]
    for path in (["L", "K"], ["K", "L"], ["K", "R"], ["R", "K"], ["K"]):
        found = worked.find_for_exposures("bias", records, 0, path)
        assert found == {
            one.exposure: worked.find("bias", ID, path, one.timespan) for one in records
        }


def test_bulk_takes_one_instrument(registry: Registry) -> None:
    registry.register_collection("K", "CALIBRATION")
    assert registry.find_for_exposures("bias", [], 0, "K") == {}
    with pytest.raises(UsageError, match="several instruments"):
        registry.find_for_exposures("bias", [exposure(), exposure(instrument="X")], 0, "K")


def test_C8_C28_a_prepended_collection_shadows_from_its_begin_on(
    registry: Registry, a: DatasetRef, b: DatasetRef
) -> None:
    registry.certify("old", [a], span("2021-01-01", None), create=True)
    registry.certify("new", [b], span("2021-06-01", None), create=True)
    registry.change_chain("calib", ["old"])
    registry.change_chain("calib", ["new"], "prepend")
    assert registry.find("bias", ID, "calib", at("2021-05-31")) == a
    assert registry.find("bias", ID, "calib", at("2021-06-01")) == b


def test_V30_explain_says_what_decided_and_what_it_shadowed(
    worked: Registry, a: DatasetRef, b: DatasetRef, c: DatasetRef
) -> None:
    one = exposure(20210105)
    add_exposures(worked, [one])
    rows = worked.explain(one, 0, ["L", "K", "R"], ["bias"])
    assert [(row.collection, row.outcome, row.dataset) for row in rows] == [
        ("L", Outcome.USED, a),
        ("K", Outcome.SHADOWED, a),
        ("R", Outcome.SHADOWED, c),
    ]
    assert rows[0].timespan == span("2021-01-01", None)
    assert rows[1].reason == "L is searched before K"


def test_explain_says_why_nothing_applies(worked: Registry) -> None:
    rows = worked.explain(exposure(20210301), 0, "K")
    by_type = {row.type: row for row in rows}
    assert set(by_type) == {"bias", "camera", "dark", "flat"}
    assert by_type["bias"].outcome is Outcome.NOT_IN_FORCE
    assert "ended 2021-01-10T00:00:00" in by_type["bias"].reason
    assert by_type["dark"].outcome is Outcome.NOTHING
    assert "K" in by_type["dark"].reason


def test_explain_shows_ambiguity(worked: Registry) -> None:
    begin = tai("2021-01-05T23:59:50")
    one = exposure(20210105, timespan=Timespan(begin, begin + 20 * SECOND))
    rows = worked.explain(one, 0, ["K", "R"], ["bias"])
    assert [row.outcome for row in rows] == ["ambiguous", "ambiguous", "shadowed"]


def test_explain_without_a_detector(worked: Registry) -> None:
    assert {row.type for row in worked.explain(exposure(), None, "K")} == {"camera"}


def test_explain_shows_the_verdict_that_was_recorded(registry: Registry) -> None:
    first, second = make(registry, "r1"), make(registry, "r2")
    registry.certify("K", first, span("2021-01-01", None), create=True, verdict="waived")
    registry.certify("L", second, span("2021-01-01", None), create=True)
    rows = registry.explain(exposure(), 0, ["K", "L", "r1"], ["bias"])
    assert [(row.collection, row.verdict) for row in rows] == [
        ("K", "waived"),
        ("L", None),
        ("r1", None),
    ]
