"""Putting curated calibrations in force: their runs, datasets and ranges at once (spec I10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, and_

from cpflow.errors import ConflictError
from cpflow.registry import schema
from cpflow.registry.certification import (
    calibration_type,
    certify,
    check_span,
    overlapping,
    read,
    stored_refs,
)
from cpflow.registry.collections import Row, ensure
from cpflow.registry.database import lock_collections
from cpflow.registry.datasets import add
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import Certification, CollectionType, DatasetRef, RunState
from cpflow.timespan import Timespan


class Curation(RegistryPart):
    """Curated calibrations."""

    def put_in_force(
        self,
        collection: str,
        new: Sequence[DatasetRef],
        rows: Sequence[tuple[DatasetRef, Timespan]],
        *,
        own_runs: str,
        reason: str | None = None,
    ) -> list[Certification]:
        """Register datasets with their runs and certify some, in one transaction.

        A range takes its time away from what other own runs hold, so that a file that came later
        shortens the range of the one before it.

        Parameters
        ----------
        collection : str
            CALIBRATION collection; made if it is missing.
        new : sequence of DatasetRef
            Those that are not registered yet; their runs are made.
        rows : sequence of tuple
            Datasets, new or registered, and when each holds.
        own_runs : str
            Beginning of the names of runs whose datasets may be displaced.
        reason : str, optional
            Recorded with each row.

        Raises
        ------
        ConflictError
            If a dataset of another run holds a part of a range.
        """
        for _, span in rows:
            check_span(span)
        by_run: dict[str, list[DatasetRef]] = {}
        for ref in new:
            by_run.setdefault(ref.run, []).append(ref)
        done: list[Certification] = []
        with self._db.write() as connection:
            output, _ = ensure(connection, collection, CollectionType.CALIBRATION)
            for name, refs in by_run.items():
                run, _ = ensure(connection, name, CollectionType.RUN, state=RunState.COMPLETE)
                add(connection, run, refs)
            lock_collections(connection, [output.id])
            stored = stored_refs(connection, [ref for ref, _ in rows])
            for ref, (_, span) in zip(stored, rows, strict=True):
                _check_displaced(connection, output, ref, span, own_runs)
                done += certify(connection, output, [ref], span, replace=True, reason=reason)
        return done


def _check_displaced(
    connection: Connection, collection: Row, ref: DatasetRef, span: Timespan, own_runs: str
) -> None:
    table = schema.certification
    type_id, _ = calibration_type(connection, ref.type)
    place: Mapping[str, object] = {"type_id": type_id, "data_key": ref.data_id.key}
    same = and_(*(table.c[name] == value for name, value in place.items()))
    held = read(connection, collection, and_(same, overlapping(span)))
    others = [one for one in held if not one.dataset.run.startswith(own_runs)]
    if others:
        listed = "".join(f"\n  {one}" for one in others)
        raise ConflictError(
            f"{collection.name} holds {ref.type} of other runs over {span}:{listed}",
            hint="put the curated ones into another --collection, or decertify these first",
        )
