"""Records of whole collections, to carry them to another repository (spec 5.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select, true

from cpflow.errors import ConflictError, UsageError
from cpflow.registry import schema
from cpflow.registry.certification import certify, read
from cpflow.registry.chains import ChainMode, change, search_path
from cpflow.registry.collections import ensure, full, rows_by_name
from cpflow.registry.database import is_one_of
from cpflow.registry.datasets import add, add_lineages, query, refs_where, row_ids, type_rows
from cpflow.registry.instruments import add_detector, add_filter, instrument_ids, sync_definition
from cpflow.registry.lineage import lineage_of
from cpflow.registry.listing import members
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import (
    Collection,
    CollectionType,
    DataId,
    DatasetRef,
    DatasetType,
    DetectorRecord,
    Lineage,
    RawUse,
    RunState,
)
from cpflow.registry.tags import associate
from cpflow.timespan import Timespan, from_iso, isoformat

FORMAT = 1


@dataclass(slots=True)
class Imported:
    """What an import did."""

    datasets: list[DatasetRef] = field(default_factory=list)
    """Datasets that are new here; their files are what the caller has to bring."""
    already: int = 0
    certified: int = 0
    kept_chains: list[str] = field(default_factory=list)
    """Chains that exist here with other children, and were left as they are."""


class Transfer(RegistryPart):
    """Exporting and importing records."""

    def export_records(
        self, collections: str | Sequence[str], types: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Return everything about some collections as one JSON-able mapping.

        Chains bring what hangs below them, CALIBRATION and TAGGED collections the datasets that
        they hold, with the RUNs of those. Raw frames do not come along.

        Parameters
        ----------
        collections : str or sequence of str
            Names, not patterns.
        types : sequence of str, optional
            Dataset types; by default all.
        """
        with self._db.read() as connection:
            path = search_path(connection, collections, include_chains=True)
            known = type_rows(connection)
            unknown = [name for name in types or () if name not in known]
            if unknown:
                raise UsageError(f"there is no dataset type {', '.join(unknown)}")
            ids = set().union(*members(connection, path).values()) if path else set()
            data = schema.dataset
            condition = is_one_of(connection, data.c.id, ids)
            if types is not None:
                chosen = [known[name][0] for name in types]
                condition &= is_one_of(connection, data.c.type_id, chosen)
            refs = refs_where(connection, condition)
            runs = rows_by_name(connection, {ref.run for ref in refs.values()})
            rows = list({row.id: row for row in (*path, *runs.values())}.values())
            groups = full(connection, rows)
            certified = [
                one
                for row in path
                if row.type is CollectionType.CALIBRATION
                for one in read(connection, row, true())
                if types is None or one.dataset.type in types
            ]
            used = {known[ref.type][1] for ref in refs.values()}
            instruments = {ref.data_id.instrument for ref in refs.values()}
            return {
                "format": FORMAT,
                "instruments": [_instrument(connection, name) for name in sorted(instruments)],
                "dataset_types": [_type(one) for one in sorted(used, key=lambda one: one.name)],
                "collections": [_collection(one) for one in groups],
                "datasets": [_dataset(connection, id_, ref) for id_, ref in refs.items()],
                "tags": _tags(connection, [row.id for row in path], refs),
                "certifications": [
                    {
                        "collection": one.collection,
                        "dataset": one.dataset.id,
                        "begin": _iso(one.timespan.begin),
                        "end": _iso(one.timespan.end),
                        "verdict": one.verdict,
                        "reason": one.reason,
                    }
                    for one in certified
                ],
            }

    def import_records(
        self,
        records: Mapping[str, Any],
        *,
        path_of: Callable[[DatasetRef], str] | None = None,
    ) -> Imported:
        """Take what `export_records` gave, in one transaction; again is a no-op.

        Parameters
        ----------
        records : mapping
            Of this or another registry.
        path_of : callable, optional
            Where the file of a dataset will lie here; by default where it lay.

        Raises
        ------
        ConflictError
            If something here differs from what is brought; nothing is imported then.
        """
        if records.get("format") != FORMAT:
            raise UsageError(
                f"the export has format {records.get('format')!r}, this cpflow reads {FORMAT}"
            )
        result = Imported()
        with self._db.write() as connection:
            for one in records["instruments"]:
                _add_instrument(connection, one)
            known = type_rows(connection)
            for one in records["dataset_types"]:
                _check_type(known, one)
            groups = [_as_collection(one) for one in records["collections"]]
            for group in groups:
                if group.type is not CollectionType.CHAINED:
                    ensure(
                        connection,
                        group.name,
                        group.type,
                        doc=group.doc,
                        state=group.state,
                        facts=group.facts or None,
                    )
            _add_datasets(connection, records["datasets"], path_of, result)
            _add_chains(connection, groups, result)
            by_tag: dict[str, list[str]] = {}
            for one in records["tags"]:
                by_tag.setdefault(one["collection"], []).append(one["dataset"])
            for name, uuids in by_tag.items():
                associate(connection, rows_by_name(connection, [name])[name], uuids)
            for one in records["certifications"]:
                result.certified += _certify(connection, one)
        return result


