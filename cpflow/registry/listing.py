"""Listing datasets: by type, collection and data query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select

from cpflow.errors import CollectionError
from cpflow.registry import schema
from cpflow.registry.chains import search_path
from cpflow.registry.collections import Row, matching
from cpflow.registry.database import is_one_of
from cpflow.registry.datasets import as_ref, matching_types, query
from cpflow.registry.names import is_pattern
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import CollectionType, DatasetRef
from cpflow.registry.selection import infer_instrument, run_query
from cpflow.registry.where import Where, parse
from cpflow.registry.where.compile import compile_where
from cpflow.registry.where.scope import dataset_scope


def listed(
    connection: Connection,
    where: Where,
    conditions: Sequence[ColumnElement[bool]],
    types: Sequence[str],
    *,
    instrument: str | None = None,
    binds: Mapping[str, Any] | None = None,
    limit: int | None = None,
) -> dict[int, DatasetRef]:
    """Return datasets by row id, ordered by type, data id, and newest first."""
    data, filters, detectors = schema.dataset, schema.physical_filter, schema.detector
    condition = compile_where(where, dataset_scope(types), connection, binds)
    chosen = infer_instrument(connection, where, instrument)
    if chosen is not None:
        condition = and_(condition, schema.instrument.c.name == chosen)
    statement = (
        query()
        .outerjoin(
            filters,
            and_(
                filters.c.instrument_id == data.c.instrument_id,
                filters.c.name == data.c.physical_filter,
            ),
        )
        .outerjoin(
            detectors,
            and_(
                detectors.c.instrument_id == data.c.instrument_id,
                detectors.c.id == data.c.detector,
            ),
        )
        .where(condition, *conditions)
        .order_by(
            schema.dataset_type.c.name,
            schema.instrument.c.name,
            data.c.exposure,
            data.c.detector,
            data.c.physical_filter,
            data.c.created.desc(),
            data.c.id.desc(),
        )
        .limit(limit)
    )
    return {row.id: as_ref(row) for row in run_query(connection, statement, where.text)}


def members(connection: Connection, path: Sequence[Row]) -> dict[int, set[int]]:
    """Return the row ids of datasets in each collection of a path, by its row id."""
    data, tag, table = schema.dataset, schema.tag, schema.certification
    sources = {
        CollectionType.RUN: (data.c.run_id, data.c.id),
        CollectionType.TAGGED: (tag.c.collection_id, tag.c.dataset_id),
        CollectionType.CALIBRATION: (table.c.collection_id, table.c.dataset_id),
    }
    found: dict[int, set[int]] = {row.id: set() for row in path}
    for kind, (collection, dataset) in sources.items():
        ids = [row.id for row in path if row.type is kind]
        if ids:
            condition = is_one_of(connection, collection, ids)
            for place, id_ in connection.execute(select(collection, dataset).where(condition)):
                found[place].add(id_)
    return found


class Listing(RegistryPart):
    """Listing datasets."""

    def datasets(
        self,
        types: str | Sequence[str] = "*",
        collections: str | Sequence[str] | None = None,
        where: str = "",
        find_first: bool = False,
        *,
        instrument: str | None = None,
        binds: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> list[DatasetRef]:
        """Return datasets.

        Parameters
        ----------
        types : str or sequence of str
            Names or globs of dataset types.
        collections : str or sequence of str, optional
            Search path; globs are taken unless `find_first`. By default, everything.
        where : str
            Data query over instrument, detector, physical_filter, band, run, ingest_date.
        find_first : bool
            Only the first collection's dataset of each type and data id. CALIBRATION collections
            are skipped then: without a time they have no first (spec V24, X8).
        instrument, binds, limit : optional
            As for `exposures`.

        Returns
        -------
        list of DatasetRef
            In the order of the path where one is given, then by type and data id.

        Raises
        ------
        QueryError, MissingCollectionError, UsageError
            If query, collection or type is not known.
        """
        parsed = parse(where)
        with self._db.read() as connection:
            kinds = matching_types(connection, types)
            ids = [type_id for type_id, _ in kinds.values()]
            conditions = [is_one_of(connection, schema.dataset.c.type_id, ids)]
            path = None if collections is None else _path(connection, collections, find_first)
            if path is None and find_first:
                raise CollectionError(
                    "find-first needs collections, in order of search",
                    hint="--collections FIRST,SECOND",
                )
            inside: dict[int, set[int]] = {}
            if path is not None:
                inside = members(connection, path)
                everything = set().union(*inside.values())
                conditions.append(is_one_of(connection, schema.dataset.c.id, everything))
            found = listed(
                connection,
                parsed,
                conditions,
                list(kinds),
                instrument=instrument,
                binds=binds,
                limit=limit if path is None else None,
            )
        if path is None:
            return list(found.values())
        return _in_path_order(found, path, inside, find_first)[:limit]


def _path(connection: Connection, given: str | Sequence[str], find_first: bool) -> list[Row]:
    names = [given] if isinstance(given, str) else list(given)
    if find_first or not any(is_pattern(name) for name in names):
        return search_path(connection, names)
    expanded = [row.name for name in names for row in matching(connection, name)]
    return search_path(connection, expanded)


def _in_path_order(
    found: Mapping[int, DatasetRef],
    path: Sequence[Row],
    inside: Mapping[int, set[int]],
    find_first: bool,
) -> list[DatasetRef]:
    listed_ids: dict[int, None] = {}
    places: set[tuple[str, str]] = set()
    for row in path:
        if find_first and row.type is CollectionType.CALIBRATION:
            continue
        for id_, ref in found.items():
            if id_ not in inside[row.id] or id_ in listed_ids:
                continue
            place = (ref.type, ref.data_id.key)
            if not (find_first and place in places):
                listed_ids[id_] = None
            places.add(place)
    return [found[id_] for id_ in listed_ids]
