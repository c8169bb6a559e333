"""Certifying and decertifying (spec 3.2, 3.3)."""

from __future__ import annotations

import pytest
from registries import CAM, exposure, make, span, tai
from sqlalchemy import insert

from cpflow.errors import (
    CollectionTypeError,
    ConflictError,
    MissingCollectionError,
    NoDataError,
    UsageError,
)
from cpflow.registry import DatasetRef, Registry, schema
from cpflow.timespan import Timespan

JANUARY = span("2021-01-01", "2021-02-01")
FEBRUARY = span("2021-02-01", "2021-03-01")


@pytest.fixture
def one(registry: Registry) -> DatasetRef:
    registry.register_collection("calib", "CALIBRATION")
    return make(registry, "r")[0]


def rows(registry: Registry, collection: str = "calib") -> list[tuple[str, Timespan]]:
    return [(row.dataset.id, row.timespan) for row in registry.certified(collection)]


def test_V6_several_types_in_one_call(registry: Registry, one: DatasetRef) -> None:
    more = [*make(registry, "d", "dark", (0, 1)), *make(registry, "f", "flat", (0,))]
    made = registry.certify("calib", [one, *more], JANUARY, verdict="pass", reason="because")
    assert len(made) == 4
    assert len(rows(registry)) == 4
    assert {(c.verdict, c.reason) for c in registry.certified("calib")} == {("pass", "because")}
    assert [c.dataset for c in registry.certified("calib", "dark")] == more[:2]


def test_V7_another_dataset_conflicts(registry: Registry, one: DatasetRef) -> None:
    (other,) = make(registry, "s")
    registry.certify("calib", [one], JANUARY)
    for overlap in (span("2021-01-31", None), span(None, "2021-01-02"), JANUARY, span(None, None)):
        with pytest.raises(ConflictError):
            registry.certify("calib", [other], overlap)
    assert rows(registry) == [(one.id, JANUARY)]


def test_V7_same_dataset_conflicts(registry: Registry, one: DatasetRef) -> None:
    registry.certify("calib", [one], JANUARY)
    with pytest.raises(ConflictError):
        registry.certify("calib", [one], JANUARY)


def test_V7_touching_is_fine(registry: Registry, one: DatasetRef) -> None:
    registry.certify("calib", [one], JANUARY)
    registry.certify("calib", [one], FEBRUARY)
    assert len(rows(registry)) == 2


def test_V8_detector_filter_type_and_collection_are_independent(registry: Registry) -> None:
    refs = [
        *make(registry, "a", "bias", (0, 1)),
        *make(registry, "b", "dark"),
        *make(registry, "c", "flat", physical_filter="r_1"),
        *make(registry, "d", "flat", physical_filter="r_2"),
    ]
    registry.certify("calib", refs, JANUARY, create=True)
    registry.certify("other", refs, JANUARY, create=True)
    assert len(rows(registry)) == len(rows(registry, "other")) == 5


def test_V9_a_refused_call_changes_nothing(registry: Registry, one: DatasetRef) -> None:
    registry.certify("calib", [one], JANUARY)
    others = [*make(registry, "d", "dark"), *make(registry, "s", "bias", (0, 1))]
    with pytest.raises(ConflictError):
        registry.certify("calib", others, JANUARY)
    assert rows(registry) == [(one.id, JANUARY)]


def test_V10_checks(registry: Registry, one: DatasetRef) -> None:
    with pytest.raises(MissingCollectionError):
        registry.certify("nothing", [one], JANUARY)
    with pytest.raises(CollectionTypeError):
        registry.certify("r", [one], JANUARY)
    assert registry.certify("calib", [], JANUARY) == []
    with pytest.raises(NoDataError):
        registry.certify("calib", [DatasetRef("x", "bias", one.data_id, "r", "p")], JANUARY)


def test_V11_two_datasets_of_one_place_in_one_call(registry: Registry, one: DatasetRef) -> None:
    (other,) = make(registry, "s")
    with pytest.raises(ConflictError, match="two datasets for one place"):
        registry.certify("calib", [one, other], JANUARY)
    with pytest.raises(ConflictError):
        registry.certify("calib", [one, one], JANUARY)
    assert rows(registry) == []


