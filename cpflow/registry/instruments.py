"""Instruments, their detectors and filters."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, select, update

from cpflow.errors import ConflictError, UsageError
from cpflow.registry import schema
from cpflow.registry.database import insert_new
from cpflow.registry.names import check_instrument_name, nearest
from cpflow.registry.part import RegistryPart, now
from cpflow.registry.records import DetectorRecord, FilterRecord
from cpflow.registry.sync import compare, describe, sync


def instrument_ids(connection: Connection) -> dict[str, int]:
    """Every instrument's row id by name."""
    table = schema.instrument
    rows = connection.execute(select(table.c.name, table.c.id).order_by(table.c.name))
    return {row.name: row.id for row in rows}


def instrument_id(connection: Connection, name: str) -> int:
    """Row id of an instrument.

    Raises
    ------
    UsageError
        If it is not registered.
    """
    known = instrument_ids(connection)
    if name not in known:
        raise UsageError(
            f"instrument {name!r} is not registered",
            hint=nearest(name, known) or f"registered: {', '.join(known) or 'none'}",
        )
    return known[name]


def add_detector(
    connection: Connection,
    instrument: str,
    row_id: int,
    detector: DetectorRecord,
    *,
    overwrite: bool = False,
) -> bool:
    """Sync one detector; say whether anything changed."""
    # As it will come back from JSON, so that it compares equal to itself.
    geometry = (
        None if detector.geometry is None else json.loads(json.dumps(dict(detector.geometry)))
    )
    state, _ = sync(
        connection,
        schema.detector,
        {"instrument_id": row_id, "id": detector.id},
        {
            "name": detector.name,
            "raft": detector.raft,
            "name_in_raft": detector.name_in_raft,
            "purpose": detector.purpose,
            "geometry": geometry,
        },
        f"detector {detector.id} of {instrument}",
        overwrite=overwrite,
        fill=True,
        hint="a camera that is read out in another way needs another instrument name",
    )
    return state != "already"


def add_filter(
    connection: Connection, instrument: str, row_id: int, name: str, band: str | None
) -> bool:
    """Sync one filter; say whether anything changed."""
    state, _ = sync(
        connection,
        schema.physical_filter,
        {"instrument_id": row_id, "name": name},
        {"band": band},
        f"filter {name!r} of {instrument}",
        fill=True,
    )
    return state != "already"


class Instruments(RegistryPart):
    """Instruments, detectors and filters."""

    def register_instrument(
        self,
        name: str,
        definition: Mapping[str, Any],
        source: str,
        update: bool = False,
        *,
        detectors: Iterable[DetectorRecord] = (),
        filters: Iterable[FilterRecord] = (),
    ) -> bool:
        """Register an instrument by its definition, in one transaction (spec I1, D5).

        Parameters
        ----------
        name : str
            Name of the instrument.
        definition : mapping
            Its file, as data that JSON can hold.
        source : str
            Where the definition came from.
        update : bool
            Whether a different definition replaces the stored one.
        detectors, filters : iterable
            Records to go with it.

        Returns
        -------
        bool
            Whether anything was written.

        Raises
        ------
        ConflictError
            If the stored definition differs and `update` is false.
        """
        check_instrument_name(name)
        given = json.loads(json.dumps(dict(definition)))
        with self._db.write() as connection:
            changed = sync_definition(connection, name, given, source, update)
            row_id = instrument_id(connection, name)
            for detector in detectors:
                changed |= add_detector(connection, name, row_id, detector, overwrite=update)
            for wanted in filters:
                changed |= add_filter(connection, name, row_id, wanted.name, wanted.band)
        return changed

    def instruments(self) -> list[str]:
        """Return the names of the registered instruments, sorted."""
        with self._db.read() as connection:
            return list(instrument_ids(connection))

    def instrument(self, name: str) -> dict[str, Any]:
        """Return the definition of an instrument.

        Raises
        ------
        UsageError
            If it is not registered.
        """
        table = schema.instrument
        with self._db.read() as connection:
            row_id = instrument_id(connection, name)
            found = connection.scalar(select(table.c.definition).where(table.c.id == row_id))
        return dict(found or {})

    def register_detector(
        self,
        instrument: str,
        id: int,  # noqa: A002  the name of the dimension's key
        name: str,
        geometry: Mapping[str, Any] | None = None,
        *,
        raft: str | None = None,
        name_in_raft: str | None = None,
        purpose: str | None = None,
        update: bool = False,
    ) -> bool:
        """Register a detector; say whether anything was written.

        What is None is not compared, and filled in by a later call: the geometry of a camera
        that only its headers describe is set at first ingest.

        Raises
        ------
        ConflictError
            If the detector is known and differs, and `update` is false.
        """
        record = DetectorRecord(id, name, geometry, raft, name_in_raft, purpose)
        if record in self.detectors(instrument):
            return False
        with self._db.write() as connection:
            row_id = instrument_id(connection, instrument)
            return add_detector(connection, instrument, row_id, record, overwrite=update)

    def detectors(self, instrument: str) -> list[DetectorRecord]:
        """Return the detectors of an instrument, by id."""
        table = schema.detector
        with self._db.read() as connection:
            row_id = instrument_id(connection, instrument)
            rows = connection.execute(
                select(table).where(table.c.instrument_id == row_id).order_by(table.c.id)
            )
            return [
                DetectorRecord(r.id, r.name, r.geometry, r.raft, r.name_in_raft, r.purpose)
                for r in rows
            ]

    def register_filter(self, instrument: str, name: str, band: str | None = None) -> bool:
        """Register a physical filter; a band that was not known is filled in."""
        with self._db.write() as connection:
            row_id = instrument_id(connection, instrument)
            return add_filter(connection, instrument, row_id, name, band)

    def physical_filters(self, instrument: str) -> list[FilterRecord]:
        """Return the physical filters of an instrument, by name."""
        table = schema.physical_filter
        with self._db.read() as connection:
            row_id = instrument_id(connection, instrument)
            rows = connection.execute(
                select(table).where(table.c.instrument_id == row_id).order_by(table.c.name)
            )
            return [FilterRecord(row.name, row.band) for row in rows]


def sync_definition(
    connection: Connection, name: str, given: dict[str, Any], source: str, overwrite: bool
) -> bool:
    """Sync an instrument's definition; say whether anything changed."""
    table = schema.instrument
    wanted = select(table.c.definition).where(table.c.name == name)
    values = {"definition": given, "source": source, "updated": now()}
    stored: dict[str, Any] | None = connection.scalar(wanted)
    if stored is None:
        insert_new(connection, table, [{"name": name, **values}])
        return True
    keys = {**dict.fromkeys(stored), **dict.fromkeys(given)}
    changes = compare(stored, {key: given.get(key) for key in keys})
    if not changes:
        return False
    if not overwrite:
        raise ConflictError(
            f"instrument {name} is registered with another definition: {describe(changes)}",
            hint="a changed camera needs another name, or register_instrument(..., update=True)",
        )
    connection.execute(update(table).where(table.c.name == name).values(**values))
    return True
