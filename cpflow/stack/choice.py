"""Values that differ between the exposures of a stack: a calibration that changed over a night."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Choice:
    """Several values, and which of them each exposure takes.

    Parameters
    ----------
    values : tuple
    index : tuple of int
        For each exposure of a stack, in the order of their ids, the place of its value; -1 where it
        takes none.
    """

    values: tuple[Any, ...]
    index: tuple[int, ...]

    def each(self, function: Callable[[Any], Any]) -> Choice:
        """Return the choice between what a function makes of the values."""
        return Choice(tuple(function(value) for value in self.values), self.index)


def each(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to a value, or to each value of a choice."""
    return value.each(function) if isinstance(value, Choice) else function(value)


def chosen(shared: Mapping[str, Any], exposure: int) -> Mapping[str, Any]:
    """Return what one exposure, by its place in the stack, has of what is shared."""
    if not any(isinstance(value, Choice) for value in shared.values()):
        return shared
    own: dict[str, Any] = {}
    for name, value in shared.items():
        if not isinstance(value, Choice):
            own[name] = value
        elif value.index[exposure] >= 0:
            own[name] = value.values[value.index[exposure]]
    return own