def test_V12_an_empty_span_is_refused(registry: Registry, one: DatasetRef) -> None:
    with pytest.raises(UsageError, match="swap begin and end"):
        registry.certify("calib", [one], span("2021-02-01", "2021-01-01"))
    with pytest.raises(UsageError):
        registry.decertify("calib", "bias", span("2021-02-01", "2021-01-01"))


def test_V13_the_database_refuses_overlaps_that_bypass_python(
    registry: Registry, one: DatasetRef
) -> None:
    registry.certify("calib", [one], JANUARY)
    table = schema.certification
    with registry._db.read() as connection:
        row = dict(connection.execute(table.select()).mappings().one())
    del row["id"]
    for begin, end in [(JANUARY.begin, JANUARY.end), (None, None), (tai("2021-01-31"), None)]:
        with pytest.raises(ConflictError), registry._db.write() as connection:
            connection.execute(insert(table), [{**row, "begin_ns": begin, "end_ns": end}])
    with pytest.raises(ConflictError), registry._db.write() as connection:
        connection.execute(insert(table), [{**row, "begin_ns": 5, "end_ns": 5}])
    with registry._db.write() as connection:
        connection.execute(insert(table), [{**row, "begin_ns": JANUARY.end, "end_ns": None}])
    with pytest.raises(ConflictError), registry._db.write() as connection:
        connection.execute(table.update().values(begin_ns=None))
    assert len(rows(registry)) == 2
    assert registry.problems() == []


def test_V14_a_conflict_names_all_and_the_command_that_makes_room(
    registry: Registry, one: DatasetRef
) -> None:
    registry.certify("calib", [one], JANUARY)
    (other,) = make(registry, "s")
    with pytest.raises(ConflictError) as caught:
        registry.certify("calib", [other], span("2021-01-15", "2021-01-20"))
    shown = str(caught.value)
    assert f"bias {one.id} (instrument={CAM}, detector=0) of run r" in shown
    assert "[2021-01-01T00:00:00, 2021-02-01T00:00:00) TAI" in shown
    command = "cpflow decertify REPO calib bias --begin-date 2021-01-15T00:00:00"
    assert f"{command} --end-date 2021-01-20T00:00:00 --detector 0" in shown


@pytest.mark.parametrize(
    ("window", "left"),
    [
        ((None, None), []),
        (("2021-01-01", "2021-02-01"), []),
        ((None, "2021-01-10"), [("2021-01-10", "2021-02-01")]),
        (("2021-01-10", None), [("2021-01-01", "2021-01-10")]),
        (
            ("2021-01-10", "2021-01-11"),
            [("2021-01-01", "2021-01-10"), ("2021-01-11", "2021-02-01")],
        ),
        (("2021-02-01", None), [("2021-01-01", "2021-02-01")]),
    ],
)
def test_V15_decertifying_trims_splits_removes(
    registry: Registry,
    one: DatasetRef,
    window: tuple[str | None, str | None],
    left: list[tuple[str, str]],
) -> None:
    registry.certify("calib", [one], JANUARY, verdict="pass", reason="x")
    planned = registry.decertify("calib", "bias", span(*window), dry_run=True)
    assert rows(registry) == [(one.id, JANUARY)]
    before, after = registry.decertify("calib", "bias", span(*window))
    assert (before, after) == planned
    assert rows(registry) == [(one.id, span(*bounds)) for bounds in left]
    assert all(row.verdict == "pass" for row in registry.certified("calib"))
    if before:
        assert after == registry.certified("calib")


def test_V15_restricted_to_data_ids(registry: Registry, one: DatasetRef) -> None:
    two = make(registry, "s", "bias", (1, 2))
    registry.certify("calib", [one, *two], JANUARY)
    registry.decertify("calib", "bias", span(None, None), [{"instrument": CAM, "detector": 1}])
    assert {id_ for id_, _ in rows(registry)} == {one.id, two[1].id}
    registry.decertify("calib", "bias", span(None, None))
    assert rows(registry) == []


