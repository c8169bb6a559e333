"""What names and values in a query stand for."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Float,
    Text,
    false,
    literal,
    null,
    true,
)

from cpflow.errors import QueryError
from cpflow.registry.names import nearest
from cpflow.registry.where.ast import Bind, Name, Node
from cpflow.registry.where.scope import Field, Kind, Scope
from cpflow.timespan import Instant, Timespan

_TYPES: Mapping[Kind, Any] = {
    Kind.INT: BigInteger(),
    Kind.FLOAT: Float(53),
    Kind.STRING: Text(),
    Kind.BOOL: Boolean(),
    Kind.TIME: BigInteger(),
    Kind.UUID: Text(),
}


@dataclass(frozen=True, slots=True)
class Typed:
    """A part of the SQL and its kind; `end` is the other bound of a timespan."""

    sql: ColumnElement[Any]
    kind: Kind
    end: ColumnElement[Any] | None = None


class Resolver:
    """Names and values of one query."""

    def __init__(
        self, text: str, scope: Scope, connection: Connection, binds: Mapping[str, Any]
    ) -> None:
        self.text, self.scope, self.connection, self.binds = text, scope, connection, binds

    def error(self, message: str, node: Node, hint: str | None = None) -> QueryError:
        """Return an error that points at a node."""
        return QueryError(message, text=self.text, column=node.at, hint=hint)

    def name(self, node: Name) -> Typed:
        """Return the column that a name stands for."""
        parts = node.text.split(".")
        if len(parts) == 1:
            field = self.bare(node)
        else:
            field, parts = self.dotted(node, parts)
        bounds = parts[2:] if len(parts) > 2 else []
        if not bounds:
            return Typed(field.column, field.kind, field.end)
        if field.kind is not Kind.SPAN or field.end is None or bounds not in (["begin"], ["end"]):
            raise self.unknown(node)
        return Typed(field.column if bounds == ["begin"] else field.end, Kind.TIME)

    def bare(self, node: Name) -> Field:
        """Find a name without an element (spec W16, W18)."""
        if node.text in self.scope.keys:
            return self.scope.keys[node.text]
        owners = self.scope.owners(node.text)
        if not owners:
            raise self.unknown(node)
        fields = {id(self.scope.elements[owner][node.text].column) for owner in owners}
        if len(fields) > 1:
            candidates = ", ".join(f"{owner}.{node.text}" for owner in owners)
            raise self.error(f"{node.text!r} could be any of {candidates}", node, "name one")
        return self.scope.elements[owners[0]][node.text]

    def dotted(self, node: Name, parts: list[str]) -> tuple[Field, list[str]]:
        """Find ``element.field`` (spec W17)."""
        element, field = parts[:2]
        if element in self.scope.elements and field in self.scope.elements[element]:
            return self.scope.elements[element][field], parts
        if len(parts) == 2 and field in ("begin", "end"):
            # A timespan that stands bare: `timespan.begin`.
            return self.bare(Name(element, node.at)), ["", *parts]
        raise self.unknown(node)

    def unknown(self, node: Name) -> QueryError:
        """Return the error for a name that is not known."""
        return self.error(
            f"{node.text!r} is no name that a query for {self.scope.what} knows",
            node,
            nearest(node.text, dict.fromkeys(self.scope.known())) or self.other_meaning(node),
        )

    def other_meaning(self, node: Name) -> str:
        """Say what a word may be that is like no name: a string without quotes, mostly."""
        before = self.text[: node.at].rstrip()
        if before.endswith(("=", "<", ">")):
            return (
                f"strings take single quotes: '{node.text}'; has the shell taken them away? Put "
                "double quotes around the query"
            )
        fields = ", ".join(sorted({name for name in self.scope.known() if "." not in name}))
        return f"names: {fields}"

    def bound(self, node: Bind) -> Any:
        """Return the value given for a bind."""
        if node.name not in self.binds:
            hint = nearest(node.name, self.binds)
            raise self.error(f"no value is given for :{node.name}", node, hint)
        return self.binds[node.name]

    def python(self, value: Any, node: Node) -> Typed:
        """Take a value of Python."""
        match value:
            case None:
                return Typed(null(), Kind.NULL)
            case bool():
                return Typed(true() if value else false(), Kind.BOOL)
            case int() if -(2**63) <= value < 2**63:
                return self.constant(int(value), Kind.INT)
            case float() if value - value == 0.0:
                return self.constant(float(value), Kind.FLOAT)
            case str() if "\0" not in value:
                return self.constant(str(value), Kind.STRING)
            case Instant():
                return self.constant(value.tai, Kind.TIME)
            case Timespan():
                begin, end = literal(value.begin, BigInteger()), literal(value.end, BigInteger())
                return Typed(begin, Kind.SPAN, end)
            case uuid.UUID():
                return self.constant(str(value), Kind.UUID)
        shown = repr(value)[:60]
        raise self.error(f"{shown} is no value that a query can compare", node)

    def constant(self, value: Any, kind: Kind) -> Typed:
        """Bind a value of known kind."""
        return Typed(literal(value, _TYPES[kind]), kind)
