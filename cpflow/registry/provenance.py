"""What was made from what: the questions that come up when a frame or a calibration is bad."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, and_, select

from cpflow.registry import schema
from cpflow.registry.database import is_one_of
from cpflow.registry.datasets import refs_where, row_ids
from cpflow.registry.instruments import instrument_id
from cpflow.registry.lineage import lineage_of
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import DatasetRef, Lineage


class Provenance(RegistryPart):
    """Provenance queries."""

    def lineage(self, id: str) -> Lineage:  # noqa: A002  the name of the record's field
        """Return what a dataset was made from.

        Raises
        ------
        NoDataError
            If there is no such dataset.
        """
        with self._db.read() as connection:
            row_id = row_ids(connection, [id])[id]
            return lineage_of(connection, row_id)

    def made_from(
        self, exposure: int, *, instrument: str | None = None, detector: int | None = None
    ) -> list[DatasetRef]:
        """Return the datasets that a raw exposure went into directly, oldest first."""
        with self._db.read() as connection:
            return _sorted(_made_from(connection, exposure, instrument, detector))

    def users_of(self, id: str, *, recursive: bool = False) -> list[DatasetRef]:  # noqa: A002
        """Return the datasets made with another one, oldest first.

        Parameters
        ----------
        id : str
            UUID of a calibration; it need not exist any more.
        recursive : bool
            Also what was made with those, and so on.
        """
        with self._db.read() as connection:
            return _sorted(_users(connection, [id], recursive=recursive))

    def users_of_type(
        self, ids: Collection[str], types: Collection[str]
    ) -> dict[str, list[DatasetRef]]:
        """Return the datasets of some types made with each of several others, oldest first.

        Parameters
        ----------
        ids : collection of str
            UUIDs; what nothing was made with is left out of the result.
        types : collection of str
            Dataset types; those that are not registered have no datasets.
        """
        used, data, kind = schema.used_dataset, schema.dataset, schema.dataset_type
        with self._db.read() as connection:
            edges = connection.execute(
                select(used.c.input_uuid, data.c.id)
                .join(data, data.c.id == used.c.dataset_id)
                .join(kind, kind.c.id == data.c.type_id)
                .where(
                    is_one_of(connection, used.c.input_uuid, set(ids)),
                    is_one_of(connection, kind.c.name, set(types)),
                )
            ).all()
            refs = _refs(connection, [id_ for _, id_ in edges])
        by_input: dict[str, dict[int, DatasetRef]] = {}
        for input_uuid, id_ in edges:
            by_input.setdefault(input_uuid, {})[id_] = refs[id_]
        return {one: _sorted(found) for one, found in by_input.items()}

    def to_rebuild(
        self, exposure: int, *, instrument: str | None = None, detector: int | None = None
    ) -> list[DatasetRef]:
        """Return everything that a bad exposure touches: made from it, or with what was.

        Ordered so that each comes after what it was made with.
        """
        with self._db.read() as connection:
            direct = _made_from(connection, exposure, instrument, detector)
            later = _users(connection, [ref.id for ref in direct.values()], recursive=True)
            found = {**direct, **later}
            edges = _edges(connection, list(found))
        return _in_order(found, edges)


def _made_from(
    connection: Connection, exposure: int, instrument: str | None, detector: int | None
) -> dict[int, DatasetRef]:
    table = schema.used_raw
    conditions: list[ColumnElement[bool]] = [table.c.exposure == exposure]
    if instrument is not None:
        conditions.append(table.c.instrument_id == instrument_id(connection, instrument))
    if detector is not None:
        conditions.append(table.c.detector == detector)
    ids = connection.scalars(select(table.c.dataset_id).where(and_(*conditions))).all()
    return _refs(connection, ids)


def _users(
    connection: Connection, uuids: Sequence[str], *, recursive: bool
) -> dict[int, DatasetRef]:
    table = schema.used_dataset
    found: dict[int, DatasetRef] = {}
    front = list(uuids)
    while front:
        ids = connection.scalars(
            select(table.c.dataset_id).where(is_one_of(connection, table.c.input_uuid, set(front)))
        ).all()
        new = _refs(connection, [id_ for id_ in ids if id_ not in found])
        found.update(new)
        front = [ref.id for ref in new.values()] if recursive else []
    return found


def _refs(connection: Connection, ids: Sequence[int]) -> dict[int, DatasetRef]:
    return refs_where(connection, is_one_of(connection, schema.dataset.c.id, set(ids)))


def _sorted(refs: Mapping[int, DatasetRef]) -> list[DatasetRef]:
    return sorted(refs.values(), key=lambda ref: (ref.created, ref.type, ref.data_id.key, ref.id))


def _edges(connection: Connection, ids: Sequence[int]) -> list[tuple[int, int]]:
    used, table = schema.used_dataset, schema.dataset
    query = (
        select(used.c.dataset_id, table.c.id)
        .join(table, table.c.uuid == used.c.input_uuid)
        .where(is_one_of(connection, used.c.dataset_id, set(ids)))
    )
    return [(user, used_id) for user, used_id in connection.execute(query)]


def _in_order(refs: Mapping[int, DatasetRef], edges: Sequence[tuple[int, int]]) -> list[DatasetRef]:
    from graphlib import TopologicalSorter

    waits: dict[int, set[int]] = {
        id_: set() for id_ in sorted(refs, key=lambda i: (refs[i].created, i))
    }
    for user, used in edges:
        if used in refs:
            waits[user].add(used)
    return [refs[id_] for id_ in TopologicalSorter(waits).static_order()]
