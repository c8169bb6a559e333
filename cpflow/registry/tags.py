"""TAGGED collections: references to datasets and raws that somebody chose (spec C2)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, and_, delete, insert, select

from cpflow.errors import ConflictError, NoDataError
from cpflow.registry import schema
from cpflow.registry.chains import search_path
from cpflow.registry.collections import Row, ensure, row_of_type
from cpflow.registry.database import is_one_of, lock_collections
from cpflow.registry.datasets import row_ids
from cpflow.registry.part import RegistryPart
from cpflow.registry.raws import raw_rows
from cpflow.registry.records import CollectionType, DatasetRef


def associate(connection: Connection, row: Row, uuids: Sequence[str]) -> None:
    """Tag datasets inside a transaction."""
    lock_collections(connection, [row.id])
    data, table = schema.dataset, schema.tag
    ids = row_ids(connection, uuids)
    condition = is_one_of(connection, data.c.id, set(ids.values()))
    given = connection.execute(
        select(data.c.id, data.c.uuid, data.c.type_id, data.c.data_key).where(condition)
    ).all()
    held = {
        (one.type_id, one.data_key): one.dataset_id
        for one in connection.execute(select(table).where(table.c.collection_id == row.id))
    }
    new = []
    for one in given:
        place = (one.type_id, one.data_key)
        if held.setdefault(place, one.id) != one.id:
            raise ConflictError(
                f"{row.name} holds another dataset of the type and data id "
                f"({', '.join(filter(None, one.data_key.split('|')))}) of {one.uuid}",
                hint="take that out first: cpflow associate REPO TAG --datasets TYPE --remove; or "
                "put in one run at a time: --collections RUN, or --find-first",
            )
        new.append(
            {
                "collection_id": row.id,
                "type_id": one.type_id,
                "data_key": one.data_key,
                "dataset_id": one.id,
            }
        )
    known = set(
        connection.scalars(select(table.c.dataset_id).where(table.c.collection_id == row.id))
    )
    new = [values for values in new if values["dataset_id"] not in known]
    if new:
        connection.execute(insert(table), new)


class Tags(RegistryPart):
    """Associating datasets and raws with TAGGED collections."""

    def associate(self, collection: str, datasets: Sequence[DatasetRef | str]) -> None:
        """Put datasets into a TAGGED collection, which is made if it is missing.

        The same dataset again is a no-op.

        Raises
        ------
        ConflictError
            If another dataset of a type and data id is there; nothing is changed then.
        CollectionTypeError
            If the collection is not TAGGED.
        """
        with self._db.write() as connection:
            row, _ = ensure(connection, collection, CollectionType.TAGGED)
            associate(connection, row, [_identity(one) for one in datasets])

    def disassociate(self, collection: str, datasets: Sequence[DatasetRef | str]) -> None:
        """Take datasets out of a TAGGED collection; what is not there is passed over."""
        table, data = schema.tag, schema.dataset
        with self._db.write() as connection:
            row = row_of_type(connection, collection, CollectionType.TAGGED, "disassociate")
            uuids = {_identity(one) for one in datasets}
            ids = set(
                connection.scalars(
                    select(data.c.id).where(is_one_of(connection, data.c.uuid, uuids))
                )
            )
            connection.execute(
                delete(table).where(
                    table.c.collection_id == row.id, is_one_of(connection, table.c.dataset_id, ids)
                )
            )

    def associate_raws(
        self,
        collection: str,
        exposures: Collection[int],
        *,
        collections: Sequence[str],
        detectors: Collection[int] | None = None,
        instrument: str | None = None,
    ) -> int:
        """Put raws into a TAGGED collection, and return how many were new there.

        Parameters
        ----------
        collection : str
            Made if it is missing.
        exposures : collection of int
            Exposure ids.
        collections : sequence of str
            Where the raws are, in order of search.
        detectors, instrument : optional
            Restrict to these.

        Raises
        ------
        NoDataError
            If an exposure has no such raw.
        ConflictError
            If another raw file of an exposure and detector is there.
        """
        table = schema.raw_tag
        with self._db.write() as connection:
            row, _ = ensure(connection, collection, CollectionType.TAGGED)
            lock_collections(connection, [row.id])
            search_path(connection, collections)
            condition = is_one_of(connection, schema.raw.c.exposure, set(exposures))
            if detectors is not None:
                condition &= is_one_of(connection, schema.raw.c.detector, set(detectors))
            found = raw_rows(connection, condition, collections)
            if instrument is not None:
                found = {key: value for key, value in found.items() if key[0] == instrument}
            lacking = set(exposures) - {exposure for _, exposure, _ in found}
            if lacking:
                raise NoDataError(
                    f"exposures without a raw in {', '.join(collections)}: "
                    f"{', '.join(map(str, sorted(lacking)[:20]))}"
                )
            held = {
                (one.instrument_id, one.exposure, one.detector): one.raw_id
                for one in connection.execute(select(table).where(table.c.collection_id == row.id))
            }
            new = []
            for (name, exposure, detector), raw in found.items():
                place = (raw.instrument_id, exposure, detector)
                if place not in held:
                    values = zip(("instrument_id", "exposure", "detector"), place, strict=True)
                    new.append({"collection_id": row.id, "raw_id": raw.id, **dict(values)})
                elif held[place] != raw.id:
                    raise ConflictError(
                        f"{collection} holds another raw of {name} exposure {exposure}, "
                        f"detector {detector}"
                    )
            if new:
                connection.execute(insert(table), new)
        return len(new)

    def disassociate_raws(
        self, collection: str, exposures: Collection[int], detectors: Collection[int] | None = None
    ) -> None:
        """Take raws out of a TAGGED collection; what is not there is passed over."""
        table = schema.raw_tag
        with self._db.write() as connection:
            row = row_of_type(connection, collection, CollectionType.TAGGED, "disassociate")
            conditions = [is_one_of(connection, table.c.exposure, set(exposures))]
            if detectors is not None:
                conditions.append(is_one_of(connection, table.c.detector, set(detectors)))
            connection.execute(
                delete(table).where(table.c.collection_id == row.id, and_(*conditions))
            )


def _identity(one: DatasetRef | str) -> str:
    return one if isinstance(one, str) else one.id
