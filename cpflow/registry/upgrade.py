"""Running migrations."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import text

from cpflow.errors import UsageError
from cpflow.registry.database import Database

logger = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(database: Database, migrations: Path = MIGRATIONS) -> None:
    """Bring a registry up to the newest schema: all steps in one transaction, or none.

    Raises
    ------
    UsageError
        If a step leaves rows that refer to nothing.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    with database.without_foreign_keys(), database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if database.dialect == "sqlite":
            # Tables that were copied and renamed were not checked on the way.
            broken = connection.execute(text("PRAGMA foreign_key_check")).all()
            if broken:
                raise UsageError(f"the upgrade would break {len(broken)} references; none was made")
    logger.info("the registry is up to date")
