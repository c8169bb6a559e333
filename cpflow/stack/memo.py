"""Hashes of values that do not change, found once: a stack is hashed at each step of a graph."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any


class Memo:
    """What was found of objects, by identity.

    The objects are kept, so that no other one gets the identity of one of them.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[Any, Any]] = {}

    def of(self, what: str, value: Any, find: Callable[[Any], Any]) -> Any:
        """Return what a function finds of a value; `what` names the function."""
        known = self._known.get((what, id(value)))
        if known is None:
            known = value, find(value)
            self._known[what, id(value)] = known
        return known[1]

    def token(self, value: Any) -> str:
        """Return the hash of a value, as Dask takes it."""
        from dask.base import tokenize

        return str(self.of("token", value, tokenize))

    def text(self, value: Any) -> str:
        """Return the hash of how a frozen record is written, which is faster."""
        return str(self.of("text", value, lambda one: digest([repr(one)])))


def digest(parts: list[str]) -> str:
    """Return the hash of several texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
