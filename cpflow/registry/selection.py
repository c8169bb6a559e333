"""Exposures and raw files, selected by data queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, func, select, true
from sqlalchemy.exc import DataError, OperationalError

from cpflow.errors import NoDataError, QueryError
from cpflow.exposure import Exposure, RawFile
from cpflow.registry import schema
from cpflow.registry.database import is_one_of
from cpflow.registry.exposures import PLAIN
from cpflow.registry.instruments import instrument_id, instrument_ids
from cpflow.registry.names import nearest
from cpflow.registry.part import RegistryPart
from cpflow.registry.raws import raws_where
from cpflow.registry.where import Where, parse
from cpflow.registry.where.compile import compile_where
from cpflow.registry.where.scope import Kind, exposure_scope
from cpflow.timespan import Timespan


def exposure_condition(
    connection: Connection,
    where: Where,
    binds: Mapping[str, Any] | None,
    instrument: str | None,
    *,
    with_detectors: bool,
) -> ColumnElement[bool]:
    """Compile a query for exposures; the detector table is joined or asked for existence (W20)."""
    condition = compile_where(where, exposure_scope(), connection, binds)
    chosen = infer_instrument(connection, where, instrument)
    restriction: ColumnElement[bool] = true()
    if chosen is not None:
        restriction = schema.exposure.c.instrument_id == instrument_id(connection, chosen)
    if not with_detectors and any(n.text.split(".")[0] in _DETECTOR_NAMES for n in where.names()):
        table = schema.detector
        condition = exists(
            select(table.c.id)
            .where(table.c.instrument_id == schema.exposure.c.instrument_id, condition)
            .correlate(schema.exposure, schema.instrument)
        )
    return and_(restriction, condition)


_DETECTOR_NAMES = frozenset({"detector", *exposure_scope().elements["detector"]} - {"id"})


def infer_instrument(connection: Connection, where: Where, instrument: str | None) -> str | None:
    """Return the instrument that a query is about where it does not say (spec W21).

    Raises
    ------
    QueryError
        If it uses something that belongs to an instrument, says none, and there are several.
    """
    if instrument is not None:
        return instrument
    names = [name.text for name in where.names()]
    if not names or any("instrument" in name.split(".")[:2] for name in names):
        return None
    known = list(instrument_ids(connection))
    if len(known) > 1:
        raise QueryError(
            f"the query names no instrument, and there are {len(known)}: {', '.join(known)}",
            text=where.text,
            column=0,
            hint=f"begin with: instrument='{known[0]}' AND ...",
        )
    return known[0] if known else None


def run_query(connection: Connection, query: Any, text: str) -> Sequence[Row[Any]]:
    """Execute a query whose values a user gave; what a database cannot compute is his error.

    Raises
    ------
    QueryError
        If a number overflows, or the expression is too large.
    """
    try:
        return connection.execute(query).all()
    except DataError as error:
        raise QueryError(f"the query cannot be computed: {error.orig}", text=text) from error
    except OperationalError as error:
        if "too large" in str(error.orig) or "too many" in str(error.orig):
            raise QueryError(f"the query is too long: {error.orig}", hint="use IN (...)") from error
        raise


def as_exposure(row: Any, instrument: str) -> Exposure:
    """Take an exposure from a row of its table."""
    return Exposure(
        instrument=instrument,
        exposure=row.id,
        timespan=Timespan(row.begin_ns, row.end_ns),
        group=row.group_name,
        extra=row.extra,
        **{column: getattr(row, column) for column in PLAIN},
    )


def _order(order_by: str | Sequence[str] | None) -> Iterator[ColumnElement[Any]]:
    fields = exposure_scope().elements["exposure"]
    given = order_by.split(",") if isinstance(order_by, str) else list(order_by or ())
    for one in given:
        name = one.strip().removeprefix("-").removeprefix("exposure.")
        name = {"exposure": "id"}.get(name, name)
        field = fields.get(name)
        if field is None:
            raise QueryError(
                f"exposures cannot be ordered by {one.strip()!r}", hint=nearest(name, fields)
            )
        column = field.column
        # Unknown values come last either way, on either database.
        yield column.is_(None)
        yield column.desc() if one.strip().startswith("-") else column.asc()
        if field.kind is Kind.SPAN and field.end is not None:
            yield field.end
    yield schema.instrument.c.name
    yield schema.exposure.c.id


class Selection(RegistryPart):
    """Reading exposures and raws."""

    def exposures(
        self,
        where: str = "",
        *,
        instrument: str | None = None,
        binds: Mapping[str, Any] | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[Exposure]:
        """Return the exposure records that a data query selects.

        Parameters
        ----------
        where : str
            The query; empty selects all.
        instrument : str, optional
            Restrict to one; inferred where the registry has only one.
        binds : mapping, optional
            Values of ``:name`` in the query.
        order_by : str or sequence of str, optional
            Fields, ``-`` before one for descending; by default instrument and id.
        limit : int, optional
            At most so many.

        Raises
        ------
        QueryError
            If the query does not parse or resolve.
        """
        parsed = parse(where)
        table = schema.exposure
        with self._db.read() as connection:
            condition = exposure_condition(
                connection, parsed, binds, instrument, with_detectors=False
            )
            query = (
                select(table, schema.instrument.c.name.label("instrument_name"))
                .join(schema.instrument, schema.instrument.c.id == table.c.instrument_id)
                .where(condition)
                .order_by(*_order(order_by))
                .limit(limit)
            )
            rows = run_query(connection, query, where)
        return [as_exposure(row, row.instrument_name) for row in rows]

    def exposure(self, id: int, *, instrument: str | None = None) -> Exposure:  # noqa: A002
        """Return one exposure record.

        Raises
        ------
        NoDataError
            If there is none, or several instruments have one of this id.
        """
        table = schema.exposure
        query = (
            select(table, schema.instrument.c.name.label("instrument_name"))
            .join(schema.instrument, schema.instrument.c.id == table.c.instrument_id)
            .where(table.c.id == id)
        )
        if instrument is not None:
            query = query.where(schema.instrument.c.name == instrument)
        with self._db.read() as connection:
            rows = connection.execute(query).all()
        if len(rows) == 1:
            return as_exposure(rows[0], rows[0].instrument_name)
        if rows:
            names = ", ".join(sorted(row.instrument_name for row in rows))
            raise NoDataError(f"exposure {id} exists for {names}", hint="name the instrument")
        place = f" of {instrument}" if instrument else ""
        raise NoDataError(
            f"there is no exposure {id}{place}", hint="`cpflow records REPO exposure` lists them"
        )

    def select(
        self,
        where: str = "",
        *,
        instrument: str | None = None,
        collections: Sequence[str] | None = None,
        binds: Mapping[str, Any] | None = None,
    ) -> list[tuple[Exposure, RawFile]]:
        """Return exposures with the raw files of them that a data query selects.

        Unlike in `exposures`, a condition on ``detector`` is one on the raw file.

        Returns
        -------
        list of (Exposure, RawFile)
            Ordered by instrument, exposure and detector.

        Raises
        ------
        QueryError
            If the query does not parse or resolve.
        MissingCollectionError
            If a collection does not exist.
        """
        parsed = parse(where)
        raw, exposure, detector = schema.raw, schema.exposure, schema.detector
        with self._db.read() as connection:
            condition = exposure_condition(
                connection, parsed, binds, instrument, with_detectors=True
            )
            query = (
                select(raw.c.id, raw.c.exposure)
                .join(
                    exposure,
                    and_(
                        exposure.c.instrument_id == raw.c.instrument_id,
                        exposure.c.id == raw.c.exposure,
                    ),
                )
                .join(
                    detector,
                    and_(
                        detector.c.instrument_id == raw.c.instrument_id,
                        detector.c.id == raw.c.detector,
                    ),
                )
                .join(schema.instrument, schema.instrument.c.id == raw.c.instrument_id)
                .where(condition)
            )
            rows = run_query(connection, query, where)
            chosen = is_one_of(connection, raw.c.id, {row.id for row in rows})
            found = raws_where(connection, chosen, collections)
            records = _records(connection, {row.exposure for row in rows})
        return [(records[key[:2]], found[key]) for key in sorted(found)]

    def count_exposures(self) -> dict[str, int]:
        """Return the number of exposures by instrument."""
        table = schema.exposure
        with self._db.read() as connection:
            rows = connection.execute(
                select(schema.instrument.c.name, func.count(table.c.id))
                .outerjoin(table, table.c.instrument_id == schema.instrument.c.id)
                .group_by(schema.instrument.c.name)
                .order_by(schema.instrument.c.name)
            )
            return {row[0]: row[1] for row in rows}


def _records(connection: Connection, ids: set[int]) -> dict[tuple[str, int], Exposure]:
    table = schema.exposure
    names = {id_: name for name, id_ in instrument_ids(connection).items()}
    rows = connection.execute(select(table).where(is_one_of(connection, table.c.id, ids)))
    records = (as_exposure(row, names[row.instrument_id]) for row in rows)
    return {(record.instrument, record.exposure): record for record in records}
