"""The tables.

Times are TAI nanoseconds; NULL is unbounded. `data_key` is `DataId.key`: one column that is never
NULL, so that uniqueness and the overlap constraint need not know which dimensions a type has.

A change here needs a migration (`migrations/versions`) and a new `VERSION`.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    event,
)
from sqlalchemy.schema import ExecutableDDLElement

VERSION = "0002"
VERSION_TABLE = "cpflow_schema"


class JsonText(TypeDecorator[Any]):
    """JSON kept as text, so that NaN, key order and long integers come back as they went in."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write JSON."""
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Read JSON."""
        if value == "{}":
            return {}
        return None if value is None else json.loads(value)


# A rowid alias on SQLite must be INTEGER; sorting and patterns go by code point on both.
_Id = BigInteger().with_variant(Integer, "sqlite")
_Name = Text().with_variant(String(collation="C"), "postgresql")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _ref(target: str, *, cascade: bool = False) -> ForeignKey:
    return ForeignKey(target, ondelete="CASCADE" if cascade else "RESTRICT")


version = Table(VERSION_TABLE, metadata, Column("version_num", String(32), primary_key=True))

instrument = Table(
    "instrument",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", _Name, nullable=False, unique=True),
    Column("definition", JsonText, nullable=False),
    Column("source", Text, nullable=False),
    Column("updated", BigInteger, nullable=False),
)

detector = Table(
    "detector",
    metadata,
    Column("instrument_id", _Id, _ref("instrument.id"), primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", _Name, nullable=False),
    Column("name_in_raft", _Name),
    Column("raft", _Name),
    Column("purpose", _Name),
    Column("geometry", JsonText),
    UniqueConstraint("instrument_id", "name"),
)

physical_filter = Table(
    "physical_filter",
    metadata,
    Column("instrument_id", _Id, _ref("instrument.id"), primary_key=True),
    Column("name", _Name, primary_key=True),
    Column("band", _Name),
)

exposure = Table(
    "exposure",
    metadata,
    Column("instrument_id", _Id, _ref("instrument.id"), primary_key=True),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("obs_id", _Name, nullable=False),
    Column("day_obs", Integer, nullable=False),
    Column("seq_num", BigInteger, nullable=False),
    Column("begin_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
    Column("observation_type", _Name, nullable=False),
    Column("physical_filter", _Name, nullable=False),
    Column("band", _Name),
    Column("exposure_time", Float(53)),
    Column("dark_time", Float(53)),
    Column("observation_reason", _Name),
    Column("target_name", _Name),
    Column("science_program", _Name),
    Column("group_name", _Name),
    Column("can_see_sky", Boolean),
    Column("tracking_ra", Float(53)),
    Column("tracking_dec", Float(53)),
    Column("azimuth", Float(53)),
    Column("zenith_angle", Float(53)),
    Column("has_simulated", Boolean, nullable=False),
    Column("extra", JsonText, nullable=False),
    UniqueConstraint("instrument_id", "obs_id"),
    CheckConstraint("begin_ns < end_ns", name="span"),
    ForeignKeyConstraint(
        ["instrument_id", "physical_filter"],
        ["physical_filter.instrument_id", "physical_filter.name"],
        name="fk_exposure_filter",
    ),
    Index("ix_exposure_type_day", "instrument_id", "observation_type", "day_obs"),
    Index("ix_exposure_day", "instrument_id", "day_obs"),
)

collection = Table(
    "collection",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", _Name, nullable=False, unique=True),
    Column("type", String(16), nullable=False),
    Column("doc", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("state", String(16)),
    Column("facts", JsonText),
    CheckConstraint("type IN ('RUN', 'TAGGED', 'CALIBRATION', 'CHAINED')", name="type"),
)

chain = Table(
    "chain",
    metadata,
    Column("parent_id", _Id, _ref("collection.id", cascade=True), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("child_id", _Id, _ref("collection.id"), nullable=False, index=True),
    UniqueConstraint("parent_id", "child_id"),
)

# Byte layouts of raw files: those of one camera are mostly the same, so they are kept once.
layout = Table(
    "layout",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("content", JsonText, nullable=False),
)

raw = Table(
    "raw",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("instrument_id", _Id, nullable=False),
    Column("exposure", BigInteger, nullable=False),
    Column("detector", Integer, nullable=False),
    Column("run_id", _Id, _ref("collection.id"), nullable=False),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("checksum", String(80), nullable=False),
    Column("layout_id", _Id, _ref("layout.id"), nullable=False),
    ForeignKeyConstraint(
        ["instrument_id", "exposure"],
        ["exposure.instrument_id", "exposure.id"],
        name="fk_raw_exposure",
    ),
    ForeignKeyConstraint(
        ["instrument_id", "detector"],
        ["detector.instrument_id", "detector.id"],
        name="fk_raw_detector",
    ),
    # The run comes first: an index of its own would tempt SQLite to walk through a whole run.
    UniqueConstraint("run_id", "instrument_id", "exposure", "detector"),
    Index("ix_raw_exposure", "instrument_id", "exposure", "detector"),
)

raw_tag = Table(
    "raw_tag",
    metadata,
    Column("collection_id", _Id, _ref("collection.id", cascade=True), primary_key=True),
    Column("instrument_id", _Id, primary_key=True),
    Column("exposure", BigInteger, primary_key=True, autoincrement=False),
    Column("detector", Integer, primary_key=True, autoincrement=False),
    Column("raw_id", _Id, _ref("raw.id"), nullable=False, index=True),
)

dataset_type = Table(
    "dataset_type",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", _Name, nullable=False, unique=True),
    Column("dimensions", Text, nullable=False),
    Column("is_calibration", Boolean, nullable=False),
)

dataset = Table(
    "dataset",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("type_id", _Id, _ref("dataset_type.id"), nullable=False),
    Column("run_id", _Id, _ref("collection.id"), nullable=False),
    Column("data_key", _Name, nullable=False),
    Column("instrument_id", _Id, _ref("instrument.id"), nullable=False),
    Column("exposure", BigInteger),
    Column("detector", Integer),
    Column("physical_filter", _Name),
    Column("path", Text, nullable=False),
    Column("checksum", String(80), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("stored", Boolean, nullable=False),
    Column("provenance", JsonText, nullable=False),
    UniqueConstraint("run_id", "type_id", "data_key"),
    Index("ix_dataset_type", "type_id", "data_key"),
)

tag = Table(
    "tag",
    metadata,
    Column("collection_id", _Id, _ref("collection.id", cascade=True), primary_key=True),
    Column("type_id", _Id, _ref("dataset_type.id"), primary_key=True),
    Column("data_key", _Name, primary_key=True),
    Column("dataset_id", _Id, _ref("dataset.id"), nullable=False, index=True),
)

certification = Table(
    "certification",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("collection_id", _Id, _ref("collection.id", cascade=True), nullable=False),
    Column("type_id", _Id, _ref("dataset_type.id"), nullable=False),
    Column("data_key", _Name, nullable=False),
    Column("dataset_id", _Id, _ref("dataset.id"), nullable=False, index=True),
    Column("begin_ns", BigInteger),
    Column("end_ns", BigInteger),
    Column("verdict", Text),
    Column("reason", Text),
    Column("created", BigInteger, nullable=False),
    CheckConstraint("begin_ns < end_ns", name="span"),
    Index("ix_certification_place", "collection_id", "type_id", "data_key", "begin_ns"),
)

# Provenance outlives what it names, so it holds no foreign key to raws or to other datasets.
used_raw = Table(
    "used_raw",
    metadata,
    Column("dataset_id", _Id, _ref("dataset.id", cascade=True), primary_key=True),
    Column("instrument_id", _Id, _ref("instrument.id"), primary_key=True),
    Column("exposure", BigInteger, primary_key=True, autoincrement=False),
    Column("detector", Integer, primary_key=True, autoincrement=False),
    Column("checksum", String(80), nullable=False),
    Index("ix_used_raw_exposure", "instrument_id", "exposure", "detector"),
)

used_dataset = Table(
    "used_dataset",
    metadata,
    Column("dataset_id", _Id, _ref("dataset.id", cascade=True), primary_key=True),
    Column("input_uuid", String(36), primary_key=True, index=True),
)

# What it is about may be gone, or not there yet: names and numbers, no foreign keys but one.
waiver = Table(
    "waiver",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("product", _Name, nullable=False),
    Column("test", _Name, nullable=False),
    Column("instrument_id", _Id, _ref("instrument.id"), nullable=False),
    Column("detector", Integer),
    Column("amp", _Name),
    Column("exposure", BigInteger),
    Column("physical_filter", _Name),
    Column("candidate", String(80)),
    Column("category", String(32), nullable=False),
    Column("comment", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("reference", Text),
    Column("created", BigInteger, nullable=False),
    Column("expires_ns", BigInteger),
    Column("revoked", BigInteger),
    Column("revoked_by", Text),
    Column("revoked_comment", Text),
    CheckConstraint(
        "category IN ('permanent', 'uncorrectable', 'below-science-impact', 'threshold-wrong')",
        name="category",
    ),
    Index("ix_waiver_product", "instrument_id", "product"),
)

# No two ranges of one place may overlap, whatever program writes them: an exclusion constraint on
# PostgreSQL, triggers on SQLite, which has one writer at a time.
_OVERLAP = """
    FROM certification AS held
    WHERE held.collection_id = NEW.collection_id AND held.type_id = NEW.type_id
      AND held.data_key = NEW.data_key AND held.id IS NOT NEW.id
      AND (held.begin_ns IS NULL OR NEW.end_ns IS NULL OR held.begin_ns < NEW.end_ns)
      AND (NEW.begin_ns IS NULL OR held.end_ns IS NULL OR NEW.begin_ns < held.end_ns)
