"""Chains: flattening and search paths (spec 2.2), and changing them (spec 2.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, delete, insert, select

from cpflow.errors import CollectionCycleError, CollectionError, UsageError
from cpflow.registry import schema
from cpflow.registry.collections import (
    Row,
    as_row,
    ensure,
    full,
    matching,
    row_of_type,
    rows_by_name,
)
from cpflow.registry.database import is_one_of, lock_chains
from cpflow.registry.names import is_pattern
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import Collection, CollectionType


class ChainMode(StrEnum):
    """How the children of a chain are changed (spec 2.3)."""

    REDEFINE = "redefine"
    PREPEND = "prepend"
    EXTEND = "extend"
    REMOVE = "remove"
    POP = "pop"


@dataclass(frozen=True, slots=True)
class TreeLine:
    """One line of a printed tree; the children of a chain are not shown a second time."""

    depth: int
    collection: Collection
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Chains:
    """Rows and edges of the part of the chain graph that some collections reach."""

    rows: Mapping[int, Row]
    children: Mapping[int, Sequence[int]]

    def flatten(self, ids: Iterable[int], *, include_chains: bool = False) -> list[Row]:
        """Depth-first in stored order, each at its first occurrence (spec C7)."""
        seen: set[int] = set()
        flat: list[Row] = []
        # An explicit stack: a chain may be nested deeper than Python recurses.
        stack = list(reversed(list(ids)))
        while stack:
            id_ = stack.pop()
            if id_ in seen:
                continue
            seen.add(id_)
            row = self.rows[id_]
            if row.type is not CollectionType.CHAINED or include_chains:
                flat.append(row)
            stack.extend(reversed(self.children.get(id_, ())))
        return flat


def reach(connection: Connection, ids: Iterable[int]) -> Chains:
    """Load everything below the given collections, in one query for the edges."""
    chain, table = schema.chain, schema.collection
    start = sorted(set(ids))
    first = select(table.c.id).where(is_one_of(connection, table.c.id, start))
    below = first.cte("below", recursive=True)
    # UNION drops what was reached before, so a collection on several routes costs one row.
    below = below.union(select(chain.c.child_id).join(below, chain.c.parent_id == below.c.id))
    query = select(table.c.id, table.c.name, table.c.type, table.c.state).join(
        below, below.c.id == table.c.id
    )
    rows = {row.id: as_row(row) for row in connection.execute(query)}
    parents = [row.id for row in rows.values() if row.type is CollectionType.CHAINED]
    children: dict[int, list[int]] = {}
    if parents:
        edges = (
            select(chain.c.parent_id, chain.c.child_id)
            .where(is_one_of(connection, chain.c.parent_id, parents))
            .order_by(chain.c.parent_id, chain.c.position)
        )
        for parent, child in connection.execute(edges):
            children.setdefault(parent, []).append(child)
    return Chains(rows, children)


def search_path(
    connection: Connection, names: Sequence[str] | str, *, include_chains: bool = False
) -> list[Row]:
    """Flatten a search path given by a user (spec C7, C10).

    Raises
    ------
    CollectionError
        If a name is a pattern: a pattern has no order.
    MissingCollectionError
        If a collection does not exist.
    """
    given = [names] if isinstance(names, str) else list(names)
    for name in given:
        if is_pattern(name):
            raise CollectionError(
                f"{name!r} is a pattern, and patterns have no order of search",
                hint="name the collections in the order in which they are to be searched",
            )
    rows = rows_by_name(connection, given)
    ids = [rows[name].id for name in given]
    return reach(connection, ids).flatten(ids, include_chains=include_chains)


def set_children(connection: Connection, parent: int, children: Sequence[int]) -> None:
    """Write the children of a chain; no check."""
    chain = schema.chain
    connection.execute(delete(chain).where(chain.c.parent_id == parent))
    if children:
        rows = [
            {"parent_id": parent, "position": position, "child_id": child}
            for position, child in enumerate(children)
        ]
        connection.execute(insert(chain), rows)


def prepend(
    connection: Connection, parent: str, children: Sequence[str], *, flatten: bool = False
) -> list[str]:
    """Put collections at the front of a chain, which is made if it is missing."""
    return change(connection, parent, children, ChainMode.PREPEND, flatten=flatten)


def change(
    connection: Connection,
    parent: str,
    children: Sequence[str],
    mode: ChainMode,
    *,
    flatten: bool = False,
    doc: str | None = None,
) -> list[str]:
    """Change a chain inside a transaction; see `ChainChanges.change_chain`."""
    if mode is ChainMode.POP:
        return _pop(connection, parent, children)
    lock_chains(connection)
    # The order of the checks is part of the contract (C15): child, parent's type, cycle.
    given = _given(connection, children, mode, flatten)
    if mode is ChainMode.REMOVE:
        row = row_of_type(connection, parent, CollectionType.CHAINED, "change of a chain")
    else:
        row, _ = ensure(connection, parent, CollectionType.CHAINED, doc=doc or "")
    old = [child.id for child in children_of(connection, row.id)]
    if mode is ChainMode.REDEFINE:
        new = given
    elif mode is ChainMode.PREPEND:
        new = [*given, *(child for child in old if child not in given)]
    elif mode is ChainMode.EXTEND:
        new = [*(child for child in old if child not in given), *given]
    else:
        new = [child for child in old if child not in given]
    if row.id in reach(connection, given).rows and mode is not ChainMode.REMOVE:
        raise CollectionCycleError(
            f"{parent} would contain itself",
            hint=f"`cpflow collections REPO --chains inverse-tree {parent}` shows what holds it",
        )
    set_children(connection, row.id, new)
    return [child.name for child in children_of(connection, row.id)]


def _given(
    connection: Connection, names: Sequence[str], mode: ChainMode, flatten: bool
) -> list[int]:
    if not names:
        raise UsageError(
            f"{mode.value} needs at least one child",
            hint="name collections after the chain; `cpflow collections REPO` lists them",
        )
    for name in names:
        if is_pattern(name):
            raise CollectionError(
                f"{name!r} is a pattern, and patterns have no order",
                hint="name the children in the order of search",
            )
    rows = rows_by_name(connection, names)
    ids = [rows[name].id for name in dict.fromkeys(names)]
    if flatten:
        ids = [row.id for row in reach(connection, ids).flatten(ids)]
    return ids


def _pop(connection: Connection, parent: str, positions: Sequence[str]) -> list[str]:
    lock_chains(connection)
    row = row_of_type(connection, parent, CollectionType.CHAINED, "change of a chain")
    old = children_of(connection, row.id)
    out = set()
    for text in positions or ["0"]:
        try:
            position = int(text)
        except ValueError:
            raise UsageError(
                f"pop takes positions, not {text!r}",
                hint=f"0 is the first; --mode remove takes {text!r} out by name",
            ) from None
        if not -len(old) <= position < len(old):
            raise UsageError(
                f"{parent} has {len(old)} children and none at position {position}",
                hint=f"positions are 0 to {len(old) - 1}" if old else "it is empty already",
            )
        out.add(position % len(old))
    kept = [child for i, child in enumerate(old) if i not in out]
    set_children(connection, row.id, [child.id for child in kept])
    return [child.name for child in kept]


def unlink(connection: Connection, ids: Sequence[int]) -> None:
    """Take collections out of every chain."""
    chain = schema.chain
    parents = connection.scalars(
        select(chain.c.parent_id).where(is_one_of(connection, chain.c.child_id, ids)).distinct()
    ).all()
    gone = set(ids)
    for parent in parents:
        left = [child.id for child in children_of(connection, parent) if child.id not in gone]
        set_children(connection, parent, left)


def children_of(connection: Connection, parent: int) -> list[Row]:
    """Return the children of a chain, in order."""
    table, chain = schema.collection, schema.chain
    query = (
        select(table.c.id, table.c.name, table.c.type, table.c.state)
        .join(chain, chain.c.child_id == table.c.id)
        .where(chain.c.parent_id == parent)
        .order_by(chain.c.position)
    )
    return [as_row(row) for row in connection.execute(query)]


class ChainChanges(RegistryPart):
    """Search paths, and changing chains."""

    def change_chain(
        self,
        parent: str,
        children: Sequence[str | int] = (),
        mode: ChainMode | str = ChainMode.REDEFINE,
        *,
        flatten: bool = False,
        doc: str | None = None,
    ) -> list[str]:
        """Define or change a chain, and return its children (spec C12 to C19).

        Parameters
        ----------
        parent : str
            The chain; redefine, prepend and extend make it if it is missing.
        children : sequence
            Names of collections; with ``pop``, positions (default 0).
        mode : ChainMode or str
            ``redefine``, ``prepend``, ``extend``, ``remove`` or ``pop``.
        flatten : bool
            Replace chains among the new children by their leaves.
        doc : str, optional
            Description, for a new chain only.

        Raises
        ------
        MissingCollectionError
            If a child, or a parent that is not made, does not exist.
        CollectionTypeError
            If the parent is not a chain.
        CollectionCycleError
            If the chain would contain itself.
        """
        try:
            chosen = ChainMode(mode)
        except ValueError:
            raise UsageError(
                f"{mode!r} is no way to change a chain", hint=", ".join(ChainMode)
            ) from None
        if flatten and chosen in (ChainMode.REMOVE, ChainMode.POP):
            raise UsageError("--flatten goes with redefine, prepend and extend")
        with self._db.write() as connection:
            given = [str(child) for child in children]
            return change(connection, parent, given, chosen, flatten=flatten, doc=doc)

    def flatten(self, names: str | Sequence[str], *, include_chains: bool = False) -> list[str]:
        """Return the collections that a search path stands for, in order of search (spec C7).

        Raises
        ------
        CollectionError
            If a name is missing or is a pattern.
        """
        with self._db.read() as connection:
            rows = search_path(connection, names, include_chains=include_chains)
        return [row.name for row in rows]

    def collection_tree(self, patterns: str | Sequence[str] | None = None) -> list[TreeLine]:
        """Return the matching collections, each followed by what hangs below it.

        Children are shown whether or not they match.
        """
        with self._db.read() as connection:
            tops = [row.id for row in matching(connection, patterns)]
            reached = reach(connection, tops)
            order = list(reached.rows.values())
            known = {c.id: r for c, r in zip(order, full(connection, order), strict=True)}
        lines: list[TreeLine] = []
        for top in tops:
            # Without the check a chain of diamonds would print exponentially many lines.
            shown: set[int] = set()
            stack = [(top, 0)]
            while stack:
                id_, depth = stack.pop()
                below = reached.children.get(id_, ())
                lines.append(TreeLine(depth, known[id_], bool(below) and id_ in shown))
                if id_ not in shown:
                    shown.add(id_)
                    stack.extend((child, depth + 1) for child in reversed(below))
        return lines
