"""The database: connections, transactions and locks, for SQLite and PostgreSQL alike.

A write transaction on SQLite begins with the write lock (``BEGIN IMMEDIATE``), so a check and the
insert that rests on it see the same rows. On PostgreSQL `lock_chains` and `lock_collections` do the
same for what they name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Table,
    any_,
    event,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.pool import ConnectionPoolEntry

from cpflow.registry import schema
from cpflow.registry.engine import as_url, postgresql_engine, sqlite_engine, translated

# Any number that is the same in every process: "cpflow" in ASCII.
_CHAIN_LOCK = 0x6370666C6F77


class Database:
    """Engine and transactions of one registry.

    Parameters
    ----------
    url_or_path : str or Path
        A file, ``sqlite:///FILE``, or ``postgresql+psycopg://USER@HOST/NAME``.
    timeout : float
        Seconds to wait for another process's write on SQLite, or for a lock on PostgreSQL.
    create : bool
        Whether a missing SQLite file may be made.
    """

    def __init__(
        self, url_or_path: str | Path, *, timeout: float = 60.0, create: bool = False
    ) -> None:
        self.url: URL = as_url(url_or_path)
        self.timeout = timeout
        self.dialect = self.url.get_backend_name()
        if self.dialect == "sqlite":
            self.engine = sqlite_engine(self.url, timeout, create=create)
        else:
            self.engine = postgresql_engine(self.url, timeout)
        self._pid = os.getpid()

    @property
    def path(self) -> Path | None:
        """File of an SQLite registry."""
        return Path(self.url.database or "") if self.dialect == "sqlite" else None

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view of the registry."""
        with self._begin(write=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: all of it or nothing."""
        with self._begin(write=True) as connection:
            yield connection

    @contextmanager
    def without_foreign_keys(self) -> Iterator[None]:
        """Let SQLite copy and rename tables that others refer to; it must be alone in this."""
        if self.dialect != "sqlite":
            yield
            return

        def relaxed(connection: Any, record: ConnectionPoolEntry) -> None:
            connection.execute("PRAGMA foreign_keys = OFF")

        # The setting belongs to a connection and cannot change inside a transaction.
        self.engine.dispose()
        event.listen(self.engine, "connect", relaxed)
        try:
            yield
        finally:
            event.remove(self.engine, "connect", relaxed)
            self.engine.dispose()

    @contextmanager
    def _begin(self, *, write: bool) -> Iterator[Connection]:
        if os.getpid() != self._pid:
            # A fork must not share its parent's connections.
            self.engine.dispose(close=False)
            self._pid = os.getpid()
        with translated(self.url, self.timeout), self.engine.connect() as bare:
            connection = bare.execution_options(**self._options(write))
            with connection.begin():
                yield connection

    def _options(self, write: bool) -> dict[str, Any]:
        if self.dialect == "sqlite":
            return {"cpflow_write": write}
        # A reader sees one snapshot through all its statements, as it does on SQLite.
        return {"isolation_level": "READ COMMITTED" if write else "REPEATABLE READ"}


def lock_chains(connection: Connection) -> None:
    """Let one transaction at a time change the shape of chains.

    A lock on the parent alone would let two changes close a cycle between them (spec C16).
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHAIN_LOCK})


def lock_collections(connection: Connection, ids: Sequence[int]) -> None:
    """Let one transaction at a time change these collections; taken in order, so no deadlock."""
    if connection.dialect.name == "postgresql" and ids:
        table = schema.collection
        connection.execute(
            select(table.c.id).where(table.c.id.in_(ids)).order_by(table.c.id).with_for_update()
        ).all()


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert rows whose unique columns are not there yet, and return how many were."""
    if not rows:
        return 0
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert

        # Of rows that go in together the driver does not say how many there were.
        key = next(iter(table.primary_key))
        added = postgresql_insert(table).on_conflict_do_nothing().returning(key)
        return len(connection.execute(added, list(rows)).all())
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return connection.execute(sqlite_insert(table).on_conflict_do_nothing(), list(rows)).rowcount


def is_one_of(connection: Connection, column: Any, values: Collection[Any]) -> ColumnElement[bool]:
    """Compare a column with any number of values; drivers limit how many parameters they take."""
    given = sorted(values)
    if len(given) <= 200:
        condition: ColumnElement[bool] = column.in_(given)
        return condition
    if connection.dialect.name == "postgresql":
        array = literal(given, ARRAY(column.type))
        return cast("ColumnElement[bool]", column == any_(array))
    listed = func.json_each(json.dumps(given)).table_valued("value")
    return cast("ColumnElement[bool]", column.in_(select(listed.c.value)))