"""
SQLITE_OVERLAP_TRIGGERS = tuple(
    f"CREATE TRIGGER certification_overlap_{when.lower()} AFTER {when} ON certification\n"
    f"WHEN EXISTS (SELECT 1 {_OVERLAP})\n"
    "BEGIN SELECT RAISE(ABORT, 'certified ranges overlap'); END"
    for when in ("INSERT", "UPDATE")
)
POSTGRESQL_OVERLAP_CONSTRAINT = (
    "ALTER TABLE certification ADD CONSTRAINT ex_certification_overlap EXCLUDE USING gist ("
    "collection_id WITH =, type_id WITH =, data_key WITH =, int8range(begin_ns, end_ns) WITH &&)"
)


def _statement(text: str, dialect: str) -> ExecutableDDLElement:
    return DDL(text).execute_if(dialect=dialect)  # type: ignore[no-untyped-call]


_extension = _statement("CREATE EXTENSION IF NOT EXISTS btree_gist", "postgresql")
event.listen(metadata, "before_create", _extension)
_constraint = _statement(POSTGRESQL_OVERLAP_CONSTRAINT, "postgresql")
event.listen(certification, "after_create", _constraint)
for _trigger in SQLITE_OVERLAP_TRIGGERS:
    event.listen(certification, "after_create", _statement(_trigger, "sqlite"))
