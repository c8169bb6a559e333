"""Documenting failed tests: what is kept, what is refused, what is found at which time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from registries import CAM, tai, waive
from sqlalchemy import insert

from cpflow.errors import ConflictError, CpflowError, NoDataError, UsageError
from cpflow.registry import Registry, WaiverCategory, schema
from cpflow.registry.part import now
from cpflow.timespan import DAY

FAR = tai("2200-01-01")


def test_a_waiver_comes_back_as_it_went_in(
    registry: Registry, reopen: Callable[[], Registry]
) -> None:
    before = now()
    made = waive(
        registry,
        detector=1,
        amp="C04",
        exposure=2021012100001,
        physical_filter="r_1",
        candidate="sha256:" + "0" * 64,
        comment="  noisy, \u00e9toile  ",
        reference="https://x/DM-1",
        expires=FAR,
    )
    assert before <= made.created <= now()
    assert made.comment == "noisy, \u00e9toile"
    assert made.category is WaiverCategory.PERMANENT
    assert (made.expires, made.revoked) == (FAR, None)
    with reopen() as other:
        assert other.waivers() == [made]
        assert other.waiver(made.short) == other.waiver(made.id.upper()) == made
    for part in ("detector=1", "amp=C04", "exposure=2021012100001", "filter=r_1", "NOISE", "by me"):
        assert part in str(made)
    assert not made.is_broad


def test_what_is_left_out_is_not_restricted_and_never_ends(registry: Registry) -> None:
    made = waive(registry)
    assert made.is_broad
    assert "never expires" in str(made)
    assert not waive(registry, candidate="sha256:1").is_broad


def test_it_counts_from_when_it_is_made_up_to_its_end_which_is_not_in_it(
    registry: Registry,
) -> None:
    made = waive(registry, expires=FAR)
    for at, state in [
        (made.created - 1, "not yet made"),
        (made.created, "in force"),
        (FAR - 1, "in force"),
        (FAR, "expired"),
    ]:
        assert made.state(at) == state
        assert registry.waivers(at=at) == ([made] if state == "in force" else [])
    assert registry.waivers(history=True, at=FAR) == [made]


def test_one_that_is_taken_back_stays_in_the_history(registry: Registry) -> None:
    made, other = waive(registry), waive(registry, test="CR_NOISE")
    taken = registry.revoke_waiver(made.short, author="you", comment="the amplifier was repaired")
    assert taken.revoked is not None
    assert taken.revoked >= made.created
    assert taken.revoked_by == "you"
    assert replace(taken, revoked=None, revoked_by=None, revoked_comment=None) == made
    assert taken.state(taken.revoked - 1) in ("in force", "not yet made")
    assert taken.state(taken.revoked) == "revoked"
    assert registry.waivers() == [other]
    assert registry.waivers(history=True) == [taken, other]
    with pytest.raises(UsageError, match=r"was taken back at .* by you: the amplifier"):
        registry.revoke_waiver(made.id, author="me", comment="again")
    assert registry.waiver(made.id) == taken
    # Its place is free again.
    again = waive(registry)
    assert registry.waivers() == [other, again]


def test_they_are_listed_by_product_and_instrument(registry: Registry) -> None:
    registry.register_instrument("Other", {"name": "Other"}, "test")
    one, two = waive(registry), waive(registry, product="dark")
    three = waive(registry, instrument="Other")
    assert registry.waivers() == [one, two, three]
    assert registry.waivers("bias") == [one, three]
    assert registry.waivers("bias", instrument=CAM) == [one]
    assert registry.waivers("flat") == []
    with pytest.raises(UsageError, match="Nowhere"):
        registry.waivers(instrument="Nowhere")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"comment": " "}, "needs a comment"),
        ({"author": ""}, "needs an author"),
        ({"reference": ""}, "needs a reference"),
        ({"amp": ""}, "needs a scope"),
        ({"category": "because"}, "no category"),
        ({"category": "permanant"}, "permanent"),
        ({"test": "TWO WORDS"}, "no name of a test"),
        ({"test": ""}, "no name of a test"),
        ({"test": "x" * 65}, "no name of a test"),
        ({"product": "no product"}, "cannot be the name of a product"),
        ({"instrument": "Nowhere"}, "Nowhere"),
        ({"candidate": "has space"}, "not a checksum"),
        ({"comment": "nul\0"}, "cannot be stored"),
        ({"comment": "half \ud800"}, "cannot be stored"),
        ({"comment": "x" * 10_001}, "cannot be stored"),
        ({"expires": 0}, "expired already"),
    ],
)
def test_what_will_not_do_is_refused_and_nothing_is_kept(
    registry: Registry, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        waive(registry, **fields)
    assert registry.waivers(history=True) == []


def test_the_same_is_not_waived_twice_but_its_parts_are(registry: Registry) -> None:
    made = waive(registry, detector=1)
    with pytest.raises(ConflictError, match=rf"(?s)waived already: {made.short}.*unwaive"):
        waive(registry, detector=1, comment="another reason", category="uncorrectable")
    for fields in ({}, {"detector": 2}, {"detector": 1, "amp": "C00"}, {"candidate": "sha256:1"}):
        waive(registry, **fields)
    assert len(registry.waivers()) == 5


def test_one_that_has_expired_may_be_made_again(registry: Registry) -> None:
    made = waive(registry, expires=now() + 200_000_000)
    while now() < (made.expires or 0):
        pass
    again = waive(registry)
    assert registry.waivers() == [again]


def test_the_beginning_of_an_id_must_be_enough_to_tell(registry: Registry) -> None:
    made = waive(registry)
    like = made.id[:8] + "-ffff-4fff-8fff-ffffffffffff"
    with registry._db.write() as connection:
        connection.execute(
            insert(schema.waiver).values(
                uuid=like,
                product="dark",
                test="X",
                instrument_id=1,
                category="permanent",
                comment="c",
                author="a",
                created=now() + DAY,
            )
        )
    with pytest.raises(UsageError, match=f"2 waivers begin with {made.short}"):
        registry.waiver(made.short)
    assert registry.waiver(made.id) == made
    for text in ("", "abc", "%%%%", "____", "xyzw", "0" * 40):
        with pytest.raises(UsageError, match="is not the id of a waiver"):
            registry.waiver(text)
    with pytest.raises(NoDataError, match="no waiver"):
        registry.revoke_waiver("0000-", author="me", comment="x")


def test_the_database_knows_the_categories_too(registry: Registry) -> None:
    values = {"uuid": "x", "product": "bias", "test": "X", "instrument_id": 1, "comment": "c",
              "author": "a", "created": 1, "category": "because"}  # fmt: skip
    with pytest.raises(CpflowError), registry._db.write() as connection:
        connection.execute(insert(schema.waiver).values(**values))


def test_only_one_of_several_takes_a_waiver_back(registry: Registry) -> None:
    made = waive(registry)
    won: list[str] = []
    lost: list[str] = []

    def take(name: str) -> None:
        try:
            registry.revoke_waiver(made.id, author=name, comment="mine")
            won.append(name)
        except UsageError:
            lost.append(name)

    threads = [threading.Thread(target=take, args=(f"t{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 3)
    assert registry.waiver(made.id).revoked_by == won[0]


def test_several_that_document_the_same_at_once_are_one(registry: Registry) -> None:
    refused: list[str] = []

    def make(name: str) -> None:
        try:
            waive(registry, author=name)
        except ConflictError:
            refused.append(name)

    threads = [threading.Thread(target=make, args=(f"t{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.waivers()) == 1
    assert len(refused) == 3
