"""Waivers: failed tests that somebody looked at and documented (verification 5.1).

A waiver is never deleted: one that is taken back stays in the history, with who did so and why.
Exports of collections do not carry waivers: a waiver is the judgement of the people of one
repository, and the certificates that rested on it do carry what it came to.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update

from cpflow.errors import ConflictError, NoDataError, UsageError
from cpflow.registry import schema
from cpflow.registry.instruments import instrument_id
from cpflow.registry.names import check_word, is_text, nearest
from cpflow.registry.part import RegistryPart, now
from cpflow.registry.records import Waiver, WaiverCategory
from cpflow.timespan import isoformat

_FEWEST = 4
_LONGEST = 10_000
_CHECKSUM = re.compile(r"[\x21-\x7e]{1,80}")


class Waivers(RegistryPart):
    """Documenting failed tests."""

    def add_waiver(
        self,
        product: str,
        test: str,
        *,
        instrument: str,
        category: str,
        comment: str,
        author: str,
        detector: int | None = None,
        amp: str | None = None,
        exposure: int | None = None,
        physical_filter: str | None = None,
        candidate: str | None = None,
        reference: str | None = None,
        expires: int | None = None,
    ) -> Waiver:
        """Document a failed test.

        Parameters
        ----------
        product, test : str
            Product type, and the exact name of the test.
        instrument : str
        category : str
            A `WaiverCategory`.
        comment, author : str
            Why it may fail, and who says so.
        detector, amp, exposure, physical_filter : optional
            What it is restricted to.
        candidate : str, optional
            Checksum of the only product that it is about.
        reference : str, optional
            Link or ticket.
        expires : int, optional
            TAI nanoseconds from which on it does not count; None is never.

        Raises
        ------
        UsageError
            If a value will not do.
        ConflictError
            If there is one in force already that is about the same.
        """
        made = now()
        waiver = Waiver(
            str(uuid.uuid4()),
            check_word(product, "a product"),
            test,
            instrument,
            _category(category),
            _text(comment, "a comment"),
            _text(author, "an author"),
            made,
            detector,
            amp,
            exposure,
            physical_filter,
            candidate,
            None if reference is None else _text(reference, "a reference"),
            expires,
        )
        if not re.fullmatch(r"\S{1,64}", test) or not is_text(test):
            raise UsageError(f"{test[:70]!r} is no name of a test", hint="as in NOISE")
        for value in (amp, physical_filter):
            if value is not None:
                _text(value, "a scope")
        if candidate is not None and not _CHECKSUM.fullmatch(candidate):
            raise UsageError(f"{candidate[:40]!r} is not a checksum")
        if expires is not None and expires <= made:
            raise UsageError(
                f"the waiver would have expired already, at {isoformat(expires)} TAI",
                hint="give --until a date to come, or leave it out",
            )
        with self._db.write() as connection:
            row = instrument_id(connection, instrument)
            # One at a time, so that two cannot document the same at once.
            lock = select(schema.instrument.c.id).where(schema.instrument.c.id == row)
            connection.execute(lock.with_for_update(key_share=True))
            for held in _waivers(connection, schema.waiver.c.instrument_id == row):
                # Another may have taken its time later than this one, and the lock before it.
                at = max(made, held.created)
                if held.state(at) == "in force" and _place(held) == _place(waiver):
                    raise ConflictError(
                        f"this is waived already: {held}",
                        hint=f"to replace it: cpflow unwaive REPO {held.short} --comment WHY",
                    )
            values = {name: getattr(waiver, name) for name in _COLUMNS}
            connection.execute(
                insert(schema.waiver).values(
                    uuid=waiver.id,
                    instrument_id=row,
                    expires_ns=expires,
                    **{**values, "category": waiver.category.value},
                )
            )
        return waiver

    def waivers(
        self,
        product: str | None = None,
        *,
        instrument: str | None = None,
        at: int | None = None,
        history: bool = False,
    ) -> list[Waiver]:
        """Return waivers, oldest first.

        Parameters
        ----------
        product : str, optional
            Only those of a product type.
        instrument : str, optional
            Only those of an instrument.
        at : int, optional
            TAI nanoseconds at which they have to be in force; by default now.
        history : bool
            All that ever were, also the expired and revoked ones.
        """
        table = schema.waiver
        conditions: list[ColumnElement[bool]] = []
        if product is not None:
            conditions.append(table.c.product == product)
        with self._db.read() as connection:
            if instrument is not None:
                conditions.append(table.c.instrument_id == instrument_id(connection, instrument))
            found = _waivers(connection, *conditions)
        if history:
            return found
        instant = now() if at is None else at
        return [waiver for waiver in found if waiver.state(instant) == "in force"]

    def waiver(self, id: str) -> Waiver:  # noqa: A002  the name of the record's field
        """Return a waiver by its UUID, or by the beginning of it.

        Raises
        ------
        NoDataError
            If there is none.
        UsageError
            If several begin like that, or too little of it is given.
        """
        with self._db.read() as connection:
            return _one(connection, id)

    def revoke_waiver(self, id: str, *, author: str, comment: str) -> Waiver:  # noqa: A002
        """Take a waiver back; it stays in the history.

        Raises
        ------
        NoDataError, UsageError
            As `waiver`; a UsageError also if it was taken back before, or nothing says why.
        """
        why, who = _text(comment, "a comment"), _text(author, "an author")
        table = schema.waiver
        with self._db.write() as connection:
            held = _one(connection, id)
            taken = connection.execute(
                update(table)
                .where(table.c.uuid == held.id, table.c.revoked.is_(None))
                .values(revoked=max(now(), held.created), revoked_by=who, revoked_comment=why)
            )
            now_held = _one(connection, held.id)
            if taken.rowcount == 0:
                assert now_held.revoked is not None
                raise UsageError(
                    f"waiver {held.short} was taken back at {isoformat(now_held.revoked)} TAI by "
                    f"{now_held.revoked_by}: {now_held.revoked_comment}"
                )
            return now_held


# Fields of the record that are columns of the same name.
_COLUMNS = (
    "product",
    "test",
    "detector",
    "amp",
    "exposure",
    "physical_filter",
    "candidate",
    "comment",
    "author",
    "reference",
    "created",
    "revoked",
    "revoked_by",
    "revoked_comment",
)


def _place(waiver: Waiver) -> tuple[object, ...]:
    return (
        waiver.instrument,
        *(getattr(waiver, name) for name in _COLUMNS[: _COLUMNS.index("comment")]),
    )


def _waivers(connection: Connection, *conditions: ColumnElement[bool]) -> list[Waiver]:
    table, instrument = schema.waiver, schema.instrument
    rows = connection.execute(
        select(table, instrument.c.name.label("instrument_name"))
        .join(instrument, instrument.c.id == table.c.instrument_id)
        .where(*conditions)
        .order_by(table.c.created, table.c.id)
    )
    return [_as_waiver(row) for row in rows]


def _as_waiver(row: Row[Any]) -> Waiver:
    return Waiver(
        id=row.uuid,
        instrument=row.instrument_name,
        category=WaiverCategory(row.category),
        expires=row.expires_ns,
        **{name: getattr(row, name) for name in _COLUMNS},
    )


def _one(connection: Connection, given: str) -> Waiver:
    text = given.strip().lower()
    if not re.fullmatch(rf"[0-9a-f-]{{{_FEWEST},36}}", text):
        raise UsageError(
            f"{given[:40]!r} is not the id of a waiver",
            hint=f"'cpflow waivers REPO' lists them; {_FEWEST} characters or more will do",
        )
    found = _waivers(connection, schema.waiver.c.uuid.like(f"{text}%"))
    if not found:
        raise NoDataError(
            f"there is no waiver {given}", hint="'cpflow waivers REPO --all' lists them"
        )
    if len(found) > 1:
        listed = ", ".join(waiver.id for waiver in found)
        raise UsageError(f"{len(found)} waivers begin with {given}: {listed}")
    return found[0]


def _category(given: str) -> WaiverCategory:
    known: Sequence[str] = [category.value for category in WaiverCategory]
    if given not in known:
        raise UsageError(
            f"there is no category {given[:40]!r} of waivers",
            hint=nearest(given, known) or f"one of {', '.join(known)}",
        )
    return WaiverCategory(given)


def _text(given: str, what: str) -> str:
    text = given.strip()
    if not text:
        raise UsageError(f"a waiver needs {what}", hint="who looks at it later has to know why")
    if len(text) > _LONGEST or not is_text(text):
        raise UsageError(f"{what} that long, or with such characters, cannot be stored")
    return text