def _iso(bound: int | None) -> str | None:
    return None if bound is None else isoformat(bound)


def _instrument(connection: Connection, name: str) -> dict[str, Any]:
    table, detectors, filters = schema.instrument, schema.detector, schema.physical_filter
    row = connection.execute(select(table).where(table.c.name == name)).one()
    return {
        "name": name,
        "definition": row.definition,
        "source": row.source,
        "detectors": [
            {key: value for key, value in one._mapping.items() if key != "instrument_id"}
            for one in connection.execute(
                select(detectors)
                .where(detectors.c.instrument_id == row.id)
                .order_by(detectors.c.id)
            )
        ],
        "filters": [
            {"name": one.name, "band": one.band}
            for one in connection.execute(
                select(filters).where(filters.c.instrument_id == row.id).order_by(filters.c.name)
            )
        ],
    }


def _type(one: DatasetType) -> dict[str, Any]:
    return {
        "name": one.name,
        "dimensions": list(one.dimensions),
        "is_calibration": one.is_calibration,
    }


def _collection(one: Collection) -> dict[str, Any]:
    return {
        "name": one.name,
        "type": one.type.value,
        "doc": one.doc,
        "state": None if one.state is None else one.state.value,
        "facts": dict(one.facts),
        "children": list(one.children),
    }


def _dataset(connection: Connection, row_id: int, ref: DatasetRef) -> dict[str, Any]:
    lineage = lineage_of(connection, row_id)
    return {
        "id": ref.id,
        "type": ref.type,
        "data_id": {k: v for k, v in ref.data_id._asdict().items() if v is not None},
        "run": ref.run,
        "path": ref.path,
        "checksum": ref.checksum,
        "size": ref.size,
        "created": ref.created,
        "stored": ref.stored,
        "provenance": dict(ref.provenance),
        "made_from": {
            "raws": [[r.instrument, r.exposure, r.detector, r.checksum] for r in lineage.raws],
            "datasets": list(lineage.datasets),
        },
    }


def _tags(
    connection: Connection, collections: Sequence[int], refs: Mapping[int, DatasetRef]
) -> list[dict[str, str]]:
    table, tag = schema.collection, schema.tag
    rows = connection.execute(
        select(table.c.name, tag.c.dataset_id)
        .join(table, table.c.id == tag.c.collection_id)
        .where(is_one_of(connection, tag.c.collection_id, collections))
        .order_by(table.c.name, tag.c.dataset_id)
    )
    return [{"collection": name, "dataset": refs[id_].id} for name, id_ in rows if id_ in refs]


def _as_collection(one: Mapping[str, Any]) -> Collection:
    return Collection(
        one["name"],
        CollectionType(one["type"]),
        one["doc"],
        state=None if one["state"] is None else RunState(one["state"]),
        facts=one["facts"],
        children=tuple(one["children"]),
    )


