"""Which names are allowed, and finding the one that was probably meant.

Collection names become directory names in the store and words on command lines, so what would
leave the store, hide, or read as a pattern, a list or an option is refused when a name is made.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

from cpflow.errors import CollectionError, UsageError

MAX_LENGTH = 255
# Patterns, lists, and what separates directories elsewhere.
_RESERVED = set("*?[],\\|")
# Control, format (zero width, bidirectional), surrogate, private, line and paragraph separators.
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_GLOB_CHARACTERS = re.compile(r"[*?\[\]]")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)


def check_collection_name(name: str) -> str:
    """Return the name, or refuse it.

    Raises
    ------
    CollectionError
        If the name could not be a relative path and a word.
    """
    problem = _problem(name)
    if problem:
        shown = name if len(name) <= 60 else name[:57] + "..."
        raise CollectionError(
            f"{shown!r} cannot be the name of a collection: {problem}",
            hint="names look like u/me/biasGen: letters, digits, most signs",
        )
    return name


def _problem(name: str) -> str | None:
    if not name:
        return "it is empty"
    if len(name) > MAX_LENGTH:
        return f"it has {len(name)} characters, more than {MAX_LENGTH}"
    hidden = next((c for c in name if unicodedata.category(c) in _HIDDEN_CATEGORIES), None)
    if hidden is not None:
        return f"it holds the invisible character U+{ord(hidden):04X}"
    if unicodedata.normalize("NFC", name) != name:
        return "its accents are written apart from their letters (not in Unicode NFC)"
    reserved = sorted(_RESERVED.intersection(name))
    if reserved:
        return f"it holds {' '.join(reserved)}"
    if name.startswith("-"):
        return "it begins with '-', like an option"
    for part in name.split("/"):
        if not part:
            return "it begins or ends with '/', or has an empty part"
        if part.startswith("."):
            return f"its part {part!r} begins with a dot"
        if part != part.strip():
            return f"its part {part!r} begins or ends with a space"
        if len(part.encode()) > 240:
            return "one of its parts is too long for a file name"
    return None


def check_word(name: str, what: str) -> str:
    """Return a name that may stand bare in a query, or refuse it.

    Raises
    ------
    UsageError
        If it is not letters, digits and underscores, or longer than 64.
    """
    if len(name) > 64 or not _WORD.fullmatch(name):
        raise UsageError(
            f"{name[:70]!r} cannot be the name of {what}",
            hint="letters, digits and '_', beginning with a letter, 64 at most",
        )
    return name


def check_instrument_name(name: str) -> str:
    """Return the name of an instrument, or refuse it; as a word, but '-', '+', '.' may be inside.

    Raises
    ------
    UsageError
        If the name cannot be used.
    """
    if len(name) > 64 or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name, re.ASCII):
        raise UsageError(
            f"{name[:70]!r} cannot be the name of an instrument",
            hint="letters, digits, '_', '-', '+' and '.', 64 at most",
        )
    return name


def is_text(text: str) -> bool:
    """Whether a string can be stored: no NUL, no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def is_pattern(text: str) -> bool:
    """Whether a text is a glob and not a name."""
    return _GLOB_CHARACTERS.search(text) is not None


def glob_regex(pattern: str) -> re.Pattern[str]:
    """Compile a glob of ``*`` and ``?`` that must match a whole name; case counts."""
    parts = (
        ".*" if c == "*" else "." if c == "?" else re.escape(c)
        for c in re.sub(r"\*+", "*", pattern)
    )
    return re.compile("".join(parts), re.DOTALL)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Suggest the known name nearest to a mistyped one, as a hint."""
    candidates = list(known)
    by_case = {candidate.lower(): candidate for candidate in candidates}
    if name.lower() in by_case:
        return f"did you mean {by_case[name.lower()]!r}?"
    found = difflib.get_close_matches(name[:MAX_LENGTH], candidates, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(repr(f) for f in found)}?" if found else None
