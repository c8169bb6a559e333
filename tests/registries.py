"""Registries to test: SQLite always, PostgreSQL where $CPFLOW_TEST_POSTGRESQL names a server."""

from __future__ import annotations

import atexit
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cpflow.exposure import Exposure, RawFile
from cpflow.registry import (
    DataId,
    DatasetRef,
    DetectorRecord,
    FilterRecord,
    Lineage,
    Registry,
    Waiver,
)
from cpflow.timespan import DAY, SECOND, Timespan, from_iso

CAM = "TestCam"
TYPES = {
    "camera": ("instrument",),
    "bias": ("instrument", "detector"),
    "dark": ("instrument", "detector"),
    "flat": ("instrument", "detector", "physical_filter"),
}


def prepare(registry: Registry, detectors: int = 4) -> None:
    registry.register_instrument(
        CAM,
        {"name": CAM},
        "test",
        detectors=[DetectorRecord(i, f"D{i}", raft=f"R{i // 2}") for i in range(detectors)],
        filters=[FilterRecord("r_1", "r"), FilterRecord("r_2", "r"), FilterRecord("g_1", "g")],
    )
    for name, dimensions in TYPES.items():
        registry.register_dataset_type(name, dimensions)


def tai(text: str) -> int:
    return from_iso(text, "tai")


def span(begin: str | None, end: str | None) -> Timespan:
    return Timespan(None if begin is None else tai(begin), None if end is None else tai(end))


def exposure(day_obs: int = 20210101, seq_num: int = 1, **fields: Any) -> Exposure:
    text = str(day_obs)
    begin = tai(f"{text[:4]}-{text[4:6]}-{text[6:]}") + DAY // 2 + seq_num * 60 * SECOND
    seconds = fields.get("exposure_time") or 0
    values: dict[str, Any] = {
        "instrument": CAM,
        "exposure": day_obs * 100000 + seq_num,
        "obs_id": f"T_{day_obs}_{seq_num:05d}",
        "day_obs": day_obs,
        "seq_num": seq_num,
        "timespan": Timespan(begin, begin + int(seconds * SECOND)),
        "observation_type": "bias",
        "physical_filter": "r_1",
        "band": "r",
        **fields,
    }
    return Exposure(**values)


def raw(of: Exposure, detector: int = 0, **fields: Any) -> RawFile:
    values: dict[str, Any] = {
        "instrument": of.instrument,
        "exposure": of.exposure,
        "detector": detector,
        "path": f"/data/{of.exposure}_{detector}.fits",
        "size": 1000,
        "checksum": f"sha256:{of.exposure:056x}{detector:08x}",
        "layout": {"hdus": [0, 2880]},
        **fields,
    }
    return RawFile(**values)


def add_exposures(
    registry: Registry, exposures: Sequence[Exposure], detectors: Sequence[int] = (0,)
) -> None:
    for one in exposures:
        registry.add_exposure(one, [raw(one, d) for d in detectors], f"{CAM}/raw/all")


def ref(run: str, type: str = "bias", detector: int | None = 0, **fields: Any) -> DatasetRef:  # noqa: A002
    physical_filter = fields.pop("physical_filter", None)
    if type == "flat" and physical_filter is None:
        physical_filter = "r_1"
    identity = fields.pop("id", None) or str(uuid.uuid4())
    return DatasetRef(
        id=identity,
        type=type,
        data_id=DataId(CAM, detector, physical_filter),
        run=run,
        path=f"{run}/{type}_{detector}_{physical_filter}",
        checksum="sha256:" + "0" * 64,
        size=10,
        **fields,
    )


def make(
    registry: Registry,
    run: str,
    type: str = "bias",  # noqa: A002
    detectors: Sequence[int] = (0,),
    lineage: Lineage | None = None,
    **fields: Any,
) -> list[DatasetRef]:
    """Publish one dataset per detector in a run."""
    refs = [ref(run, type, d, **fields) for d in detectors]
    lineages = {} if lineage is None else {one.id: lineage for one in refs}
    return registry.publish(run, refs, lineages=lineages)


def waive(registry: Registry, **fields: Any) -> Waiver:
    """Document a failed test; by default NOISE of all biases, for ever."""
    values: dict[str, Any] = {
        "product": "bias",
        "test": "NOISE",
        "instrument": CAM,
        "category": "permanent",
        "comment": "a noisy amplifier",
        "author": "me",
        **fields,
    }
    return registry.add_waiver(**values)


KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@contextmanager
def address(kind: str, directory: Path, *, shared: bool = True) -> Iterator[str]:
    """URL of an empty database, which is dropped or emptied afterwards.

    Making a database takes a PostgreSQL server half a second, so those that are `shared` are one,
    emptied before each use: at most one of them can be open in a process.
    """
    if kind == "sqlite":
        yield f"sqlite:///{directory / 'registry.sqlite'}"
    elif shared:
        url = _shared_database()
        _execute(url, _OTHERS, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        yield url
    else:
        with postgresql_database() as url:
            yield url


@contextmanager
def postgresql_database() -> Iterator[str]:
    """URL of an empty database of its own; the test is skipped without a server."""
    url = _new_database()
    try:
        yield url
    finally:
        _drop(url)


_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid != pg_backend_pid()"
)


def _server() -> str:
    server = os.environ.get("CPFLOW_TEST_POSTGRESQL")
    if not server:
        pytest.skip("no PostgreSQL server ($CPFLOW_TEST_POSTGRESQL; tests/servers/postgresql.sh)")
    return server


@cache
def _shared_database() -> str:
    url = _new_database()
    atexit.register(_drop, url)
    return url


def _new_database() -> str:
    from sqlalchemy import make_url

    server, name = _server(), f"t{uuid.uuid4().hex}"
    _execute(server, f"CREATE DATABASE {name}")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _drop(url: str) -> None:
    from sqlalchemy import make_url

    _execute(_server(), f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


def _execute(url: str, *statements: str) -> None:
    from sqlalchemy import create_engine, text

    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
