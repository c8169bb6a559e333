"""The tree of a parsed query. `at` is the position in the text, for messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Name:
    """A dimension or field: ``exposure``, ``exposure.day_obs``, ``exposure.timespan.begin``."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A value; None is NULL."""

    value: str | int | float | bool | None
    at: int


@dataclass(frozen=True, slots=True)
class Time:
    """An instant, in TAI nanoseconds."""

    tai: int
    at: int


@dataclass(frozen=True, slots=True)
class Range:
    """Integers from `first` to `last`, both included, in steps."""

    first: int
    last: int
    step: int
    at: int


@dataclass(frozen=True, slots=True)
class Bind:
    """A value that Python gives."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Two bounds of a timespan."""

    first: Node
    second: Node
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """``GLOB(column, pattern)`` or ``UUID(text)``."""

    function: str
    arguments: tuple[Node, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Unary:
    """A sign or NOT."""

    operator: str
    operand: Node
    at: int


@dataclass(frozen=True, slots=True)
class Binary:
    """A comparison, an arithmetic operation, or OVERLAPS."""

    operator: str
    left: Node
    right: Node
    at: int


@dataclass(frozen=True, slots=True)
class In:
    """Membership in a list."""

    operand: Node
    items: tuple[Node, ...]
    negated: bool
    at: int


@dataclass(frozen=True, slots=True)
class Logic:
    """AND or OR of two terms or more."""

    operator: str
    terms: tuple[Node, ...]
    at: int


Node = Name | Literal | Time | Range | Bind | Pair | Call | Unary | Binary | In | Logic


@dataclass(frozen=True, slots=True)
class Where:
    """A parsed query; `tree` is None for the empty one, which restricts nothing."""

    text: str
    tree: Node | None

    def names(self) -> Iterator[Name]:
        """Yield every name in the query."""
        stack = [] if self.tree is None else [self.tree]
        while stack:
            node = stack.pop()
            if isinstance(node, Name):
                yield node
            stack.extend(children(node))


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes right below one."""
    match node:
        case Pair(first, second) | Binary(_, first, second):
            return (first, second)
        case Call(_, arguments):
            return arguments
        case Unary(_, operand):
            return (operand,)
        case In(operand, items):
            return (operand, *items)
        case Logic(_, terms):
            return terms
        case _:
            return ()
