"""Collections: registering, reading, listing (spec 2.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from cpflow.errors import CollectionTypeError, MissingCollectionError
from cpflow.registry import schema
from cpflow.registry.database import insert_new, is_one_of
from cpflow.registry.names import (
    MAX_LENGTH,
    check_collection_name,
    glob_regex,
    is_pattern,
    is_text,
    nearest,
)
from cpflow.registry.part import RegistryPart, now
from cpflow.registry.records import Collection, CollectionType, RunState


@dataclass(frozen=True, slots=True)
class Row:
    """What most operations need of a collection."""

    id: int
    name: str
    type: CollectionType
    state: RunState | None


def as_row(row: Any) -> Row:
    """Take a `Row` from a result."""
    state = None if row.state is None else RunState(row.state)
    return Row(row.id, row.name, CollectionType(row.type), state)


def rows_by_name(connection: Connection, names: Iterable[str]) -> dict[str, Row]:
    """Return rows of collections that must exist.

    Raises
    ------
    MissingCollectionError
        If one does not.
    """
    table = schema.collection
    wanted = list(dict.fromkeys(names))
    query = select(table.c.id, table.c.name, table.c.type, table.c.state)
    # Others cannot be names, and drivers choke on some of them.
    asked = [name for name in wanted if len(name) <= MAX_LENGTH and is_text(name)]
    found = {
        row.name: as_row(row)
        for row in connection.execute(query.where(is_one_of(connection, table.c.name, asked)))
    }
    for name in wanted:
        if name not in found:
            _refuse_missing(connection, name)
    return {name: found[name] for name in wanted}


def _refuse_missing(connection: Connection, name: str) -> None:
    known = list(connection.scalars(select(schema.collection.c.name)))
    shown = name if len(name) <= 80 else name[:77] + "..."
    raise MissingCollectionError(
        f"there is no collection {shown!r}",
        hint=nearest(name, known) or "'cpflow collections REPO' lists what there is",
    )


def row_of_type(connection: Connection, name: str, type: CollectionType, operation: str) -> Row:  # noqa: A002
    """Return the row of a collection that must exist and have this type (spec C4, C5).

    Raises
    ------
    MissingCollectionError
        If it does not exist.
    CollectionTypeError
        If it is of another type.
    """
    row = rows_by_name(connection, [name])[name]
    if row.type is not type:
        raise CollectionTypeError(
            f"{operation}: {name} is a {row.type} collection, not {type}",
            hint="'cpflow collections REPO' shows the type of each",
        )
    return row


def ensure(
    connection: Connection,
    name: str,
    type: CollectionType,  # noqa: A002
    *,
    doc: str = "",
    state: RunState | None = None,
    facts: Mapping[str, Any] | None = None,
) -> tuple[Row, bool]:
    """Return the row of a collection, made if it is missing, and whether it was made (spec C3).

    Raises
    ------
    CollectionTypeError
        If the name belongs to a collection of another type.
    """
    table = schema.collection
    query = select(table.c.id, table.c.name, table.c.type, table.c.state).where(
        table.c.name == name
    )
    row = connection.execute(query).first()
    made = False
    if row is None:
        check_collection_name(name)
        if type is CollectionType.RUN and state is None:
            state = RunState.COMPLETE
        values = {
            "name": name,
            "type": type.value,
            "doc": doc,
            "created": now(),
            "state": None if state is None else state.value,
            "facts": None if facts is None else dict(facts),
        }
        # Another process may have made it since.
        made = insert_new(connection, table, [values]) > 0
        row = connection.execute(query).one()
    if row.type != type.value:
        raise CollectionTypeError(
            f"{name} exists as a {row.type} collection and cannot be {type} as well",
            hint="name another collection, or a new one",
        )
    return as_row(row), made


def matching(
    connection: Connection,
    patterns: str | Iterable[str] | None = None,
    types: Iterable[CollectionType] | None = None,
) -> list[Row]:
    """Return collections by name or glob, sorted by name.

    Raises
    ------
    MissingCollectionError
        If a name that is no pattern does not exist.
    """
    table = schema.collection
    query = select(table.c.id, table.c.name, table.c.type, table.c.state).order_by(table.c.name)
    rows = [as_row(row) for row in connection.execute(query)]
    if patterns is not None:
        given = [patterns] if isinstance(patterns, str) else list(patterns)
        rows_by_name(connection, [name for name in given if not is_pattern(name)])
        compiled = [glob_regex(pattern) for pattern in given]
        rows = [row for row in rows if any(p.fullmatch(row.name) for p in compiled)]
    if types is not None:
        wanted = set(types)
        rows = [row for row in rows if row.type in wanted]
    return rows


def full(connection: Connection, rows: Sequence[Row]) -> list[Collection]:
    """Return the public records of some rows."""
    table, chain = schema.collection, schema.chain
    ids = [row.id for row in rows]
    child = table.alias("child")
    edges = (
        select(chain.c.parent_id, child.c.name)
        .join(child, child.c.id == chain.c.child_id)
        .where(is_one_of(connection, chain.c.parent_id, ids))
        .order_by(chain.c.parent_id, chain.c.position)
    )
    children: dict[int, list[str]] = {}
    for parent, name in connection.execute(edges):
        children.setdefault(parent, []).append(name)
    found = {
        row.id: Collection(
            row.name,
            CollectionType(row.type),
            row.doc,
            row.created,
            None if row.state is None else RunState(row.state),
            row.facts or {},
            tuple(children.get(row.id, ())),
        )
        for row in connection.execute(select(table).where(is_one_of(connection, table.c.id, ids)))
    }
    return [found[id_] for id_ in ids]


class Collections(RegistryPart):
    """Registering and listing collections."""

    def register_collection(
        self,
        name: str,
        type: CollectionType | str,  # noqa: A002
        doc: str = "",
        state: RunState | str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> bool:
        """Register a collection; the same name and type again is a no-op (spec C3).

        Parameters
        ----------
        name : str
            Its name; see `cpflow.registry.names`.
        type : CollectionType or str
            One of RUN, TAGGED, CALIBRATION, CHAINED.
        doc : str
            What it is for; kept for a new collection only.
        state, facts : optional
            Of a RUN: how far it came (by default complete) and what is known of it.

        Returns
        -------
        bool
            Whether it was made.

        Raises
        ------
        CollectionTypeError
            If it exists with another type.
        CollectionError
            If the name cannot be used.
        """
        check_collection_name(name)
        chosen = CollectionType(type)
        if state is not None and chosen is not CollectionType.RUN:
            raise CollectionTypeError(f"only a RUN has a state, {name} is {chosen}")
        with self._db.write() as connection:
            _, made = ensure(
                connection,
                name,
                chosen,
                doc=doc,
                state=None if state is None else RunState(state),
                facts=facts,
            )
        return made

    def set_run_state(
        self, run: str, state: RunState | str, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Say how far a RUN came; `facts`, if given, replace what was known of it."""
        table = schema.collection
        with self._db.write() as connection:
            row = row_of_type(connection, run, CollectionType.RUN, "state of a run")
            values: dict[str, Any] = {"state": RunState(state).value}
            if facts is not None:
                values["facts"] = dict(facts)
            connection.execute(update(table).where(table.c.id == row.id).values(**values))

    def set_doc(self, name: str, doc: str) -> None:
        """Replace the description of a collection."""
        table = schema.collection
        with self._db.write() as connection:
            row = rows_by_name(connection, [name])[name]
            connection.execute(update(table).where(table.c.id == row.id).values(doc=doc))

    def collection(self, name: str) -> Collection:
        """Return one collection.

        Raises
        ------
        MissingCollectionError
            If it does not exist.
        """
        with self._db.read() as connection:
            return full(connection, list(rows_by_name(connection, [name]).values()))[0]

    def collections(
        self,
        patterns: str | Sequence[str] | None = None,
        types: Iterable[CollectionType | str] | None = None,
    ) -> list[Collection]:
        """Return collections by name or glob (``*``, ``?``), sorted by name.

        Raises
        ------
        MissingCollectionError
            If a name that is not a pattern does not exist (spec C4).
        """
        wanted = None if types is None else [CollectionType(t) for t in types]
        with self._db.read() as connection:
            return full(connection, matching(connection, patterns, wanted))

    def collection_names(
        self,
        patterns: str | Sequence[str] | None = None,
        types: Iterable[CollectionType | str] | None = None,
    ) -> list[str]:
        """Return the names of `collections`."""
        wanted = None if types is None else [CollectionType(t) for t in types]
        with self._db.read() as connection:
            return [row.name for row in matching(connection, patterns, wanted)]

    def parents(self, name: str) -> list[str]:
        """Return the chains that a collection is a child of, sorted."""
        with self._db.read() as connection:
            row = rows_by_name(connection, [name])[name]
            return parent_names(connection, row.id)


def parent_names(connection: Connection, id_: int) -> list[str]:
    """Names of the chains that hold a collection, sorted."""
    table, chain = schema.collection, schema.chain
    query = select(table.c.name).join(chain, chain.c.parent_id == table.c.id)
    return sorted(connection.scalars(query.where(chain.c.child_id == id_)))
