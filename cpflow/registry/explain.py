"""Why a calibration applies to an exposure, and why others do not (spec V30, X8)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, and_, select

from cpflow.exposure import Exposure
from cpflow.registry import schema
from cpflow.registry.certification import as_certification, calibration_type, read
from cpflow.registry.chains import search_path
from cpflow.registry.database import is_one_of
from cpflow.registry.datasets import refs_where, type_rows
from cpflow.registry.interval import Held, Layer, held
from cpflow.registry.lookup import layers_of
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import Certification, CollectionType, DataId, DatasetRef
from cpflow.timespan import Timespan, isoformat


class Outcome(StrEnum):
    """What became of one candidate."""

    USED = "used"
    AMBIGUOUS = "ambiguous"
    SHADOWED = "shadowed"
    NOT_IN_FORCE = "not in force"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Explanation:
    """One candidate for an exposure: a dataset in a collection, or that there is none."""

    type: str
    outcome: Outcome
    reason: str
    collection: str | None = None
    dataset: DatasetRef | None = None
    timespan: Timespan | None = None
    verdict: str | None = None
    """What was recorded when it was certified."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A span in which a collection has nothing in force, between two ranges that it has."""

    collection: str
    type: str
    data_id: DataId
    timespan: Timespan


class Explaining(RegistryPart):
    """Showing what is in force."""

    def explain(
        self,
        exposure: Exposure,
        detector: int | None,
        path: str | Sequence[str],
        types: Sequence[str] | None = None,
    ) -> list[Explanation]:
        """Show which calibrations apply to an exposure, and why the others do not.

        Parameters
        ----------
        exposure : Exposure
            Its timespan and filter count.
        detector : int or None
            Detector; None leaves out types that need one.
        path : str or sequence of str
            Collections, in order of search.
        types : sequence of str, optional
            Calibration types; by default all.

        Returns
        -------
        list of Explanation
            By type, then in order of search.
        """
        data_id = DataId(exposure.instrument, detector, exposure.physical_filter)
        rows: list[Explanation] = []
        with self._db.read() as connection:
            collections = search_path(connection, path)
            for name, (type_id, kind) in type_rows(connection).items():
                wanted = kind.is_calibration if types is None else name in types
                if not wanted or ("detector" in kind.dimensions and detector is None):
                    continue
                key = data_id.restricted(kind.dimensions, name).key
                layers = layers_of(connection, type_id, collections, [key]).get(key, [])
                ids = {row.dataset for layer in layers for row in layer.rows}
                refs = refs_where(connection, is_one_of(connection, schema.dataset.c.id, ids))
                verdicts = _verdicts(connection, ids)
                for explanation, row in _judge(name, layers, exposure.timespan):
                    ref = None if row is None else refs[row.dataset]
                    verdict = verdicts.get((explanation.collection, row))
                    rows.append(_with(explanation, ref, row, verdict))
                if not layers:
                    searched = ", ".join(row.name for row in collections) or "an empty path"
                    reason = f"nothing of {name} for this data id in {searched}"
                    rows.append(Explanation(name, Outcome.NOTHING, reason))
        return rows

    def certified(
        self, collection: str, types: str | Sequence[str] | None = None
    ) -> list[Certification]:
        """Return what a collection has in force, by type, data id and begin.

        Parameters
        ----------
        collection : str
            CALIBRATION collection, or a chain of some.
        types : str or sequence of str, optional
            Calibration types; by default all.
        """
        with self._db.read() as connection:
            given = [types] if isinstance(types, str) else types
            table = schema.certification
            condition = and_(True)
            if given is not None:
                ids = [calibration_type(connection, name)[0] for name in given]
                condition = is_one_of(connection, table.c.type_id, ids)
            rows: list[Certification] = []
            for row in search_path(connection, collection):
                if row.type is CollectionType.CALIBRATION:
                    rows += read(connection, row, condition)
        return sorted(rows, key=_listing_order)

    def gaps(self, collection: str, types: str | Sequence[str] | None = None) -> list[Gap]:
        """Return where ranges of one collection, type and data id leave time between them."""
        found: list[Gap] = []
        before: Certification | None = None
        for one in self.certified(collection, types):
            if before is not None and _place(before) == _place(one):
                end, begin = before.timespan.end, one.timespan.begin
                if end is not None and begin is not None and end < begin:
                    ref = one.dataset
                    found.append(Gap(one.collection, ref.type, ref.data_id, Timespan(end, begin)))
            before = one
        return found

    def certifications_of(self, dataset: str) -> list[Certification]:
        """Return where and when a dataset is in force."""
        table, data, collection = schema.certification, schema.dataset, schema.collection
        with self._db.read() as connection:
            rows = connection.execute(
                select(table, collection.c.name)
                .join(data, data.c.id == table.c.dataset_id)
                .join(collection, collection.c.id == table.c.collection_id)
                .where(data.c.uuid == dataset)
                .order_by(collection.c.name, table.c.begin_ns.nulls_first())
            ).all()
            ids = {row.dataset_id for row in rows}
            refs = refs_where(connection, is_one_of(connection, data.c.id, ids))
        return [as_certification(row, row.name, refs) for row in rows]