def _add_instrument(connection: Connection, one: Mapping[str, Any]) -> None:
    name = one["name"]
    # An instrument that is known here stays as it is: its definition may be newer.
    if name not in instrument_ids(connection):
        sync_definition(connection, name, one["definition"], one["source"], overwrite=False)
    row_id = instrument_ids(connection)[name]
    for detector in one["detectors"]:
        add_detector(connection, name, row_id, DetectorRecord(**detector))
    for wanted in one["filters"]:
        add_filter(connection, name, row_id, wanted["name"], wanted["band"])


def _check_type(known: Mapping[str, tuple[int, DatasetType]], one: Mapping[str, Any]) -> None:
    wanted = DatasetType(one["name"], tuple(one["dimensions"]), one["is_calibration"])
    if wanted.name not in known:
        raise UsageError(f"this repository does not know the dataset type {wanted.name}")
    if known[wanted.name][1] != wanted:
        raise ConflictError(f"{wanted.name} is {known[wanted.name][1]} here, brought {wanted}")


def _add_datasets(
    connection: Connection,
    given: Sequence[Mapping[str, Any]],
    path_of: Callable[[DatasetRef], str] | None,
    result: Imported,
) -> None:
    data = schema.dataset
    uuids = {one["id"] for one in given}
    held = {
        row.uuid: row.checksum
        for row in connection.execute(query().where(is_one_of(connection, data.c.uuid, uuids)))
    }
    new: dict[str, list[DatasetRef]] = {}
    lineages: dict[str, Lineage] = {}
    for one in given:
        if one["id"] in held:
            if held[one["id"]] != one["checksum"]:
                raise ConflictError(f"dataset {one['id']} is here with another checksum")
            result.already += 1
            continue
        fields = {key: value for key, value in one.items() if key not in ("data_id", "made_from")}
        ref = DatasetRef(data_id=DataId(**one["data_id"]), **fields)
        if path_of is not None:
            ref = DatasetRef(data_id=ref.data_id, **{**fields, "path": path_of(ref)})
        new.setdefault(ref.run, []).append(ref)
        made = one["made_from"]
        lineages[ref.id] = Lineage(
            tuple(RawUse(*raw) for raw in made["raws"]), tuple(made["datasets"])
        )
    for run, refs in new.items():
        row = rows_by_name(connection, [run])[run]
        result.datasets += add(connection, row, refs)
    # After all of them: a dataset may be made from one of another run.
    add_lineages(connection, lineages)


def _add_chains(connection: Connection, groups: Sequence[Collection], result: Imported) -> None:
    chains = [one for one in groups if one.type is CollectionType.CHAINED]
    made: list[Collection] = []
    for one in chains:
        row, new = ensure(connection, one.name, CollectionType.CHAINED, doc=one.doc)
        if new:
            made.append(one)
        elif full(connection, [row])[0].children != one.children:
            result.kept_chains.append(one.name)
    # All chains exist before any is filled, so their order does not matter.
    for one in made:
        if one.children:
            change(connection, one.name, one.children, ChainMode.REDEFINE)


def _certify(connection: Connection, one: Mapping[str, Any]) -> int:
    row = rows_by_name(connection, [one["collection"]])[one["collection"]]
    id_ = row_ids(connection, [one["dataset"]])[one["dataset"]]
    begin, end = (
        None if one[bound] is None else from_iso(one[bound], "tai") for bound in ("begin", "end")
    )
    table = schema.certification
    same = select(table.c.id).where(
        table.c.collection_id == row.id,
        table.c.dataset_id == id_,
        table.c.begin_ns.is_not_distinct_from(begin),
        table.c.end_ns.is_not_distinct_from(end),
    )
    if connection.scalar(same) is not None:
        return 0
    ref = refs_where(connection, schema.dataset.c.id == id_)[id_]
    certify(
        connection,
        row,
        [ref],
        Timespan(begin, end),
        verdict=one["verdict"],
        reason=one["reason"],
    )
    return 1
