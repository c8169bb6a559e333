"""Raw files: reading them back along a search path."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, select

from cpflow.exposure import RawFile
from cpflow.registry import schema
from cpflow.registry.chains import search_path
from cpflow.registry.collections import Row as CollectionRow
from cpflow.registry.database import is_one_of
from cpflow.registry.instruments import instrument_id, instrument_ids
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import CollectionType


class RawPlace(NamedTuple):
    """A raw file as the registry knows it."""

    instrument: str
    exposure: int
    detector: int
    run: str
    path: str
    size: int
    checksum: str


class Raws(RegistryPart):
    """Reading raw files."""

    def raws(
        self,
        exposures: Collection[int],
        detector: int | None = None,
        collections: Sequence[str] | None = None,
        *,
        instrument: str | None = None,
    ) -> list[RawFile]:
        """Return the raw files of some exposures, ordered by exposure and detector.

        Parameters
        ----------
        exposures : collection of int
            Exposure ids.
        detector : int, optional
            Restrict to one.
        collections : sequence of str, optional
            Search path; by default all RUNs, the oldest first.
        instrument : str, optional
            Restrict to one.
        """
        table = schema.raw
        conditions = []
        with self._db.read() as connection:
            conditions.append(is_one_of(connection, table.c.exposure, set(exposures)))
            if detector is not None:
                conditions.append(table.c.detector == detector)
            if instrument is not None:
                conditions.append(table.c.instrument_id == instrument_id(connection, instrument))
            condition = and_(*conditions)
            found = raws_where(connection, condition, collections)
        return [found[key] for key in sorted(found)]

    def raw_places(self) -> list[RawPlace]:
        """Return where every raw file lies, without the layouts, by run, exposure and detector."""
        table, instrument, run = schema.raw, schema.instrument, schema.collection
        query = (
            select(
                instrument.c.name.label("instrument"),
                table.c.exposure,
                table.c.detector,
                run.c.name.label("run"),
                table.c.path,
                table.c.size,
                table.c.checksum,
            )
            .join(instrument, instrument.c.id == table.c.instrument_id)
            .join(run, run.c.id == table.c.run_id)
            .order_by(run.c.name, table.c.exposure, table.c.detector)
        )
        with self._db.read() as connection:
            return [RawPlace(*row) for row in connection.execute(query)]

    def detectors_of(
        self, exposures: Collection[int], *, instrument: str | None = None
    ) -> dict[int, list[int]]:
        """Return, by exposure id, the detectors that have a raw file."""
        table = schema.raw
        with self._db.read() as connection:
            condition = is_one_of(connection, table.c.exposure, set(exposures))
            if instrument is not None:
                condition &= table.c.instrument_id == instrument_id(connection, instrument)
            rows = connection.execute(
                select(table.c.exposure, table.c.detector)
                .where(condition)
                .distinct()
                .order_by(table.c.exposure, table.c.detector)
            ).all()
        found: dict[int, list[int]] = {exposure: [] for exposure in exposures}
        for exposure, detector in rows:
            found[exposure].append(detector)
        return found


def raws_where(
    connection: Connection,
    condition: ColumnElement[bool],
    collections: Sequence[str] | None,
) -> dict[tuple[str, int, int], RawFile]:
    """Return raw files by (instrument, exposure, detector), the first of a search path."""
    best = raw_rows(connection, condition, collections)
    layouts = _layouts(connection, {row.layout_id for row in best.values()})
    return {
        key: RawFile(*key, row.path, row.size, row.checksum, layouts[row.layout_id])
        for key, row in best.items()
    }


def raw_rows(
    connection: Connection,
    condition: ColumnElement[bool],
    collections: Sequence[str] | None,
) -> dict[tuple[str, int, int], Row[Any]]:
    """Return rows of the raw table by (instrument, exposure, detector), as `raws_where`."""
    table = schema.raw
    names = {id_: name for name, id_ in instrument_ids(connection).items()}
    ranks: dict[int, int] | None = None
    tagged: dict[int, int] = {}
    if collections is not None:
        path = search_path(connection, collections)
        ranks = {row.id: rank for rank, row in enumerate(path)}
        tagged = _tagged(connection, path, ranks)
    best: dict[tuple[str, int, int], tuple[int, Row[Any]]] = {}
    for row in connection.execute(select(table).where(condition).order_by(table.c.run_id)):
        rank = 0
        if ranks is not None:
            offered = [r for r in (ranks.get(row.run_id), tagged.get(row.id)) if r is not None]
            if not offered:
                continue
            rank = min(offered)
        key = (names[row.instrument_id], row.exposure, row.detector)
        if key not in best or rank < best[key][0]:
            best[key] = rank, row
    return {key: row for key, (_, row) in best.items()}


def _tagged(
    connection: Connection, path: Sequence[CollectionRow], ranks: Mapping[int, int]
) -> dict[int, int]:
    """Best rank, among TAGGED collections, of each raw that is in one."""
    tags = [row.id for row in path if row.type is CollectionType.TAGGED]
    if not tags:
        return {}
    table = schema.raw_tag
    rows = connection.execute(
        select(table.c.raw_id, table.c.collection_id).where(
            is_one_of(connection, table.c.collection_id, tags)
        )
    )
    best: dict[int, int] = {}
    for raw, collection in rows:
        best[raw] = min(ranks[collection], best.get(raw, len(ranks)))
    return best


def _layouts(connection: Connection, ids: set[int]) -> dict[int, Any]:
    table = schema.layout
    rows = connection.execute(
        select(table.c.id, table.c.content).where(is_one_of(connection, table.c.id, ids))
    )
    return {row.id: row.content for row in rows}
