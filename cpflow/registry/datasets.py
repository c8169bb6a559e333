"""Datasets: types, adding to a RUN, reading back."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, insert, select

from cpflow.errors import ConflictError, NoDataError, UsageError
from cpflow.registry import schema
from cpflow.registry.collections import Row as CollectionRow
from cpflow.registry.collections import row_of_type
from cpflow.registry.database import insert_new, is_one_of, lock_collections
from cpflow.registry.instruments import instrument_ids
from cpflow.registry.lineage import add_lineage
from cpflow.registry.names import check_word, glob_regex, is_pattern, nearest
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import (
    DIMENSIONS,
    CollectionType,
    DataId,
    DatasetRef,
    DatasetType,
    Lineage,
)

_CHECKSUM = re.compile(r"[\x21-\x7e]{0,80}")


def type_rows(connection: Connection) -> dict[str, tuple[int, DatasetType]]:
    """Every dataset type by name, with its row id."""
    table = schema.dataset_type
    found = {}
    for row in connection.execute(select(table).order_by(table.c.name)):
        dimensions = tuple(row.dimensions.split(","))
        found[row.name] = row.id, DatasetType(row.name, dimensions, row.is_calibration)
    return found


def type_row(connection: Connection, name: str) -> tuple[int, DatasetType]:
    """Return row id and definition of a dataset type.

    Raises
    ------
    UsageError
        If it is not registered.
    """
    known = type_rows(connection)
    if name not in known:
        raise UsageError(
            f"there is no dataset type {name!r}",
            hint=nearest(name, known) or f"types: {', '.join(known) or 'none'}",
        )
    return known[name]


def matching_types(
    connection: Connection, patterns: str | Iterable[str]
) -> dict[str, tuple[int, DatasetType]]:
    """Return dataset types by name or glob; a name that is no glob must exist."""
    given = [patterns] if isinstance(patterns, str) else list(patterns)
    known = type_rows(connection)
    for name in given:
        if not is_pattern(name):
            type_row(connection, name)
    compiled = [glob_regex(pattern) for pattern in given]
    return {name: v for name, v in known.items() if any(p.fullmatch(name) for p in compiled)}


def query() -> Select[Any]:
    """Select whatever `as_ref` needs."""
    table, kind, run, instrument = (
        schema.dataset,
        schema.dataset_type,
        schema.collection,
        schema.instrument,
    )
    return (
        select(
            table,
            kind.c.name.label("type_name"),
            kind.c.dimensions,
            run.c.name.label("run_name"),
            instrument.c.name.label("instrument_name"),
        )
        .join(kind, kind.c.id == table.c.type_id)
        .join(run, run.c.id == table.c.run_id)
        .join(instrument, instrument.c.id == table.c.instrument_id)
    )


def as_ref(row: Row[Any]) -> DatasetRef:
    """Take a dataset from a result of `query`."""
    return DatasetRef(
        id=row.uuid,
        type=row.type_name,
        data_id=DataId(row.instrument_name, row.detector, row.physical_filter, row.exposure),
        run=row.run_name,
        path=row.path,
        checksum=row.checksum,
        size=row.size,
        created=row.created,
        provenance=row.provenance,
        stored=row.stored,
    )


def refs_where(connection: Connection, condition: ColumnElement[bool]) -> dict[int, DatasetRef]:
    """Return datasets by row id."""
    return {row.id: as_ref(row) for row in connection.execute(query().where(condition))}


def row_ids(connection: Connection, uuids: Iterable[str]) -> dict[str, int]:
    """Row ids of datasets that must exist, by UUID.

    Raises
    ------
    NoDataError
        If one does not.
    """
    table = schema.dataset
    wanted = list(dict.fromkeys(uuids))
    condition = is_one_of(connection, table.c.uuid, wanted)
    rows = connection.execute(select(table.c.uuid, table.c.id).where(condition))
    found = {row.uuid: row.id for row in rows}
    for one in wanted:
        if one not in found:
            raise NoDataError(
                f"there is no dataset {one}", hint="`cpflow datasets REPO --format csv` lists ids"
            )
    return {one: found[one] for one in wanted}


def add(
    connection: Connection,
    run: CollectionRow,
    refs: Sequence[DatasetRef],
) -> list[DatasetRef]:
    """Add datasets to a RUN, which nobody else may change meanwhile (spec C2)."""
    lock_collections(connection, [run.id])
    instruments = instrument_ids(connection)
    types = type_rows(connection)
    added: list[DatasetRef] = []
    rows: list[dict[str, Any]] = []
    for ref in refs:
        if ref.type not in types:
            type_row(connection, ref.type)
        type_id, kind = types[ref.type]
        data_id = DataId.of(ref.data_id).restricted(kind.dimensions, ref.type)
        if data_id.instrument not in instruments:
            raise UsageError(f"instrument {data_id.instrument!r} is not registered")
        identity = _uuid(ref.id)
        if ref.run != run.name:
            raise UsageError(f"{ref} cannot be added to run {run.name}")
        if not _CHECKSUM.fullmatch(ref.checksum):
            raise UsageError(f"{ref}: {ref.checksum[:40]!r} is not a checksum")
        rows.append(
            {
                "uuid": identity,
                "type_id": type_id,
                "run_id": run.id,
                "data_key": data_id.key,
                "instrument_id": instruments[data_id.instrument],
                "exposure": data_id.exposure,
                "detector": data_id.detector,
                "physical_filter": data_id.physical_filter,
                "path": ref.path,
                "checksum": ref.checksum,
                "size": ref.size,
                "created": ref.created,
                "stored": ref.stored,
                "provenance": dict(ref.provenance),
            }
        )
        added.append(
            DatasetRef(
                identity,
                ref.type,
                data_id,
                run.name,
                ref.path,
                ref.checksum,
                ref.size,
                ref.created,
                ref.provenance,
                ref.stored,
            )
        )
    if not rows:
        return []
    _check_free(connection, run, added, rows)
    _check_detectors(connection, added, instruments)
    connection.execute(insert(schema.dataset), rows)
    return added


def add_lineages(connection: Connection, lineages: Mapping[str, Lineage]) -> None:
    """Record what datasets that are there were made from."""
    if not lineages:
        return
    instruments = instrument_ids(connection)
    given = {_uuid(one): lineage for one, lineage in lineages.items()}
    ids = row_ids(connection, list(given))
    for one, lineage in given.items():
        add_lineage(connection, ids[one], lineage, instruments)


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise UsageError(
            f"{text[:60]!r} is not a UUID", hint="`cpflow datasets REPO --format csv` lists ids"
        ) from None


def _check_free(
    connection: Connection,
    run: CollectionRow,
    refs: Sequence[DatasetRef],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    table = schema.dataset
    keys = {row["data_key"] for row in rows}
    held = connection.execute(
        query().where(table.c.run_id == run.id, is_one_of(connection, table.c.data_key, keys))
    )
    taken = {(row.type_id, row.data_key): row.uuid for row in held}
    for ref, row in zip(refs, rows, strict=True):
        place = (row["type_id"], row["data_key"])
        if place in taken:
            raise ConflictError(
                f"run {run.name} holds a {ref.type} ({ref.data_id}) already: {taken[place]}",
                hint="a run holds one of each; use another run",
            )
        taken[place] = ref.id
    uuids = [row["uuid"] for row in rows]
    again = connection.scalars(
        select(table.c.uuid).where(is_one_of(connection, table.c.uuid, set(uuids)))
    ).all()
    if again or len(set(uuids)) < len(uuids):
        raise ConflictError(f"dataset {again[0] if again else uuids[0]} exists already")


def _check_detectors(
    connection: Connection, refs: Sequence[DatasetRef], instruments: Mapping[str, int]
) -> None:
    table = schema.detector
    used = {
        (r.data_id.instrument, r.data_id.detector) for r in refs if r.data_id.detector is not None
    }
    for name in {instrument for instrument, _ in used}:
        query = select(table.c.id).where(table.c.instrument_id == instruments[name])
        known = set(connection.scalars(query))
        for instrument, detector in used:
            if instrument == name and detector not in known:
                raise UsageError(f"{instrument} has no detector {detector}")


class Datasets(RegistryPart):
    """Dataset types and datasets."""

    def register_dataset_type(
        self,
        name: str | DatasetType,
        dimensions: Sequence[str] = (),
        is_calibration: bool = True,
    ) -> bool:
        """Register a dataset type; say whether it was new.

        Raises
        ------
        ConflictError
            If the name has another definition.
        """
        wanted = name
        if not isinstance(wanted, DatasetType):
            wanted = DatasetType(wanted, tuple(dimensions), is_calibration)
        check_word(wanted.name, "a dataset type")
        unknown = [d for d in wanted.dimensions if d not in DIMENSIONS]
        if unknown or "instrument" not in wanted.dimensions:
            raise UsageError(
                f"{wanted.name}: dimensions {', '.join(wanted.dimensions) or '(none)'} will not do",
                hint=f"instrument, and any of {', '.join(DIMENSIONS[1:])}",
            )
        if wanted.is_calibration and "exposure" in wanted.dimensions:
            raise UsageError(f"{wanted.name}: what belongs to an exposure is not a calibration")
        ordered = tuple(d for d in DIMENSIONS if d in wanted.dimensions)
        wanted = DatasetType(wanted.name, ordered, wanted.is_calibration)
        values = {
            "name": wanted.name,
            "dimensions": ",".join(ordered),
            "is_calibration": wanted.is_calibration,
        }
        with self._db.write() as connection:
            known = type_rows(connection)
            if wanted.name not in known:
                insert_new(connection, schema.dataset_type, [values])
                return True
            _, stored = known[wanted.name]
        if stored != wanted:
            raise ConflictError(f"{wanted.name} is registered as {stored}, given {wanted}")
        return False

    def dataset_types(self, patterns: str | Sequence[str] = "*") -> list[DatasetType]:
        """Return dataset types by name or glob, sorted by name."""
        with self._db.read() as connection:
            return [kind for _, kind in matching_types(connection, patterns).values()]

    def add_datasets(
        self,
        run: str,
        refs: Sequence[DatasetRef],
        lineages: Mapping[str, Lineage] | None = None,
    ) -> list[DatasetRef]:
        """Add datasets to an existing RUN, in one transaction.

        Parameters
        ----------
        run : str
            The RUN.
        refs : sequence of DatasetRef
            Dimensions that a type does not have are left out of its data id.
        lineages : mapping, optional
            By dataset id, what each was made from.

        Returns
        -------
        list of DatasetRef
            As they are stored.

        Raises
        ------
        ConflictError
            If the run holds one of a type and data id already; nothing is added then (spec C2).
        """
        with self._db.write() as connection:
            row = row_of_type(connection, run, CollectionType.RUN, "adding datasets")
            added = add(connection, row, refs)
            add_lineages(connection, lineages or {})
            return added

    def dataset(self, id: str) -> DatasetRef:  # noqa: A002  the name of the record's field
        """Return a dataset by its UUID.

        Raises
        ------
        NoDataError
            If there is none.
        """
        with self._db.read() as connection:
            row_id = row_ids(connection, [_uuid(id)])[_uuid(id)]
            return refs_where(connection, schema.dataset.c.id == row_id)[row_id]
