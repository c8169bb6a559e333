"""The database: connections, transactions and locks, for SQLite and PostgreSQL alike.

A write transaction on SQLite begins with the write lock (``BEGIN IMMEDIATE``), so a check and the
insert that rests on it see the same rows. On PostgreSQL the same holds for what `lock` named.
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
    Engine,
    Table,
    any_,
    create_engine,
    event,
    exc,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import ConnectionPoolEntry

from cpflow.errors import ConflictError, CpflowError, UsageError
from cpflow.registry import schema

# Any number that is the same in every process: "cpflow" in ASCII.
_CHAIN_LOCK = 0x6370666C6F77
_DIALECTS = ("sqlite", "postgresql")


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
        self.url = _as_url(url_or_path)
        self.timeout = timeout
        self.dialect = self.url.get_backend_name()
        if self.dialect == "sqlite":
            self.engine = _sqlite_engine(self.url, timeout, create)
        else:
            self.engine = _postgresql_engine(self.url, timeout)
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
        with _translated(self), self.engine.connect() as bare:
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


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows whose unique columns are not there yet; leave the others alone."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert

        connection.execute(postgresql_insert(table).on_conflict_do_nothing(), list(rows))
    else:
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        connection.execute(sqlite_insert(table).on_conflict_do_nothing(), list(rows))


def _as_url(url_or_path: str | Path) -> URL:
    shown = str(url_or_path)
    if isinstance(url_or_path, str) and "://" in shown:
        try:
            url = make_url(shown)
        except exc.ArgumentError:
            raise UsageError("the address of the registry is not a URL") from None
        if url.get_backend_name() not in _DIALECTS:
            raise UsageError(
                f"no registry in {url.get_backend_name()!r}",
                hint="use a file, sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME",
            )
        if url.get_backend_name() == "postgresql":
            return url.set(drivername="postgresql+psycopg")
    else:
        url = URL.create("sqlite", database=shown)
    if not url.database or url.database == ":memory:":
        raise UsageError("the registry needs a file: several processes share it")
    return url


def _sqlite_engine(url: URL, timeout: float, create: bool) -> Engine:
    path = Path(url.database or "").absolute()
    if not create and not path.is_file():
        raise UsageError(f"there is no registry at {path}", hint="make one with 'cpflow init'")
    engine = create_engine(
        URL.create("sqlite", database=str(path)), connect_args={"timeout": timeout}
    )

    def connected(connection: Any, record: ConnectionPoolEntry) -> None:
        # The driver must not begin transactions by itself: `begun` does, with the right lock.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    def begun(connection: Connection) -> None:
        write = connection.get_execution_options().get("cpflow_write", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine


def _postgresql_engine(url: URL, timeout: float) -> Engine:
    try:
        return create_engine(
            url,
            connect_args={
                "options": f"-c lock_timeout={int(timeout * 1000)} -c timezone=UTC",
                "connect_timeout": max(2, int(timeout)),
            },
        )
    except ModuleNotFoundError:
        raise UsageError(
            "a PostgreSQL registry needs psycopg", hint="pip install 'cpflow[postgresql]'"
        ) from None


@contextmanager
def _translated(database: Database) -> Iterator[None]:
    """Turn what the driver raises into errors that say what to do."""
    where = database.url.render_as_string(hide_password=True)
    try:
        yield
    except exc.IntegrityError as error:
        # Every operation checks first; this is what a race or a foreign program leaves over.
        raise ConflictError(f"the registry refused the change: {error.orig}") from error
    except exc.OperationalError as error:
        reason = str(error.orig).strip()
        if "locked" in reason or "lock timeout" in reason:
            raise CpflowError(
                f"the registry {where} was locked for {database.timeout:g} s",
                hint="another process is writing, or the file lies on a network file system",
            ) from error
        raise CpflowError(f"the registry {where} cannot be used: {reason}") from error
    except exc.DatabaseError as error:
        if "not a database" in str(error.orig) or "malformed" in str(error.orig):
            raise CpflowError(f"{where} is not a sound registry: {error.orig}") from error
        raise


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