def _place(one: Certification) -> tuple[str, str, str]:
    return one.collection, one.dataset.type, one.dataset.data_id.key


def _listing_order(one: Certification) -> tuple[object, ...]:
    data_id, begin = one.dataset.data_id, one.timespan.begin
    return (
        one.collection,
        one.dataset.type,
        data_id.instrument,
        -1 if data_id.detector is None else data_id.detector,
        data_id.physical_filter or "",
        begin is not None,
        begin or 0,
    )


def _judge(
    name: str, layers: Sequence[Layer], span: Timespan
) -> Iterator[tuple[Explanation, Held | None]]:
    decided: str | None = None
    for layer in layers:
        matches = layer.matches(span) if not span.is_empty else ()
        if not matches:
            reason = _why_not(layer, span)
            yield Explanation(name, Outcome.NOT_IN_FORCE, reason, layer.collection), None
            continue
        if decided is not None:
            outcome, reason = Outcome.SHADOWED, f"{decided} is searched before {layer.collection}"
        elif len(matches) > 1:
            outcome = Outcome.AMBIGUOUS
            reason = f"{len(matches)} ranges of this collection overlap the exposure"
        elif layer.timeless:
            outcome, reason = Outcome.USED, "taken whatever the date: not a CALIBRATION collection"
        else:
            outcome, reason = Outcome.USED, "the first collection with a range at that time"
        for row in matches:
            yield Explanation(name, outcome, reason, layer.collection), row
        decided = decided or layer.collection


def _why_not(layer: Layer, span: Timespan) -> str:
    if span.is_empty or span.begin is None:
        return "the exposure has no usable time"
    parts = []
    earlier = [row.end for row in layer.rows if row.end <= span.begin]
    later = [row.begin for row in layer.rows if row.begin > span.begin]
    if earlier:
        parts.append(f"the last before it ended {isoformat(max(earlier))}")
    if later:
        parts.append(f"the next begins {isoformat(min(later))}")
    return f"no range at {isoformat(span.begin)} TAI: {', '.join(parts)}"


def _verdicts(
    connection: Connection, ids: Collection[int]
) -> dict[tuple[str | None, Held | None], str | None]:
    """Return what was recorded with each range of some datasets, by collection and range."""
    table, collection = schema.certification, schema.collection
    rows = connection.execute(
        select(table, collection.c.name.label("collection_name"))
        .join(collection, collection.c.id == table.c.collection_id)
        .where(is_one_of(connection, table.c.dataset_id, ids), table.c.verdict.is_not(None))
    )
    return {
        (row.collection_name, held(row.begin_ns, row.end_ns, row.dataset_id)): row.verdict
        for row in rows
    }


def _with(
    one: Explanation, ref: DatasetRef | None, found: Held | None, verdict: str | None
) -> Explanation:
    span = None if found is None else found.timespan
    return Explanation(one.type, one.outcome, one.reason, one.collection, ref, span, verdict)
