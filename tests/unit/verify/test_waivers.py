"""Applying waivers: which rows they document, and which of them say nothing."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from verifications import verification_table

from cpflow.registry import Waiver, WaiverCategory
from cpflow.verify.summary import overall
from cpflow.verify.waivers import Candidate, apply_waivers

BIAS = Candidate("bias", "CAM", 1, None, "sha256:1")
MADE, END = 1000, 2000
ROWS = [
    (1, "A", "NOISE", "fail"),
    (1, "B", "NOISE", "fail"),
    (1, "A", "MEAN", "pass"),
    (2, "A", "NOISE", "no_data"),
    (2, "B", "LEVEL", "informational"),
    (2, "B", "", ""),
    (-1, "A", "DRIFT", "fail"),
    (-1, "", "NOISE", "fail"),
]


def waiver(test: str = "NOISE", **fields: Any) -> Waiver:
    values: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "product": "bias",
        "test": test,
        "instrument": "CAM",
        "category": WaiverCategory.PERMANENT,
        "comment": "c",
        "author": "me",
        "created": MADE,
        **fields,
    }
    return Waiver(**values)


def applied(*waivers: Waiver, at: int = MADE, rows: list[Any] = ROWS, of: Candidate = BIAS):
    return apply_waivers(verification_table(rows), waivers, of, at)


def test_without_waivers_nothing_changes():
    found = applied()
    assert found.verdict.tolist() == [row[3] for row in ROWS]
    assert set(found.waiver) == {""}
    assert found.used == found.unused == found.expired == found.over_broad == ()


@pytest.mark.parametrize(
    ("scope", "rows"),
    [
        ({}, [0, 1, 3, 7]),
        ({"detector": 1}, [0, 1, 3, 7]),
        ({"detector": 2}, []),
        ({"amp": "A"}, [0, 3]),
        ({"amp": "A", "exposure": 2}, [3]),
        ({"exposure": -1}, [7]),
        ({"exposure": 1}, [0, 1]),
        ({"exposure": 9}, []),
        ({"candidate": "sha256:1"}, [0, 1, 3, 7]),
        ({"candidate": "sha256:2"}, []),
        ({"product": "dark"}, []),
        ({"instrument": "OTHER"}, []),
        ({"physical_filter": "r"}, []),
        ({"test": "NOIS"}, []),
        ({"test": "noise"}, []),
        ({"test": "MEAN"}, []),
        ({"test": "LEVEL"}, []),
        ({"test": "DRIFT"}, [6]),
    ],
)
def test_what_it_is_about_is_waived_and_never_passes(scope, rows):
    one = waiver(**scope)
    found = applied(one)
    expected = ["waived" if i in rows else row[3] for i, row in enumerate(ROWS)]
    assert found.verdict.tolist() == expected
    assert found.waiver.tolist() == [one.id if i in rows else "" for i in range(len(ROWS))]
    assert found.used == ((one,) if rows else ())


def test_the_end_is_not_in_it_and_neither_is_what_was_before():
    one = waiver(expires=END)
    states = {at: "waived" in applied(one, at=at).verdict for at in (MADE - 1, MADE, END - 1, END)}
    assert states == {MADE - 1: False, MADE: True, END - 1: True, END: False}
    taken = replace(one, revoked=1500)
    assert "waived" in applied(taken, at=1499).verdict
    assert "waived" not in applied(taken, at=1500).verdict


def test_expired_ones_are_told_where_they_are_missed():
    one = waiver(amp="A", expires=END)
    assert applied(one, at=END).expired == (one,)
    assert applied(one, at=END).unused == ()
    # Not where another documents the rows, the test passes, or it was taken back before.
    assert applied(one, waiver(amp="A"), at=END).expired == ()
    assert applied(replace(one, test="MEAN"), at=END).expired == ()
    assert applied(replace(one, revoked=1500), at=END).expired == ()
    assert applied(replace(one, detector=2), at=END).expired == ()


def test_unused_ones_are_told_those_of_other_products_are_not():
    passing, absent, other = waiver("MEAN"), waiver(exposure=9), waiver(detector=2)
    found = applied(passing, absent, other, waiver(amp="A"))
    assert found.unused == (passing, absent)


def test_those_that_nothing_narrows_are_told():
    broad = waiver()
    narrow = [
        waiver(**scope)
        for scope in ({"detector": 1}, {"amp": "A"}, {"exposure": 1}, {"candidate": "sha256:1"})
    ]
    assert applied(broad, *narrow).over_broad == (broad,)
    assert applied(replace(broad, expires=END), at=END).over_broad == ()


def test_the_narrowest_documents_a_row_and_of_equals_the_oldest():
    broad, amp, both = waiver(), waiver(amp="A"), waiver(amp="A", exposure=1)
    for order in itertools.permutations([broad, amp, both]):
        found = applied(*order)
        assert found.waiver.tolist() == [both.id, broad.id, "", amp.id, "", "", "", broad.id]
    younger = replace(amp, id=str(uuid.uuid4()), created=MADE + 1)
    for pair in ((amp, younger), (younger, amp)):
        found = applied(*pair, at=END)
        assert set(found.waiver) == {"", amp.id}
        assert found.unused == (younger,)


def test_columns_may_be_stored_in_any_way():
    one = waiver(amp="A")
    table = verification_table(ROWS)
    wanted = applied(one).verdict.tolist()
    dataset = xr.Dataset({name: ("row", values) for name, values in table.items()})
    strings = np.dtypes.StringDType()
    texts = {n: v.astype(strings) for n, v in table.items() if v.dtype.kind == "U"}
    narrow = {**table, "verdict": np.array([row[3] for row in ROWS])[:4].astype("U7")}
    assert apply_waivers(dataset, [one], BIAS, MADE).verdict.tolist() == wanted
    assert apply_waivers({**table, **texts}, [one], BIAS, MADE).verdict.tolist() == wanted
    # A column that is too narrow for the word.
    short = {n: v[:1] for n, v in table.items()} | {"verdict": narrow["verdict"][:1].astype("U4")}
    assert apply_waivers(short, [one], BIAS, MADE).verdict.tolist() == ["waived"]
    empty = applied(one, rows=[])
    assert empty.verdict.size == empty.waiver.size == 0


def test_what_a_verification_says_of_its_candidate():
    attributes = {
        "verifies": "flat", "instrument": "CAM", "detector": 1, "filter": "r",
        "candidate_checksum": "sha256:1",
    }  # fmt: skip
    flat = Candidate.of(attributes)
    assert flat == Candidate("flat", "CAM", 1, "r", "sha256:1")
    del attributes["filter"]
    assert Candidate.of(attributes).physical_filter is None
    rows = [(1, "A", "MEAN", "fail")]
    for scope, waived in (({"physical_filter": "r"}, True), ({"physical_filter": "g"}, False)):
        found = applied(waiver("MEAN", product="flat", **scope), rows=rows, of=flat)
        assert ("waived" in found.verdict) is waived


def straightforward(table, waivers, of, at):
    """Row by row, as the specification says it."""
    verdicts = []
    for i, verdict in enumerate(table["verdict"]):
        documented = table["severity"][i] == "required" and verdict in ("fail", "no_data") and any(
            w.product == of.product and w.instrument == of.instrument
            and w.test == table["test"][i]
            and (w.detector is None or w.detector == of.detector)
            and (w.amp is None or w.amp == table["amp"][i])
            and (w.exposure is None or w.exposure == table["exposure"][i])
            and (w.physical_filter is None or w.physical_filter == of.physical_filter)
            and (w.candidate is None or w.candidate == of.checksum)
            and w.created <= at and (w.expires is None or at < w.expires)
            and (w.revoked is None or at < w.revoked)
            for w in waivers
        )  # fmt: skip
        verdicts.append("waived" if documented else str(verdict))
    return verdicts


def test_random_tables_and_waivers_agree_with_a_loop_over_rows():
    rng = np.random.default_rng(5)
    tests, amps = ["NOISE", "MEAN", "DRIFT"], ["", "A", "B"]

    def one_of(values):
        return values[rng.integers(len(values))]

    waived_at_all = 0
    for _ in range(200):
        rows = [
            (int(rng.integers(-1, 3)), one_of(amps), one_of(tests),
             one_of(["pass", "fail", "no_data", "informational"]))
            for _ in range(rng.integers(0, 12))
        ]  # fmt: skip
        waivers = [
            waiver(
                one_of(tests),
                product=one_of(["bias", "bias", "dark"]),
                detector=one_of([None, 1, 2]),
                amp=one_of([None, "A", "B"]),
                exposure=one_of([None, None, 1]),
                candidate=one_of([None, "sha256:1", "sha256:2"]),
                created=int(rng.integers(0, 4)),
                expires=one_of([None, 3, 5]),
                revoked=one_of([None, None, 4]),
            )
            for _ in range(rng.integers(0, 5))
        ]
        at = int(rng.integers(0, 6))
        table = verification_table(rows)
        found = apply_waivers(table, waivers, BIAS, at)
        assert found.verdict.tolist() == straightforward(table, waivers, BIAS, at)
        assert ((found.verdict == "waived") == (found.waiver != "")).all()
        assert {w.id for w in found.used} == set(found.waiver) - {""}
        # Waiving never makes a verdict worse, and what is waived counts as no pass.
        order = ["fail", "no_data", "pass"]
        before, after = (overall(table["severity"], v) for v in (table["verdict"], found.verdict))
        assert order.index(after) >= order.index(before)
        assert (found.verdict == "pass").sum() == (table["verdict"] == "pass").sum()
        waived_at_all += "waived" in found.verdict
    assert waived_at_all > 20
