"""Certifying and decertifying: which dataset is in force when (spec 3.2, 3.3)."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, or_, select
from sqlalchemy import Row as SqlRow

from cpflow.errors import ConflictError, UsageError
from cpflow.registry import schema
from cpflow.registry.collections import Row, ensure, row_of_type
from cpflow.registry.database import is_one_of, lock_collections
from cpflow.registry.datasets import refs_where, row_ids, type_row, type_rows
from cpflow.registry.part import RegistryPart, now
from cpflow.registry.records import (
    Certification,
    CollectionType,
    DataId,
    DatasetRef,
    DatasetType,
)
from cpflow.timespan import Timespan, isoformat

_SHOWN = 20


class Place(NamedTuple):
    """What may hold only one dataset at a time inside a CALIBRATION collection."""

    type_id: int
    data_key: str


def overlapping(span: Timespan) -> ColumnElement[bool]:
    """Rows whose range overlaps a span that is not empty."""
    table = schema.certification
    conditions: list[ColumnElement[bool]] = []
    if span.end is not None:
        conditions.append(or_(table.c.begin_ns.is_(None), table.c.begin_ns < span.end))
    if span.begin is not None:
        conditions.append(or_(table.c.end_ns.is_(None), table.c.end_ns > span.begin))
    return and_(True, *conditions)


def check_span(span: Timespan) -> None:
    """Refuse an empty span (spec V12).

    Raises
    ------
    UsageError
        If it is empty.
    """
    if span.is_empty and span.begin is not None and span.end is not None:
        raise UsageError(
            f"the range begins at {isoformat(span.begin)} and ends before that, at "
            f"{isoformat(span.end)}",
            hint="swap begin and end",
        )


def calibration_type(connection: Connection, name: str) -> tuple[int, DatasetType]:
    """Return a dataset type that can be certified.

    Raises
    ------
    UsageError
        If it is not known, or not a calibration (spec V10).
    """
    type_id, kind = type_row(connection, name)
    if not kind.is_calibration:
        hint = None
        if name.endswith("_verification"):
            hint = f"certify what was verified, the {name.removesuffix('_verification')}"
        raise UsageError(f"{name} is not a calibration type and cannot be certified", hint=hint)
    return type_id, kind


def certify(
    connection: Connection,
    collection: Row,
    refs: Sequence[DatasetRef],
    span: Timespan,
    *,
    replace: bool = False,
    verdict: str | None = None,
    reason: str | None = None,
    verdicts: Mapping[str, tuple[str | None, str | None]] | None = None,
) -> list[Certification]:
    """Certify inside a transaction; see `Certifications.certify`."""
    lock_collections(connection, [collection.id])
    types = type_rows(connection)
    places: dict[Place, DatasetRef] = {}
    for ref in refs:
        if ref.type not in types or not types[ref.type][1].is_calibration:
            calibration_type(connection, ref.type)
        place = Place(types[ref.type][0], ref.data_id.key)
        if place in places:
            # SQLite alone would not notice two of one call in the reference (spec V11).
            raise ConflictError(f"two datasets for one place: {places[place]} and {ref}")
        places[place] = ref
    if not places:
        return []
    condition = _at(connection, collection.id, list(places), span)
    if replace:
        _cut(connection, condition, span)
    else:
        held = read(connection, collection, condition)
        if held:
            raise _conflict(collection.name, span, held)
    ids = row_ids(connection, [ref.id for ref in refs])
    own = verdicts or {}
    said = {ref.id: own.get(ref.id, (verdict, reason)) for ref in refs}
    created = now()
    connection.execute(
        insert(schema.certification),
        [
            {
                "collection_id": collection.id,
                "type_id": place.type_id,
                "data_key": place.data_key,
                "dataset_id": ids[ref.id],
                "begin_ns": span.begin,
                "end_ns": span.end,
                "verdict": said[ref.id][0],
                "reason": said[ref.id][1],
                "created": created,
            }
            for place, ref in places.items()
        ],
    )
    return [Certification(collection.name, ref, span, *said[ref.id]) for ref in places.values()]


def _at(
    connection: Connection, collection: int, places: Sequence[Place], span: Timespan
) -> ColumnElement[bool]:
    table = schema.certification
    by_type: dict[int, set[str]] = {}
    for place in places:
        by_type.setdefault(place.type_id, set()).add(place.data_key)
    any_place = or_(
        *(
            and_(table.c.type_id == type_id, is_one_of(connection, table.c.data_key, keys))
            for type_id, keys in by_type.items()
        )
    )
    return and_(table.c.collection_id == collection, any_place, overlapping(span))


def _cut(connection: Connection, condition: ColumnElement[bool], span: Timespan) -> None:
    """Take a span away from rows: each is trimmed, split, or gone (spec V15)."""
    table = schema.certification
    rows = connection.execute(select(table).where(condition)).mappings().all()
    if not rows:
        return
    ids = {row["id"] for row in rows}
    connection.execute(delete(table).where(is_one_of(connection, table.c.id, ids)))
    left = [
        {**{k: v for k, v in row.items() if k != "id"}, "begin_ns": part.begin, "end_ns": part.end}
        for row in rows
        for part in Timespan(row["begin_ns"], row["end_ns"]).difference(span)
    ]
    if left:
        connection.execute(insert(table), left)


def read(
    connection: Connection, collection: Row, condition: ColumnElement[bool]
) -> list[Certification]:
    """Return rows of a collection as records, by type, data id and begin."""
    table, data = schema.certification, schema.dataset
    rows = connection.execute(
        select(table)
        .where(table.c.collection_id == collection.id, condition)
        .order_by(table.c.type_id, table.c.data_key, table.c.begin_ns.nulls_first())
    ).all()
    refs = refs_where(connection, is_one_of(connection, data.c.id, {r.dataset_id for r in rows}))
    return [as_certification(row, collection.name, refs) for row in rows]


def as_certification(
    row: SqlRow[Any], collection: str, refs: Mapping[int, DatasetRef]
) -> Certification:
    """Take a certification from a row of its table."""
    span = Timespan(row.begin_ns, row.end_ns)
    return Certification(collection, refs[row.dataset_id], span, row.verdict, row.reason)


def _conflict(collection: str, span: Timespan, held: Sequence[Certification]) -> ConflictError:
    listed = "".join(f"\n  {one}" for one in held[:_SHOWN])
    more = f"\n  and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
    return ConflictError(
        f"{collection} holds {len(held)} certification(s) that overlap {span}:{listed}{more}",
        hint=f"certify with --replace, or make room: {decertify_command(collection, span, held)}",
    )


def decertify_command(collection: str, span: Timespan, held: Sequence[Certification]) -> str:
    """Return the command that takes a span away from what is certified."""
    types = sorted({one.dataset.type for one in held})
    words = ["cpflow", "decertify", "REPO", collection, *types]
    for option, bound in (("--begin-date", span.begin), ("--end-date", span.end)):
        if bound is not None:
            words += [option, isoformat(bound)]
    detectors = {one.dataset.data_id.detector for one in held}
    if len(detectors) == 1 and None not in detectors:
        words += ["--detector", str(detectors.pop())]
    return shlex.join(words)


class Certifications(RegistryPart):
    """Certifying and decertifying."""

    def certify(
        self,
        collection: str,
        datasets: Sequence[DatasetRef],
        span: Timespan,
        *,
        replace: bool = False,
        create: bool = False,
        verdict: str | None = None,
        reason: str | None = None,
        verdicts: Mapping[str, tuple[str | None, str | None]] | None = None,
    ) -> list[Certification]:
        """Put datasets in force over a span of time (spec V6 to V14).

        Parameters
        ----------
        collection : str
            CALIBRATION collection.
        datasets : sequence of DatasetRef
            Of one or several types; one per type and data id.
        span : Timespan
            When; open bounds are None.
        replace : bool
            Take the span away from what holds it now, in the same transaction (V20).
        create : bool
            Make the collection if it does not exist.
        verdict, reason : str, optional
            Recorded with each row.
        verdicts : mapping of str to (str, str), optional
            By dataset id, verdict and reason of those that have their own.

        Raises
        ------
        ConflictError
            If a row of the same type and data id overlaps the span, be it of the same dataset.
        CollectionTypeError
            If the collection is of another type.
        UsageError
            If the span is empty, or a type is not a calibration.
        """
        check_span(span)
        with self._db.write() as connection:
            if create:
                row, _ = ensure(connection, collection, CollectionType.CALIBRATION)
            else:
                row = row_of_type(connection, collection, CollectionType.CALIBRATION, "certify")
            stored = stored_refs(connection, datasets)
            return certify(
                connection,
                row,
                stored,
                span,
                replace=replace,
                verdict=verdict,
                reason=reason,
                verdicts=verdicts,
            )

    def decertify(
        self,
        collection: str,
        type: str,  # noqa: A002
        span: Timespan,
        data_ids: Iterable[DataId | Mapping[str, Any] | tuple[Any, ...]] | None = None,
        *,
        dry_run: bool = False,
    ) -> tuple[list[Certification], list[Certification]]:
        """Take a span away from what is certified (spec V15 to V19).

        Parameters
        ----------
        collection : str
            CALIBRATION collection.
        type : str
            Dataset type.
        span : Timespan
            What to take away.
        data_ids : iterable of DataId, optional
            Only those; all of them if it is None, none if it is empty.
        dry_run : bool
            Change nothing; the result says what would be.

        Returns
        -------
        tuple of list of Certification
            The rows that overlapped the span, and what is left of them.
        """
        check_span(span)
        with self._db.write() as connection:
            row = row_of_type(connection, collection, CollectionType.CALIBRATION, "decertify")
            type_id, kind = calibration_type(connection, type)
            lock_collections(connection, [row.id])
            table = schema.certification
            conditions = [table.c.type_id == type_id, overlapping(span)]
            if data_ids is not None:
                keys = {DataId.of(one).restricted(kind.dimensions, type).key for one in data_ids}
                conditions.append(is_one_of(connection, table.c.data_key, keys))
            condition = and_(table.c.collection_id == row.id, *conditions)
            before = read(connection, row, condition)
            if not dry_run:
                _cut(connection, condition, span)
        after = [
            Certification(one.collection, one.dataset, part, one.verdict, one.reason)
            for one in before
            for part in one.timespan.difference(span)
        ]
        return before, after


def stored_refs(connection: Connection, refs: Sequence[DatasetRef]) -> list[DatasetRef]:
    """Return datasets as they are stored, so that no caller's data id is trusted."""
    ids = row_ids(connection, [ref.id for ref in refs])
    table = schema.dataset
    found = refs_where(connection, is_one_of(connection, table.c.id, set(ids.values())))
    return [found[ids[ref.id]] for ref in refs]
