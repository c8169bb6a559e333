"""Exposure records and raw files: adding them (spec 5.1)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from cpflow.errors import ConflictError, CpflowError, UsageError
from cpflow.exposure import Exposure, RawFile
from cpflow.registry import schema
from cpflow.registry.collections import Row, ensure
from cpflow.registry.database import insert_new
from cpflow.registry.instruments import add_filter, instrument_id
from cpflow.registry.names import is_text
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import CollectionType, IngestResult
from cpflow.registry.sync import Changes, sync

# Columns that have the name of the record's field.
PLAIN = (
    "obs_id",
    "day_obs",
    "seq_num",
    "observation_type",
    "physical_filter",
    "band",
    "exposure_time",
    "dark_time",
    "observation_reason",
    "target_name",
    "science_program",
    "can_see_sky",
    "tracking_ra",
    "tracking_dec",
    "azimuth",
    "zenith_angle",
    "has_simulated",
)
_UPDATE_HINT = "'--update-records' takes the new values"


def values_of(exposure: Exposure) -> dict[str, Any]:
    """Return the columns of an exposure, without its key.

    Raises
    ------
    UsageError
        If the record cannot be stored, or its timespan is empty or open (spec V27).
    """
    name = f"exposure {exposure.exposure} of {exposure.instrument}"
    span = exposure.timespan
    if span.begin is None or span.end is None:
        raise UsageError(f"{name} has no begin or no end", hint="ingest sets what a header lacks")
    if span.is_empty:
        raise UsageError(f"{name} ends before it begins: nothing would be found for it")
    values = {column: getattr(exposure, column) for column in PLAIN}
    values["group_name"] = exposure.group
    values["begin_ns"], values["end_ns"] = span.begin, span.end
    for column, value in values.items():
        if isinstance(value, float) and math.isnan(value):
            values[column] = None
        elif isinstance(value, str) and not is_text(value):
            raise UsageError(f"{name}: {column} holds characters that are no text")
    for column, bits in (("day_obs", 31), ("seq_num", 63)):
        if not -(2**bits) <= values[column] < 2**bits:
            raise UsageError(f"{name}: {column} {values[column]} is too large")
    if not -(2**63) <= exposure.exposure < 2**63:
        raise UsageError(f"{name}: the id does not fit in 64 bits")
    values["extra"] = json.loads(json.dumps(dict(exposure.extra)))
    return values


def add_record(
    connection: Connection, exposure: Exposure, *, overwrite: bool = False
) -> tuple[str, Changes]:
    """Sync one exposure record, and the filter that it names."""
    name = f"exposure {exposure.exposure} of {exposure.instrument}"
    row_id = instrument_id(connection, exposure.instrument)
    values = values_of(exposure)
    add_filter(connection, exposure.instrument, row_id, exposure.physical_filter, exposure.band)
    table = schema.exposure
    clash = connection.scalar(
        select(table.c.id).where(
            table.c.instrument_id == row_id,
            table.c.obs_id == exposure.obs_id,
            table.c.id != exposure.exposure,
        )
    )
    if clash is not None:
        raise ConflictError(f"{name}: obs_id {exposure.obs_id!r} belongs to exposure {clash}")
    key = {"instrument_id": row_id, "id": exposure.exposure}
    return sync(connection, table, key, values, name, overwrite=overwrite, hint=_UPDATE_HINT)


def add_raws(
    connection: Connection,
    exposure: Exposure,
    raws: Sequence[RawFile],
    run: Row,
    *,
    overwrite: bool = False,
) -> dict[int, str]:
    """Add the raw files of one exposure to a RUN; say what became of each detector's."""
    name = f"exposure {exposure.exposure} of {exposure.instrument}"
    row_id = instrument_id(connection, exposure.instrument)
    _check_raws(connection, exposure, raws, row_id)
    _lock(connection, row_id, exposure.exposure)
    table = schema.raw
    place = (
        (table.c.instrument_id == row_id)
        & (table.c.exposure == exposure.exposure)
        & (table.c.run_id == run.id)
    )
    held = {
        row.detector: row
        for row in connection.execute(
            select(table.c.detector, table.c.path, table.c.checksum).where(place)
        )
    }
    layouts = _layout_ids(connection, [raw.layout for raw in raws])
    states: dict[int, str] = {}
    new: list[dict[str, Any]] = []
    for raw, layout_id in zip(raws, layouts, strict=True):
        values = {
            "path": raw.path,
            "size": raw.size,
            "checksum": raw.checksum,
            "layout_id": layout_id,
        }
        old = held.get(raw.detector)
        if old is None:
            key = {
                "instrument_id": row_id,
                "exposure": raw.exposure,
                "detector": raw.detector,
                "run_id": run.id,
            }
            new.append({**key, **values})
            states[raw.detector] = "added"
        elif overwrite:
            same = old.checksum == raw.checksum and old.path == raw.path
            states[raw.detector] = "already" if same else "updated"
            where = place & (table.c.detector == raw.detector)
            connection.execute(update(table).where(where).values(**values))
        elif old.checksum == raw.checksum:
            states[raw.detector] = "already"
        else:
            raise ConflictError(
                f"{name}, detector {raw.detector}: {run.name} holds another file, {old.path} "
                f"({old.checksum}), given {raw.path} ({raw.checksum})",
                hint=f"{_UPDATE_HINT}, or ingest into another run",
            )
    if new:
        connection.execute(insert(table), new)
    return states


