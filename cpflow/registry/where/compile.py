"""From tree to SQL: names resolved, kinds checked, values bound."""

from __future__ import annotations

import operator
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Float,
    Text,
    and_,
    cast,
    false,
    func,
    literal,
    not_,
    or_,
    true,
)
from sqlalchemy.ext.compiler import compiles

from cpflow.registry.database import is_one_of
from cpflow.registry.names import nearest
from cpflow.registry.where.ast import (
    Binary,
    Bind,
    Call,
    In,
    Literal,
    Logic,
    Name,
    Node,
    Pair,
    Range,
    Time,
    Unary,
    Where,
)
from cpflow.registry.where.resolve import Resolver, Typed
from cpflow.registry.where.scope import Kind, Scope
from cpflow.timespan import Instant, Timespan

_NUMBERS = (Kind.INT, Kind.FLOAT)
_COMPARISONS: Mapping[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


_DATE = re.compile(r"(?<![\w.'-])\d{4}-\d\d-\d\d(?![\w.-])")
_TIME = "times are written as T'2021-01-21T12:00:00'"


def _to_compare(kinds: set[Kind]) -> str | None:
    """Say how values of two kinds are made comparable."""
    if Kind.SPAN in kinds:
        return "use OVERLAPS, .begin or .end"
    if Kind.TIME in kinds:
        return _TIME
    if Kind.STRING in kinds and kinds & set(_NUMBERS):
        return "numbers take no quotes, strings do; a day is a number: day_obs = 20210121"
    return None


class _Parenthesised(ColumnElement[bool]):
    """A condition that SQLAlchemy must not merge into the chain around it."""

    inherit_cache = False
    type = Boolean()

    def __init__(self, inner: ColumnElement[bool]) -> None:
        self.inner = inner


@compiles(_Parenthesised)
def _parenthesised(element: _Parenthesised, compiler: Any, **options: Any) -> str:
    return f"({compiler.process(element.inner, **options)})"


def compile_where(
    where: Where,
    scope: Scope,
    connection: Connection,
    binds: Mapping[str, Any] | None = None,
) -> ColumnElement[bool]:
    """Return the condition that a query stands for.

    Raises
    ------
    QueryError
        If a name is not known or kinds do not go together.
    """
    if where.tree is None:
        return true()
    return _Compiler(where.text, scope, connection, binds or {}).condition(where.tree)


class _Compiler(Resolver):
    """Conditions and arithmetic, by kind of node."""

    def condition(self, node: Node) -> ColumnElement[bool]:
        """Return a part that is true or false."""
        found = self.value(node)
        if found.kind is not Kind.BOOL:
            hint = "compare it with something: day_obs = 20210121"
            raise self.error(f"this is {found.kind}, where a condition is needed", node, hint)
        return found.sql

    def value(self, node: Node) -> Typed:
        """Return any part, with its kind."""
        match node:
            case Name():
                return self.name(node)
            case Literal():
                return self.python(node.value, node)
            case Time():
                return self.constant(node.tai, Kind.TIME)
            case Bind():
                return self.python(self.bound(node), node)
            case Logic():
                return self.logic(node)
            case Unary("NOT", operand, _):
                return Typed(not_(self.condition(operand)), Kind.BOOL)
            case Unary():
                number = self.number(node.operand)
                return Typed(-number.sql if node.operator == "-" else number.sql, number.kind)
            case Binary("OVERLAPS", _, _, _):
                return self.overlap(node)
            case Binary(sign, _, _, _):
                is_sum = sign in ("+", "-", "*", "/", "%")
                return self.arithmetic(node) if is_sum else self.comparison(node)
            case In():
                return self.membership(node)
            case Call():
                return self.call(node)
            case Pair():
                raise self.error("two bounds in parentheses go with OVERLAPS only", node)
            case Range():
                raise self.error("a range goes inside IN (...) only", node)

    def logic(self, node: Logic) -> Typed:
        """AND and OR."""
        joined = and_ if node.operator == "AND" else or_
        terms = [self.condition(term) for term in node.terms]
        # Databases limit how deep an expression may be, and a flat chain counts as deep.
        while len(terms) > 50:
            groups = [terms[i : i + 50] for i in range(0, len(terms), 50)]
            terms = [_Parenthesised(joined(*group)) for group in groups]
        return Typed(joined(*terms), Kind.BOOL)

    def number(self, node: Node) -> Typed:
        """Return a part that is a number."""
        found = self.value(node)
        if found.kind not in _NUMBERS:
            raise self.error(f"this is {found.kind}, where a number is needed", node)
        return found

    def arithmetic(self, node: Binary) -> Typed:
        """Take sums and products."""
        if any(date.start() < node.at < date.end() for date in _DATE.finditer(self.text)):
            hint = "a day is a number, day_obs > 20210101; a time is written as T'2021-01-21'"
            raise self.error("this is a subtraction, and looks like a date", node, hint)
        left, right = self.number(node.left), self.number(node.right)
        kind = Kind.INT if left.kind is right.kind is Kind.INT else Kind.FLOAT
        match node.operator:
            case "+":
                return Typed(left.sql + right.sql, kind)
            case "-":
                return Typed(left.sql - right.sql, kind)
            case "*":
                return Typed(left.sql * right.sql, kind)
            case "/":
                # NULL for a division by zero, as one database does it and the other does not.
                divisor = func.nullif(cast(right.sql, Float(53)), 0.0, type_=Float(53))
                return Typed(cast(left.sql, Float(53)) / divisor, Kind.FLOAT)
        if kind is not Kind.INT:
            raise self.error("% takes integers", node)
        return Typed(left.sql % func.nullif(right.sql, 0, type_=BigInteger()), Kind.INT)

    def comparison(self, node: Binary) -> Typed:
        """Equality and order; NULL as in SQL's IS (spec W12)."""
        left, right = self.value(node.left), self.value(node.right)
        equality = node.operator in ("=", "!=")
        kinds = {left.kind, right.kind}
        if Kind.NULL in kinds:
            if not equality:
                raise self.error(f"NULL has no order: {node.operator}", node, "use = or !=")
            value = right if left.kind is Kind.NULL else left
            missing = value.sql.is_(None)
            return Typed(missing if node.operator == "=" else value.sql.is_not(None), Kind.BOOL)
        if Kind.UUID in kinds and Kind.STRING in kinds:
            raise self.error("a dataset id is compared with UUID('...')", node)
        same = len(kinds) == 1 or kinds <= set(_NUMBERS)
        if Kind.SPAN in kinds or not same:
            raise self.error(
                f"{left.kind} cannot be compared with {right.kind}", node, _to_compare(kinds)
            )
        if not equality and kinds & {Kind.BOOL, Kind.UUID}:
            raise self.error(f"{left.kind}: no order", node)
        compare = _COMPARISONS[node.operator]
        return Typed(compare(left.sql, right.sql), Kind.BOOL)

    def overlap(self, node: Binary) -> Typed:
        """OVERLAPS between spans and times (spec W10)."""
        a, b = self.span(node.left), self.span(node.right)
        before = or_(a[0].is_(None), b[1].is_(None), a[0] < b[1])
        after = or_(b[0].is_(None), a[1].is_(None), b[0] < a[1])
        return Typed(and_(before, after), Kind.BOOL)

    def span(self, node: Node) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
        """Return the two bounds of a span."""
        if isinstance(node, Pair):
            span = Timespan(self.bound_of(node.first), self.bound_of(node.second))
            if span.is_empty:
                raise self.error("this timespan ends before it begins", node, "swap its bounds")
            return literal(span.begin, BigInteger()), literal(span.end, BigInteger())
        found = self.value(node)
        if found.kind is Kind.TIME:
            return found.sql, found.sql + 1
        if found.kind is Kind.SPAN and found.end is not None:
            return found.sql, found.end
        raise self.error(f"this is {found.kind}, and OVERLAPS takes timespans and times", node)

    def bound_of(self, node: Node) -> int | None:
        """Return one bound of a pair."""
        match node:
            case Time(tai, _):
                return tai
            case Literal(None, _):
                return None
            case Bind() if isinstance(instant := self.bound(node), Instant):
                return instant.tai
        raise self.error("a bound of a timespan is a time T'...' or NULL", node, _TIME)

    def membership(self, node: In) -> Typed:
        """IN and NOT IN (spec W7)."""
        operand = self.value(node.operand)
        if operand.kind in (Kind.SPAN, Kind.NULL, Kind.BOOL):
            raise self.error(f"{operand.kind} cannot be looked for in a list", node)
        terms: list[ColumnElement[bool]] = []
        values: list[Any] = []
        for item in node.items:
            if isinstance(item, Range):
                terms.append(self.in_range(operand, item))
                continue
            for value in self.listed(item):
                if value is None:
                    terms.append(operand.sql.is_(None))
                else:
                    values.append(self.member(operand, value, item))
        kept = {value for value in values if value is not None}
        if kept:
            terms.insert(0, is_one_of(self.connection, operand.sql, kept))
        elif not terms:
            terms.append(and_(operand.sql.is_not(None), false()))
        found = or_(*terms)
        return Typed(not_(found) if node.negated else found, Kind.BOOL)

    def listed(self, item: Node) -> Sequence[Any]:
        """Return the values of one item of a list."""
        match item:
            case Literal(value, _):
                return [value]
            case Time(tai, _):
                return [Instant(tai)]
            case Bind():
                value = self.bound(item)
                return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
        raise self.error("a list holds values, ranges and :names", item)

    def member(self, operand: Typed, value: Any, item: Node) -> Any:
        """Return the bare value, or None if no value of the operand can equal it."""
        kind = self.python(value, item).kind
        if operand.kind is Kind.INT and kind is Kind.FLOAT:
            return int(value) if float(value).is_integer() and abs(value) < 2**63 else None
        if operand.kind is not kind and not {operand.kind, kind} <= set(_NUMBERS):
            hint = _to_compare({operand.kind, kind})
            raise self.error(f"{operand.kind} cannot be looked for among {kind}", item, hint)
        if isinstance(value, Instant):
            return value.tai
        if isinstance(value, uuid.UUID):
            return str(value)
        return float(value) if operand.kind is Kind.FLOAT else value

    def in_range(self, operand: Typed, item: Range) -> ColumnElement[bool]:
        """Return the condition of one range (spec W8)."""
        if operand.kind is not Kind.INT:
            raise self.error(f"a range goes with integers, this is {operand.kind}", item)
        first, last = (literal(bound, BigInteger()) for bound in (item.first, item.last))
        between = and_(operand.sql >= first, operand.sql <= last)
        if item.step == 1:
            return between
        # Remainders are compared, not differences, which could leave 64 bits.
        remainder = operand.sql % literal(item.step, BigInteger())
        wanted = item.first % item.step
        return and_(between, or_(remainder == wanted, remainder == wanted - item.step))

    def call(self, node: Call) -> Typed:
        """GLOB and UUID."""
        function = node.function.upper()
        if function == "UUID":
            return self.uuid(node)
        if function != "GLOB":
            hint = nearest(function, ("GLOB", "UUID"))
            raise self.error(f"there is no function {node.function!r}", node, hint)
        if len(node.arguments) != 2:
            raise self.error("GLOB takes a column and a pattern", node)
        column, pattern = node.arguments
        subject = self.value(column)
        given = pattern.value if isinstance(pattern, Literal) else None
        if isinstance(pattern, Bind):
            given = self.bound(pattern)
        if subject.kind is not Kind.STRING or not isinstance(column, Name):
            raise self.error(f"GLOB takes a string column, this is {subject.kind}", column)
        if not isinstance(given, str):
            raise self.error("the pattern of GLOB is a string", pattern)
        return Typed(self.glob(subject.sql, given), Kind.BOOL)

    def glob(self, column: ColumnElement[Any], pattern: str) -> ColumnElement[bool]:
        """Match a whole string, case counting, with * and ? (spec W11)."""
        if self.connection.dialect.name == "postgresql":
            escaped = "".join(f"\\{c}" if c in "\\%_" else c for c in pattern)
            return column.like(escaped.replace("*", "%").replace("?", "_"), escape="\\")
        # SQLite's GLOB also knows character classes, which the language does not have.
        return column.op("GLOB", is_comparison=True, return_type=Boolean())(
            literal(pattern.replace("[", "[[]"), Text())
        )

    def uuid(self, node: Call) -> Typed:
        """Read a dataset id."""
        only = node.arguments[0]
        if len(node.arguments) == 1 and isinstance(only, Literal) and isinstance(only.value, str):
            try:
                return self.constant(str(uuid.UUID(only.value)), Kind.UUID)
            except ValueError:
                pass
        raise self.error("UUID takes a string such as '01234567-89ab-cdef-0123-456789abcdef'", node)
