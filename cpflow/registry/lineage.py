"""What one dataset was made from, as rows."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, insert, select

from cpflow.errors import UsageError
from cpflow.registry import schema
from cpflow.registry.database import insert_new
from cpflow.registry.instruments import instrument_ids
from cpflow.registry.records import Lineage, RawUse


def add_lineage(
    connection: Connection, dataset: int, lineage: Lineage, instruments: Mapping[str, int]
) -> None:
    """Record what a dataset was made from."""
    raws = []
    for used in lineage.raws:
        if used.instrument not in instruments:
            raise UsageError(f"instrument {used.instrument!r} is not registered")
        raws.append(
            {
                "dataset_id": dataset,
                "instrument_id": instruments[used.instrument],
                "exposure": used.exposure,
                "detector": used.detector,
                "checksum": used.checksum,
            }
        )
    if raws:
        connection.execute(insert(schema.used_raw), raws)
    inputs = [{"dataset_id": dataset, "input_uuid": one} for one in dict.fromkeys(lineage.datasets)]
    insert_new(connection, schema.used_dataset, inputs)


def lineage_of(connection: Connection, dataset: int) -> Lineage:
    """Return what a dataset was made from, by its row id."""
    raw, used = schema.used_raw, schema.used_dataset
    names = {id_: name for name, id_ in instrument_ids(connection).items()}
    rows = connection.execute(
        select(raw)
        .where(raw.c.dataset_id == dataset)
        .order_by(raw.c.instrument_id, raw.c.exposure, raw.c.detector)
    )
    raws = tuple(RawUse(names[r.instrument_id], r.exposure, r.detector, r.checksum) for r in rows)
    inputs = connection.scalars(
        select(used.c.input_uuid).where(used.c.dataset_id == dataset).order_by(used.c.input_uuid)
    )
    return Lineage(raws, tuple(inputs))
