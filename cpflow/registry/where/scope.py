"""Which names a query may use, and the columns and kinds that they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement

from cpflow.registry import schema


class Kind(StrEnum):
    """Kinds of value; the words are those of error messages."""

    INT = "an integer"
    FLOAT = "a number"
    STRING = "a string"
    BOOL = "true or false"
    TIME = "a time"
    SPAN = "a timespan"
    UUID = "a dataset id"
    NULL = "NULL"


@dataclass(frozen=True, slots=True)
class Field:
    """A column of one kind; a timespan has two, `column` and `end`."""

    column: ColumnElement[Any]
    kind: Kind
    end: ColumnElement[Any] | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """Names of one kind of query.

    Parameters
    ----------
    what : str
        What is listed, for messages.
    elements : mapping
        Fields of each element: ``{"exposure": {"day_obs": ...}}``.
    keys : mapping
        What a bare element means: ``exposure`` is ``exposure.id``.
    """

    what: str
    elements: Mapping[str, Mapping[str, Field]]
    keys: Mapping[str, Field]

    def owners(self, field: str) -> list[str]:
        """Return the elements that have a field of this name."""
        return [element for element, fields in self.elements.items() if field in fields]

    def known(self) -> Iterable[str]:
        """Yield every name that may be used."""
        yield from self.keys
        for element, fields in self.elements.items():
            for field in fields:
                yield field
                yield f"{element}.{field}"


_DETECTOR: Mapping[str, Field] = {
    "id": Field(schema.detector.c.id, Kind.INT),
    "full_name": Field(schema.detector.c.name, Kind.STRING),
    "name_in_raft": Field(schema.detector.c.name_in_raft, Kind.STRING),
    "raft": Field(schema.detector.c.raft, Kind.STRING),
    "purpose": Field(schema.detector.c.purpose, Kind.STRING),
}
_INSTRUMENT = Field(schema.instrument.c.name, Kind.STRING)


def exposure_scope() -> Scope:
    """Names of queries for exposures and raws."""
    table = schema.exposure.c
    kinds = {
        "INTEGER": Kind.INT,
        "BIGINT": Kind.INT,
        "FLOAT": Kind.FLOAT,
        "TEXT": Kind.STRING,
        "BOOLEAN": Kind.BOOL,
    }
    exposure = {"instrument": _INSTRUMENT, "group": Field(table.group_name, Kind.STRING)}
    for column in table:
        hidden = column.name in ("instrument_id", "begin_ns", "end_ns", "group_name", "extra")
        if not hidden:
            kind = kinds[column.type.__visit_name__.upper().replace("BIG_INTEGER", "BIGINT")]
            exposure[column.name] = Field(column, kind)
    exposure["timespan"] = Field(table.begin_ns, Kind.SPAN, table.end_ns)
    physical_filter = exposure["physical_filter"]
    band = exposure["band"]
    elements: Mapping[str, Mapping[str, Field]] = {
        "instrument": {"name": _INSTRUMENT},
        "detector": _DETECTOR,
        "physical_filter": {"name": physical_filter, "band": band},
        "band": {"name": band},
        "day_obs": {"id": exposure["day_obs"]},
        "group": {"name": exposure["group"]},
        "exposure": exposure,
    }
    keys = {
        "instrument": _INSTRUMENT,
        "detector": _DETECTOR["id"],
        "physical_filter": physical_filter,
        "band": band,
        "day_obs": exposure["day_obs"],
        "group": exposure["group"],
        "exposure": exposure["id"],
    }
    return Scope("exposures", elements, keys)


def dataset_scope(types: Iterable[str]) -> Scope:
    """Names of queries for datasets; a dataset type's name stands for ``dataset``."""
    table = schema.dataset.c
    physical_filter = Field(table.physical_filter, Kind.STRING)
    band = Field(schema.physical_filter.c.band, Kind.STRING)
    dataset = {
        "run": Field(schema.collection.c.name, Kind.STRING),
        "dataset_id": Field(table.uuid, Kind.UUID),
        "ingest_date": Field(table.created, Kind.TIME),
    }
    elements: dict[str, Mapping[str, Field]] = {
        "instrument": {"name": _INSTRUMENT},
        "detector": {**_DETECTOR, "id": Field(table.detector, Kind.INT)},
        "physical_filter": {"name": physical_filter, "band": band},
        "band": {"name": band},
        "exposure": {"id": Field(table.exposure, Kind.INT)},
        "dataset": dataset,
    }
    elements.update(dict.fromkeys(types, dataset))
    keys = {
        "instrument": _INSTRUMENT,
        "detector": elements["detector"]["id"],
        "physical_filter": physical_filter,
        "band": band,
        "exposure": elements["exposure"]["id"],
        **dataset,
    }
    return Scope("datasets", elements, keys)
