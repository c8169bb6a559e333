"""Build the tree while parsing, so that no depth of nesting recurses in Python."""

from __future__ import annotations

import math
import re
from typing import Any

from lark import Token, Transformer, v_args

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
    children,
)
from cpflow.timespan import parse_time_literal

_WORDS = {"null": None, "true": True, "false": False}


class NotAValue(Exception):  # noqa: N818  becomes a QueryError as soon as the text is at hand
    """A token that has the shape of a value and is none."""

    def __init__(self, message: str, at: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.at, self.hint = message, at, hint


def _at(token: Token) -> int:
    return token.start_pos or 0


def _integer(text: str, at: int) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise NotAValue(f"{text[:40]} does not fit in 64 bits", at)
    return int(text)


@v_args(inline=True)
class Builder(Transformer[Token, Node]):
    """Callbacks of the grammar's rules."""

    def start(self, node: Node) -> Node:
        """Pass on."""
        return node

    def either(self, *terms: Node) -> Node:
        """OR; one term stands for itself."""
        return terms[0] if len(terms) == 1 else Logic("OR", terms, terms[0].at)

    def both(self, *terms: Node) -> Node:
        """AND; one term stands for itself."""
        return terms[0] if len(terms) == 1 else Logic("AND", terms, terms[0].at)

    def negate(self, token: Token, operand: Node) -> Node:
        """NOT."""
        return Unary("NOT", operand, _at(token))

    def overlaps(self, left: Node, token: Token, right: Node) -> Node:
        """OVERLAPS."""
        return Binary("OVERLAPS", left, right, _at(token))

    def binary(self, left: Node, token: Token, right: Node) -> Node:
        """Comparison or arithmetic."""
        operator = {"==": "=", "<>": "!="}.get(str(token), str(token))
        return Binary(operator, left, right, _at(token))

    def within(self, operand: Node, *rest: Any) -> Node:
        """IN, NOT IN."""
        negated = isinstance(rest[0], Token) and rest[0].type == "NOT"
        token = rest[1] if negated else rest[0]
        items = tuple(node for node in rest if not isinstance(node, Token))
        return In(operand, items, negated, _at(token))

    def sign(self, token: Token, operand: Node) -> Node:
        """Sign before an expression."""
        if isinstance(operand, Literal) and type(operand.value) in (int, float):
            return self.signed_number(token, operand)
        return Unary(str(token), operand, _at(token))

    def pair(self, first: Node, second: Node) -> Node:
        """Two bounds."""
        return Pair(first, second, first.at)

    def call(self, token: Token, *arguments: Node) -> Node:
        """Take a function."""
        return Call(str(token), arguments, _at(token))

    def item(self, node: Node) -> Node:
        """Pass on."""
        return node

    def signed_number(self, token: Token, number: Any) -> Node:
        """Take a number with its sign."""
        literal = self.number(number) if isinstance(number, Token) else number
        assert isinstance(literal, Literal)
        assert isinstance(literal.value, int | float)
        value = -literal.value if str(token) == "-" else literal.value
        return Literal(value, _at(token))

    def number(self, token: Token) -> Node:
        """Integer or decimal number."""
        text = str(token)
        if text.isdigit():
            return Literal(_integer(text, _at(token)), _at(token))
        value = float(text)
        if not math.isfinite(value):
            raise NotAValue(f"{text[:40]} is too large", _at(token))
        return Literal(value, _at(token))

    def string(self, token: Token) -> Node:
        """Text in single quotes."""
        text = str(token)[1:-1].replace("''", "'")
        if "\0" in text:
            raise NotAValue("a string holds no NUL character", _at(token))
        return Literal(text, _at(token))

    def time(self, token: Token) -> Node:
        """T'...'."""
        try:
            return Time(parse_time_literal(str(token)[2:-1]), _at(token))
        except ValueError as error:
            raise NotAValue(str(error), _at(token)) from None

    def bind(self, token: Token) -> Node:
        """:name."""
        return Bind(str(token)[1:], _at(token))

    def range(self, token: Token) -> Node:
        """a..b:step."""
        match = re.fullmatch(r"([+-]?\d+)\s*\.\.\s*([+-]?\d+)(?:\s*:\s*(\d+))?", str(token))
        assert match is not None
        first, last = _integer(match[1], _at(token)), _integer(match[2], _at(token))
        if first > last:
            hint = f"write {last}..{first}"
            raise NotAValue(f"the range {first}..{last} ends before it begins", _at(token), hint)
        return Range(first, last, _integer(match[3] or "1", _at(token)), _at(token))

    def name(self, token: Token) -> Node:
        """Name, or NULL, TRUE, FALSE."""
        word = str(token).lower()
        if word in _WORDS:
            return Literal(_WORDS[word], _at(token))
        return Name(str(token), _at(token))

    def word(self, token: Token) -> Node:
        """Name in a list: only NULL, TRUE and FALSE are values."""
        node = self.name(token)
        if isinstance(node, Name):
            raise NotAValue(
                f"a list holds values, not the name {node.text!r}",
                _at(token),
                f"strings take quotes: '{node.text}'",
            )
        return node


def depth(node: Node, limit: int) -> int:
    """Return how deep a tree is, or one more than `limit`."""
    level = [node]
    for count in range(1, limit + 1):
        level = [child for parent in level for child in children(parent)]
        if not level:
            return count
    return limit + 1
