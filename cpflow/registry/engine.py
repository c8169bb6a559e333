"""Engines for the two databases, and their errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import ConnectionPoolEntry

from cpflow.errors import AccessError, ConflictError, CpflowError, StorageError, UsageError
from cpflow.permissions import owned

_DIALECTS = ("sqlite", "postgresql")
# What PostgreSQL says of a role that lacks a privilege, and of a server that only reads.
_NO_PRIVILEGE, _READ_ONLY = "42501", "25006"
_DEADLOCK = "40P01"


def as_url(url_or_path: str | Path) -> URL:
    """Return the address of a database.

    Raises
    ------
    UsageError
        If it is not one that a registry can have.
    """
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


def lasting_url(url: str) -> str:
    """Return the URL of a database as a repository keeps it: the same from every directory.

    Raises
    ------
    UsageError
        If it is not one that a registry can have.
    """
    if "://" not in url:
        raise UsageError(
            f"{url!r} is not the URL of a database",
            hint="sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME; without one the registry "
            "is a file of the repository",
        )
    found = as_url(url)
    if found.get_backend_name() != "sqlite":
        return url
    return str(found.set(database=str(Path(found.database or "").absolute())))


def sqlite_engine(url: URL, timeout: float, *, create: bool) -> Engine:
    """Return an engine for a file, which must exist unless it may be made."""
    path = Path(url.database or "").absolute()
    if not create and not path.is_file():
        raise UsageError(f"there is no registry at {path}", hint="make one with 'cpflow init'")
    engine = create_engine(
        URL.create("sqlite", database=str(path)), connect_args={"timeout": timeout}
    )

    def connected(connection: Any, record: ConnectionPoolEntry) -> None:
        # The driver must not begin transactions by itself: `begun` does, with the right lock.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")

    def begun(connection: Connection) -> None:
        write = connection.get_execution_options().get("cpflow_write", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine


def postgresql_engine(url: URL, timeout: float) -> Engine:
    """Return an engine for a server."""
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
def translated(url: URL, timeout: float) -> Iterator[None]:
    """Turn what the driver raises into errors that say what to do."""
    where = url.render_as_string(hide_password=True)
    try:
        yield
    except exc.IntegrityError as error:
        # Every operation checks first; this is what a race or a foreign program leaves over.
        raise ConflictError(f"the registry refused the change: {error.orig}") from error
    except exc.OperationalError as error:
        reason = str(error.orig).strip()
        if getattr(error.orig, "sqlstate", None) == _DEADLOCK:
            raise CpflowError(
                f"two processes waited for each other in the registry {where}; nothing was changed",
                hint="give the same command again",
            ) from error
        if "locked" in reason or "lock timeout" in reason:
            raise CpflowError(
                f"the registry {where} was locked for {timeout:g} s",
                hint="another process is writing, or the file lies on a network file system",
            ) from error
        if "is full" in reason or "disk I/O error" in reason or "No space left" in reason:
            raise StorageError(
                f"the registry {where} cannot be used: {reason}",
                hint="see whether its disk is full, make some room, and run the same command again",
            ) from error
        if "readonly database" in reason or "unable to open database file" in reason:
            raise AccessError(
                f"the registry {where} cannot be used: {reason}{owned(Path(url.database or ''))}",
                hint="who only reads it has to write beside it, too. `cpflow init REPO --shared "
                "GROUP` gives it to a group; PostgreSQL lets others read",
            ) from error
        server = url.get_backend_name() == "postgresql"
        raise CpflowError(
            f"the registry {where} cannot be used: {reason}",
            hint="see whether the server runs and lets you in: pg_isready, psql"
            if server
            else "`cpflow doctor` looks closer",
        ) from error
    except exc.DatabaseError as error:
        state = getattr(error.orig, "sqlstate", None)
        if state in (_NO_PRIVILEGE, _READ_ONLY):
            raise AccessError(
                f"the registry {where} refuses: {str(error.orig).splitlines()[0]}",
                hint="the server only reads: name the one that writes"
                if state == _READ_ONLY
                else "a role needs what the owner of the tables may: GRANT owner TO role; see "
                "configs/clusters/README.md",
            ) from error
        if "not a database" in str(error.orig) or "malformed" in str(error.orig):
            raise CpflowError(
                f"{where} is not a sound registry: {error.orig}",
                hint="bring the database back from a backup",
            ) from error
        raise
