"""Names from a registry, without SQLAlchemy: importing it takes longer than a TAB may."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

_MOST = 1000
_LOCKED = 0.2
_TABLES = frozenset(("collection", "dataset_type", "instrument", "physical_filter"))


def names_in_registry(root: Path, table: str, begin: str) -> list[str]:
    """Return the names in one table of a repository's registry.

    Parameters
    ----------
    root : path
    table : str
        One that has a column ``name``.
    begin : str
        What the names begin with.

    Raises
    ------
    Exception
        Of any kind, if they cannot be had.
    """
    import yaml

    if table not in _TABLES:
        raise KeyError(table)
    config = yaml.safe_load((root / "cpflow.yaml").read_text())
    url = config.get("registry") or f"sqlite:///{root.absolute() / 'registry.sqlite'}"
    scheme, _, rest = str(url).partition("://")
    if scheme.startswith("postgresql"):
        return _from_postgresql(f"postgresql://{rest}", table, begin)
    return _from_sqlite(Path(rest.removeprefix("/")), table, begin)


def _query(table: str, mark: str) -> str:
    # The table is one of those above. PostgreSQL asks which type an argument is of.
    text = f"CAST({mark} AS TEXT)"
    return (
        f"SELECT DISTINCT name FROM {table} "  # noqa: S608
        f"WHERE substr(name, 1, length({text})) = {text} ORDER BY name LIMIT {_MOST}"
    )


def _from_sqlite(path: Path, table: str, begin: str) -> list[str]:
    import sqlite3
    from contextlib import closing

    address = f"file:{quote(str(path))}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=_LOCKED)) as connection:
        return [row[0] for row in connection.execute(_query(table, "?1"), (begin,))]


def _from_postgresql(url: str, table: str, begin: str) -> list[str]:
    import psycopg

    with psycopg.connect(url, connect_timeout=1) as connection:
        rows = connection.execute(_query(table, "%(begin)s"), {"begin": begin})
        return [row[0] for row in rows]
