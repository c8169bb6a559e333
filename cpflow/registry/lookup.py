"""Finding the dataset that applies: by data id, search path and time (spec 3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from cpflow.errors import AmbiguousCalibrationError, UsageError
from cpflow.exposure import Exposure
from cpflow.registry import schema
from cpflow.registry.chains import search_path
from cpflow.registry.collections import Row
from cpflow.registry.database import is_one_of
from cpflow.registry.datasets import refs_where, type_row
from cpflow.registry.interval import FIRST, LAST, Ambiguity, Held, Layer, Timeline, decide, held
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import Certification, CollectionType, DataId, DatasetRef
from cpflow.timespan import Timespan

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Lookups:
    """What a search path gives for many exposures, failures included (spec V34)."""

    found: Mapping[int, DatasetRef]
    missing: tuple[int, ...] = ()
    ambiguous: Mapping[int, tuple[Certification, ...]] = field(default_factory=dict)


def layers_of(
    connection: Connection, type_id: int, path: Sequence[Row], keys: Sequence[str] | None = None
) -> dict[str, list[Layer]]:
    """Load what the collections of a path hold of one type, by data id and in path order."""
    found: dict[str, dict[int, list[Held]]] = {}

    def keep(key: str, collection: int, row: Held) -> None:
        found.setdefault(key, {}).setdefault(collection, []).append(row)

    ids = {
        kind: [row.id for row in path if row.type is kind]
        for kind in (CollectionType.RUN, CollectionType.TAGGED, CollectionType.CALIBRATION)
    }
    data, tag, table = schema.dataset, schema.tag, schema.certification

    def rows(source: Any, collection: Any, kind: CollectionType, *columns: Any) -> Any:
        if not ids[kind]:
            return ()
        conditions: list[ColumnElement[bool]] = [
            source.c.type_id == type_id,
            is_one_of(connection, collection, ids[kind]),
        ]
        if keys is not None:
            conditions.append(is_one_of(connection, source.c.data_key, keys))
        return connection.execute(
            select(source.c.data_key, collection, *columns).where(*conditions)
        )

    for key, collection, id_ in rows(data, data.c.run_id, CollectionType.RUN, data.c.id):
        keep(key, collection, Held(FIRST, LAST, id_))
    for key, collection, id_ in rows(
        tag, tag.c.collection_id, CollectionType.TAGGED, tag.c.dataset_id
    ):
        keep(key, collection, Held(FIRST, LAST, id_))
    certified = (table.c.begin_ns, table.c.end_ns, table.c.dataset_id)
    for key, collection, begin, end, id_ in rows(
        table, table.c.collection_id, CollectionType.CALIBRATION, *certified
    ):
        keep(key, collection, held(begin, end, id_))
    return {
        key: [
            Layer(
                row.name,
                tuple(sorted(by_collection[row.id])),
                row.type is not CollectionType.CALIBRATION,
            )
            for row in path
            if row.id in by_collection
        ]
        for key, by_collection in found.items()
    }


def certifications(connection: Connection, found: Ambiguity) -> tuple[Certification, ...]:
    """Return the rows of an ambiguity as records."""
    ids = {row.dataset for row in found.rows}
    refs = refs_where(connection, is_one_of(connection, schema.dataset.c.id, ids))
    return tuple(
        Certification(found.layer.collection, refs[row.dataset], row.timespan) for row in found.rows
    )


class Lookup(RegistryPart):
    """Finding datasets by time."""

    def find(
        self,
        type: str,  # noqa: A002
        data_id: DataId | Mapping[str, Any] | tuple[Any, ...],
        path: Sequence[str] | str,
        timespan: Timespan | None = None,
    ) -> DatasetRef | None:
        """Find the dataset of a type that a search path gives (spec V21 to V28).

        Parameters
        ----------
        type : str
            Dataset type.
        data_id : DataId or mapping
            Keys that the type does not have are ignored.
        path : sequence of str
            Collections and chains, in order of search.
        timespan : Timespan, optional
            Without one, CALIBRATION collections are skipped.

        Returns
        -------
        DatasetRef or None
            None if no collection has a match.

        Raises
        ------
        AmbiguousCalibrationError
            If the first collection that has a match has several.
        UsageError
            If the type is not known or the data id lacks a key.
        MissingCollectionError
            If a collection does not exist.
        """
        given = DataId.of(data_id)
        with self._db.read() as connection:
            type_id, kind = type_row(connection, type)
            wanted = given.restricted(kind.dimensions, type)
            collections = search_path(connection, path)
            layers = layers_of(connection, type_id, collections, [wanted.key]).get(wanted.key, [])
            found = decide(layers, timespan)
            if found is None:
                return None
            if isinstance(found, Ambiguity):
                candidates = certifications(connection, found)
                when = "" if timespan is None else f" over {timespan}"
                raise _ambiguous(f"{type} ({wanted}){when}", candidates)
            return refs_where(connection, schema.dataset.c.id == found.dataset)[found.dataset]

    def lookup_exposures(
        self,
        type: str,  # noqa: A002
        exposures: Sequence[Exposure],
        detector: int | None,
        path: Sequence[str] | str,
    ) -> Lookups:
        """Look up one type for many exposures at once, collecting what fails.

        The intervals of the path are loaded once and bisected in memory.
        """
        if not exposures:
            return Lookups({})
        instruments = {exposure.instrument for exposure in exposures}
        if len(instruments) > 1:
            raise UsageError(f"exposures of several instruments: {', '.join(sorted(instruments))}")
        instrument = exposures[0].instrument
        found: dict[int, int] = {}
        missing: list[int] = []
        ambiguous: dict[int, Ambiguity] = {}
        with self._db.read() as connection:
            type_id, kind = type_row(connection, type)
            collections = search_path(connection, path)
            filters = {exposure.physical_filter for exposure in exposures}
            keys = {
                name: DataId(instrument, detector, name).restricted(kind.dimensions, type).key
                for name in filters
            }
            layers = layers_of(connection, type_id, collections, list(set(keys.values())))
            built = {key: Timeline(layers.get(key, [])) for key in set(keys.values())}
            timelines = {name: built[key] for name, key in keys.items()}
            for exposure in exposures:
                result = timelines[exposure.physical_filter].at(exposure.timespan)
                if result is None:
                    missing.append(exposure.exposure)
                elif isinstance(result, Ambiguity):
                    ambiguous[exposure.exposure] = result
                else:
                    found[exposure.exposure] = result.dataset
            ids = set(found.values())
            refs = refs_where(connection, is_one_of(connection, schema.dataset.c.id, ids))
            listed = {id_: certifications(connection, a) for id_, a in ambiguous.items()}
        return Lookups({id_: refs[d] for id_, d in found.items()}, tuple(missing), listed)

    def find_for_exposures(
        self,
        type: str,  # noqa: A002
        exposures: Sequence[Exposure],
        detector: int | None,
        path: Sequence[str] | str,
    ) -> dict[int, DatasetRef | None]:
        """Return the dataset that applies to each exposure, None where there is none.

        Raises
        ------
        AmbiguousCalibrationError
            Naming every exposure for which several apply (spec V34).
        """
        result = self.lookup_exposures(type, exposures, detector, path)
        if result.ambiguous:
            place = f"{type}, detector {detector}" if detector is not None else type
            first, candidates = next(iter(result.ambiguous.items()))
            named = list(result.ambiguous)
            what = f"{place}, exposure {first}"
            if len(named) > 1:
                shown = ", ".join(map(str, named[:_SHOWN]))
                more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
                what = f"{place}, {len(named)} exposures ({shown}{more}), the first of them"
            raise _ambiguous(what, candidates)
        return {e.exposure: result.found.get(e.exposure) for e in exposures}


def _ambiguous(what: str, candidates: Sequence[Certification]) -> AmbiguousCalibrationError:
    listed = "".join(f"\n  {one}" for one in candidates[:_SHOWN])
    return AmbiguousCalibrationError(
        f"{what}: {len(candidates)} certifications in {candidates[0].collection} apply:{listed}",
        hint="put boundaries where no exposure is, or leave these exposures out (--drop-bad)",
    )