def _lock(connection: Connection, instrument: int, exposure: int) -> None:
    """Let one transaction at a time add files of an exposure."""
    if connection.dialect.name == "postgresql":
        table = schema.exposure
        row = (table.c.instrument_id == instrument) & (table.c.id == exposure)
        connection.execute(select(table.c.id).where(row).with_for_update())


def _check_raws(
    connection: Connection, exposure: Exposure, raws: Sequence[RawFile], row_id: int
) -> None:
    name = f"exposure {exposure.exposure} of {exposure.instrument}"
    table = schema.detector
    known = set(connection.scalars(select(table.c.id).where(table.c.instrument_id == row_id)))
    seen: set[int] = set()
    for raw in raws:
        if (raw.instrument, raw.exposure) != (exposure.instrument, exposure.exposure):
            raise UsageError(f"{raw.path} belongs to exposure {raw.exposure}, not to {name}")
        if raw.detector not in known:
            raise UsageError(
                f"{name}: {exposure.instrument} has no detector {raw.detector} ({raw.path})"
            )
        if raw.detector in seen:
            raise ConflictError(f"{name}: two files for detector {raw.detector} ({raw.path})")
        seen.add(raw.detector)


def _layout_ids(connection: Connection, layouts: Sequence[Mapping[str, object]]) -> list[int]:
    """Row ids of layouts, each kept once."""
    table = schema.layout
    digests: list[str] = []
    contents: dict[str, Mapping[str, object]] = {}
    for content in layouts:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        digests.append(digest)
        contents[digest] = content
    query = select(table.c.digest, table.c.id).where(table.c.digest.in_(contents))
    known = {row.digest: row.id for row in connection.execute(query)}
    missing = [
        {"digest": digest, "content": dict(content)}
        # Sorted, so that two processes never wait for each other.
        for digest, content in sorted(contents.items(), key=lambda item: item[0])
        if digest not in known
    ]
    if missing:
        insert_new(connection, table, missing)
        known = {row.digest: row.id for row in connection.execute(query)}
    return [known[digest] for digest in digests]


class ExposureIngest(RegistryPart):
    """Adding exposures."""

    def add_exposure(
        self,
        exposure: Exposure,
        raws: Sequence[RawFile],
        run: str,
        *,
        update: bool = False,
    ) -> IngestResult:
        """Add one exposure with all its files, in one transaction (spec I3 to I5).

        Parameters
        ----------
        exposure : Exposure
            Its record.
        raws : sequence of RawFile
            Its files; others of the same exposure may come in a later call.
        run : str
            RUN collection that the files go to; made if it is missing.
        update : bool
            Whether a record or file that differs replaces the stored one.

        Returns
        -------
        IngestResult
            What was added, was there already, or was updated.

        Raises
        ------
        ConflictError
            If record or files differ from what is stored; nothing is changed then.
        UsageError
            If the instrument or a detector is not registered, or the record cannot be stored.
        """
        with self._db.write() as connection:
            row, _ = ensure(connection, run, CollectionType.RUN)
            state, changes = add_record(connection, exposure, overwrite=update)
            states = add_raws(connection, exposure, raws, row, overwrite=update)
        return IngestResult(exposure.instrument, exposure.exposure, state, states, changes)

    def add_exposures(
        self,
        items: Iterable[tuple[Exposure, Sequence[RawFile]]],
        run: str,
        *,
        update: bool = False,
        fail_fast: bool = False,
    ) -> list[IngestResult]:
        """Add many exposures, each in its own transaction; failures are collected (spec I6).

        Returns
        -------
        list of IngestResult
            One per exposure, in order; `error` is set where it was refused.
        """
        results = []
        for exposure, raws in items:
            try:
                results.append(self.add_exposure(exposure, raws, run, update=update))
            except CpflowError as error:
                if fail_fast:
                    raise
                results.append(IngestResult(exposure.instrument, exposure.exposure, error=error))
        return results