def test_V16_nothing_to_take_away_is_fine(registry: Registry, one: DatasetRef) -> None:
    registry.certify("calib", [one], JANUARY)
    assert registry.decertify("calib", "bias", FEBRUARY) == ([], [])
    assert registry.decertify("calib", "bias", JANUARY, [(CAM, 3)]) == ([], [])
    assert rows(registry) == [(one.id, JANUARY)]
    with pytest.raises(UsageError, match="no dataset type"):
        registry.decertify("calib", "nothing", JANUARY)
    with pytest.raises(CollectionTypeError):
        registry.decertify("r", "bias", JANUARY)
    with pytest.raises(MissingCollectionError):
        registry.decertify("nothing", "bias", JANUARY)


def test_V17_no_data_ids_and_a_type_never_held_are_no_ops(
    registry: Registry, one: DatasetRef
) -> None:
    registry.certify("calib", [one], JANUARY)
    assert registry.decertify("calib", "bias", JANUARY, []) == ([], [])
    assert registry.decertify("calib", "flat", JANUARY) == ([], [])
    assert rows(registry) == [(one.id, JANUARY)]


def test_V18_the_parts_of_a_split_are_two_rows(registry: Registry, one: DatasetRef) -> None:
    registry.certify("calib", [one], JANUARY)
    registry.decertify("calib", "bias", Timespan.at(tai("2021-01-10")))
    assert len(rows(registry)) == 2


def test_V20_replacing_in_place(registry: Registry, one: DatasetRef) -> None:
    (other,) = make(registry, "s")
    registry.certify("calib", [one], span("2021-01-01", None))
    window = span("2021-01-10", "2021-01-20")
    registry.certify("calib", [other], window, replace=True)
    assert rows(registry) == [
        (one.id, span("2021-01-01", "2021-01-10")),
        (other.id, window),
        (one.id, span("2021-01-20", None)),
    ]


def test_V2_infinity_is_no_date(registry: Registry, one: DatasetRef) -> None:
    early, late = span("1700-01-01", "1960-01-01"), span("2150-01-01", "2200-01-01")
    registry.certify("calib", [one], early)
    registry.certify("calib", [one], late)
    registry.certify("calib", [one], span("1960-01-01", "2150-01-01"))
    registry.certify("calib", [one], span(None, "1700-01-01"))
    registry.certify("calib", [one], span("2200-01-01", None))
    assert registry.certified("calib")[0].timespan.begin is None
    assert registry.gaps("calib") == []


def test_gaps(registry: Registry, one: DatasetRef) -> None:
    registry.certify("calib", [one], JANUARY)
    registry.certify("calib", [one], span("2021-03-01", None))
    registry.certify("calib", make(registry, "s", "bias", (1,)), JANUARY)
    (gap,) = registry.gaps("calib")
    assert (gap.type, gap.data_id.detector, gap.timespan) == ("bias", 0, FEBRUARY)


def test_certifications_of_a_dataset(registry: Registry, one: DatasetRef) -> None:
    registry.certify("calib", [one], JANUARY)
    registry.certify("b", [one], FEBRUARY, create=True)
    found = registry.certifications_of(one.id)
    assert [(c.collection, c.timespan) for c in found] == [("b", FEBRUARY), ("calib", JANUARY)]


def test_the_data_id_of_a_caller_is_not_trusted(registry: Registry, one: DatasetRef) -> None:
    from dataclasses import replace

    forged = replace(one, data_id=one.data_id._replace(detector=3), type="dark")
    (row,) = registry.certify("calib", [forged], JANUARY)
    assert row.dataset == one
    assert registry.find("bias", (CAM, 0), "calib", exposure().timespan) == one


def test_each_may_have_its_own_verdict(registry: Registry, one: DatasetRef) -> None:
    (other,) = make(registry, "r2", "dark")
    own = {one.id: ("failed", None)}
    made = registry.certify(
        "calib", [one, other], JANUARY, verdict="verified", reason="why", verdicts=own
    )
    assert [(row.verdict, row.reason) for row in made] == [("failed", None), ("verified", "why")]
    held = {row.dataset.id: (row.verdict, row.reason) for row in registry.certified("calib")}
    assert held == {one.id: ("failed", None), other.id: ("verified", "why")}
    # What is left of a range keeps what was said of it.
    registry.decertify("calib", "bias", span("2021-01-10", "2021-01-11"))
    assert [row.verdict for row in registry.certified("calib", "bias")] == ["failed", "failed"]
