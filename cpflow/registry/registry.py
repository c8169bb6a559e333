"""The registry: all its parts as one object."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from sqlalchemy import insert, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from cpflow.errors import CpflowError, UsageError
from cpflow.registry import schema
from cpflow.registry.certification import Certifications
from cpflow.registry.certify_from import CertifyFrom
from cpflow.registry.chains import ChainChanges
from cpflow.registry.check import Checking
from cpflow.registry.collections import Collections
from cpflow.registry.curation import Curation
from cpflow.registry.database import Database
from cpflow.registry.datasets import Datasets
from cpflow.registry.explain import Explaining
from cpflow.registry.exposures import ExposureIngest
from cpflow.registry.grouping import Groupings
from cpflow.registry.instruments import Instruments
from cpflow.registry.listing import Listing
from cpflow.registry.lookup import Lookup
from cpflow.registry.output_chain import OutputChains
from cpflow.registry.provenance import Provenance
from cpflow.registry.publication import Publication
from cpflow.registry.raws import Raws
from cpflow.registry.removal import Removals
from cpflow.registry.selection import Selection
from cpflow.registry.tags import Tags
from cpflow.registry.transfer import Transfer
from cpflow.registry.waivers import Waivers


class Registry(
    Instruments,
    ExposureIngest,
    Selection,
    Raws,
    Collections,
    ChainChanges,
    OutputChains,
    Datasets,
    Listing,
    Publication,
    Provenance,
    Certifications,
    CertifyFrom,
    Curation,
    Lookup,
    Explaining,
    Tags,
    Removals,
    Groupings,
    Transfer,
    Waivers,
    Checking,
):
    """Exposures, datasets, collections and certifications of one repository.

    Made by `create` or `open`. An operation is one transaction: it happens or it raises and
    changes nothing. Threads may share an object, processes open their own; a forked process may
    go on with its parent's.

    Parameters
    ----------
    database : Database
        Connections to an existing schema.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    @classmethod
    def create(cls, url_or_path: str | Path, *, timeout: float = 60.0) -> Registry:
        """Make the tables of a new registry.

        Parameters
        ----------
        url_or_path : str or Path
            SQLite file, or ``postgresql+psycopg://USER@HOST/NAME``.
        timeout : float
            Seconds to wait while another process writes.

        Raises
        ------
        UsageError
            If there is one already.
        """
        database = Database(url_or_path, timeout=timeout, create=True)
        try:
            if database.dialect == "sqlite":
                # Kept by the file: readers go on while somebody writes.
                with closing(database.engine.raw_connection()) as raw:
                    raw.cursor().execute("PRAGMA journal_mode = WAL")
            with database.write() as connection:
                if inspect(connection).has_table(schema.VERSION_TABLE):
                    raise UsageError(f"there is a registry at {_shown(database)} already")
                schema.metadata.create_all(connection, checkfirst=False)
                connection.execute(insert(schema.version).values(version_num=schema.VERSION))
        except BaseException:
            database.close()
            raise
        return cls(database)

    @classmethod
    def open(cls, url_or_path: str | Path, *, timeout: float = 60.0) -> Registry:
        """Open an existing registry.

        Raises
        ------
        UsageError
            If there is none, or its schema is of another version of cpflow.
        """
        database = Database(url_or_path, timeout=timeout)
        try:
            _check_version(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    @classmethod
    def upgrade(cls, url_or_path: str | Path, *, timeout: float = 60.0) -> tuple[str, str]:
        """Bring the schema up to date, in place, in one transaction.

        Returns
        -------
        tuple of str
            The version before and after.
        """
        from cpflow.registry.upgrade import upgrade

        database = Database(url_or_path, timeout=timeout)
        try:
            before = stored_version(database)
            if before < schema.VERSION:
                upgrade(database)
            return before, stored_version(database)
        finally:
            database.close()

    @property
    def url(self) -> str:
        """Address of the database, without a password."""
        return self._db.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Give back the connections; the object opens new ones if it is used again."""
        self._db.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Registry {self.url}>"


def _shown(database: Database) -> str:
    return database.url.render_as_string(hide_password=True)


def stored_version(database: Database) -> str:
    """Return the version of the schema that a database has.

    Raises
    ------
    UsageError
        If it holds no registry.
    """
    try:
        with database.read() as connection:
            found = connection.scalar(select(schema.version.c.version_num))
    except (SQLAlchemyError, CpflowError) as error:
        if "no such table" in str(error) or "does not exist" in str(error):
            found = None
        else:
            raise
    if found is None:
        raise UsageError(
            f"there is no registry at {_shown(database)}", hint="make one with 'cpflow init'"
        )
    return str(found)


def _check_version(database: Database) -> None:
    found = stored_version(database)
    if found == schema.VERSION:
        return
    if found < schema.VERSION:
        raise UsageError(
            f"the registry at {_shown(database)} has schema {found}, this cpflow needs "
            f"{schema.VERSION}",
            hint="'cpflow doctor --upgrade REPO' (Registry.upgrade) brings it up to date, in place",
        )
    raise UsageError(
        f"the registry at {_shown(database)} has schema {found}, newer than this cpflow's "
        f"{schema.VERSION}",
        hint="use a newer cpflow",
    )
