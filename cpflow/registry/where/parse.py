"""From text to tree. Lark is imported when the first query is parsed, not before."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from cpflow.errors import QueryError
from cpflow.registry.where.ast import Node, Where

if TYPE_CHECKING:
    from lark import Lark

MAX_DEPTH = 100
MAX_LENGTH = 10_000_000

_FORMS = {
    "BETWEEN": "write 'x >= a AND x <= b', or 'x IN (a..b)' for integers",
    "LIKE": "write GLOB(x, 'pattern*') with * and ?",
    "ILIKE": "write GLOB(x, 'pattern*') with * and ?; case counts",
    "IS": "write 'x = NULL' or 'x != NULL'",
    "ISNULL": "write 'x = NULL'",
    "NOTNULL": "write 'x != NULL'",
    "AND": "a condition is missing before it",
    "OR": "a condition is missing before it",
    ",": "conditions are joined by AND; lists stand in IN (...)",
}
# What stands where no word of the language can begin.
_SIGNS = {
    '"': "strings take single quotes: 'bias'",
    "'": "the quote that opens here is never closed",
    ";": "one expression, without ';'",
    "#": "a query holds no comments",
    ".": "numbers stand without units, names have one word after each dot",
    "$": "a shell variable in single quotes is not replaced: put double quotes around the query",
    "&": "write AND",
    "|": "write OR",
    "[": "lists take parentheses: IN (1, 2)",
    "{": "lists take parentheses: IN (1, 2)",
    "`": "strings take single quotes: 'bias'",
    **dict.fromkeys("\u2018\u2019\u201c\u201d", "strings take plain single quotes: 'bias'"),
    "\u2013": "the minus sign is -",
    "!": "write NOT, or !=",
}


def parse(text: str) -> Where:
    """Parse a data query.

    Raises
    ------
    QueryError
        Naming what is wrong and where in the text.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError(f"the query has {len(text)} characters, more than {MAX_LENGTH}")
    if not text.replace("\\", " ").strip():
        return Where(text, None)

    from lark.exceptions import UnexpectedCharacters, UnexpectedToken, VisitError

    from cpflow.registry.where.build import NotAValue, depth

    try:
        tree: Any = _parser().parse(text)
    except UnexpectedCharacters as error:
        raise _lexical(text, error.pos_in_stream or 0) from None
    except UnexpectedToken as error:
        raise _syntax(text, error.token) from None
    except (VisitError, NotAValue) as error:
        inner = error.orig_exc if isinstance(error, VisitError) else error
        if not isinstance(inner, NotAValue):
            raise
        raise QueryError(inner.message, text=text, column=inner.at, hint=inner.hint) from None
    node: Node = tree
    if depth(node, MAX_DEPTH) > MAX_DEPTH:
        raise QueryError(f"the query is nested more than {MAX_DEPTH} deep")
    return Where(text, node)


@cache
def _parser() -> Lark:
    from lark import Lark

    from cpflow.registry.where.build import Builder

    grammar = files(__package__).joinpath("where.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", transformer=Builder())


def _lexical(text: str, at: int) -> QueryError:
    found = text[at : at + 1]
    hint = _SIGNS.get(found)
    if hint is None and found.isalnum():
        hint = "numbers stand without units, strings in single quotes: 'bias'"
    return QueryError(f"{found!r} cannot stand here", text=text, column=at, hint=hint)


def _syntax(text: str, token: Any) -> QueryError:
    if token.type == "$END":
        return QueryError(
            "the query ends too early", text=text, column=len(text.rstrip()), hint=_open(text)
        )
    value = str(token)
    shown = value if len(value) <= 40 else value[:37] + "..."
    return QueryError(
        f"{shown!r} cannot stand here",
        text=text,
        column=token.start_pos,
        hint=_FORMS.get(value.upper()) or _hint_after(text[: token.start_pos].rstrip(), value),
    )


def _hint_after(before: str, value: str) -> str | None:
    """Say what is meant, given what stands before what cannot stand there."""
    word = before.rpartition(" ")[2].upper()
    if word == "IN":
        return "a list takes parentheses: IN (1, 2)"
    if before.endswith("(") and value == ")":
        return "nothing stands in the parentheses (an unset shell variable?)"
    if before.endswith(",") and value == ")":
        return "a value is missing after the last comma"
    if before.endswith("=") and value in (">", "<"):
        return f"write {value}="
    if word in ("AND", "OR"):
        return f"{word} stands there twice, or a condition is missing"
    if before and (before[-1].isalnum() or before[-1] in "')"):
        return "conditions are joined by AND or OR, values of a list by commas"
    return None


def _open(text: str) -> str | None:
    if text.count("(") > text.count(")"):
        return "a parenthesis is not closed"
    return "a condition, or a value, is missing at the end"
