"""The safe insert: absent, insert; the same, nothing; different, refuse or update (spec D5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, and_, select, update

from cpflow.errors import ConflictError
from cpflow.registry.database import insert_new

Changes = dict[str, tuple[Any, Any]]


def compare(stored: Mapping[str, Any], given: Mapping[str, Any]) -> Changes:
    """Return the columns of `given` that differ, as (stored, given)."""
    return {
        column: (stored.get(column), value)
        for column, value in given.items()
        if not _same(stored.get(column), value)
    }


def describe(changes: Changes) -> str:
    """Write differing columns for an error message."""
    return "; ".join(
        f"{column} is {_short(old)}, given {_short(new)}" for column, (old, new) in changes.items()
    )


def sync(
    connection: Connection,
    table: Table,
    key: Mapping[str, Any],
    values: Mapping[str, Any],
    what: str,
    *,
    overwrite: bool = False,
    fill: bool = False,
    hint: str | None = None,
) -> tuple[str, Changes]:
    """Make one row say what is given.

    Parameters
    ----------
    connection : Connection
        In a write transaction.
    table : Table
        Where the row lies.
    key, values : mapping
        Columns that identify the row, and the others.
    what : str
        Name of the row in messages.
    overwrite : bool
        Whether a row that differs is changed.
    fill : bool
        Whether None means "not known": it differs from nothing, and is filled in.
    hint : str, optional
        What to do about a row that differs.

    Returns
    -------
    tuple
        ``added``, ``already`` or ``updated``, and the columns that were changed.

    Raises
    ------
    ConflictError
        If the stored row differs and `overwrite` is false.
    """
    condition = and_(*(table.c[name] == value for name, value in key.items()))
    wanted = select(*(table.c[name] for name in values)).where(condition)
    row = connection.execute(wanted).mappings().first()
    state = "already"
    if row is None:
        if insert_new(connection, table, [{**key, **values}]):
            state = "added"
        row = connection.execute(wanted).mappings().first()
        if row is None:
            raise ConflictError(f"{what} clashes with another record", hint=hint)
    if fill:
        values = {column: value for column, value in values.items() if value is not None}
    changes = compare(dict(row), values)
    if not changes:
        return state, {}
    if not overwrite and not (fill and all(old is None for old, _ in changes.values())):
        raise ConflictError(f"{what} is known and differs: {describe(changes)}", hint=hint)
    changed = {column: values[column] for column in changes}
    connection.execute(update(table).where(condition).values(**changed))
    return "updated", changes


def _same(a: Any, b: Any) -> bool:
    # NaN says "no value" in a geometry and equals itself here.
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b) or bool(a != a and b != b)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
