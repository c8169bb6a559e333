"""Which dataset a search path gives at a time: pure, in memory, one data id at a time.

A `Layer` is what one collection of the path holds for a data id. `Timeline` lays them over each
other once, so that a look-up is one bisection and not one query, however long the path is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cpflow.timespan import Timespan

FIRST = -(2**63)
LAST = 2**63


class Held(NamedTuple):
    """A dataset over [begin, end); the limits stand for open bounds."""

    begin: int
    end: int
    dataset: int

    @property
    def timespan(self) -> Timespan:
        """The span, with open bounds as None."""
        return Timespan(
            None if self.begin == FIRST else self.begin, None if self.end == LAST else self.end
        )


def held(begin: int | None, end: int | None, dataset: int) -> Held:
    """Take a row of the database, where None is open."""
    return Held(FIRST if begin is None else begin, LAST if end is None else end, dataset)


@dataclass(frozen=True, slots=True)
class Layer:
    """Rows of one collection for one data id, which do not overlap.

    `timeless` marks a RUN or TAGGED collection, whose dataset holds always (spec V21).
    """

    collection: str
    rows: tuple[Held, ...]
    timeless: bool = False

    def matches(self, span: Timespan | None) -> tuple[Held, ...]:
        """Return the rows that a time picks; None searches timeless collections only (V24)."""
        if self.timeless:
            return self.rows
        if span is None:
            return ()
        begin = FIRST if span.begin is None else span.begin
        end = LAST if span.end is None else span.end
        return tuple(row for row in self.rows if row.begin < end and begin < row.end)


class Ambiguity(NamedTuple):
    """More than one row in the collection that decides."""

    layer: Layer
    rows: tuple[Held, ...]


def decide(layers: Sequence[Layer], span: Timespan | None) -> Held | Ambiguity | None:
    """Search layers in order; the first with a match decides (spec V21 to V24)."""
    if span is not None and span.is_empty:
        return None
    for layer in layers:
        found = layer.matches(span)
        if len(found) == 1:
            return found[0]
        if found:
            return Ambiguity(layer, found)
    return None


class Timeline:
    """What a path gives for one data id, at any time.

    All bounds of all layers cut time into pieces. Inside one piece no layer changes, so the first
    layer that covers it decides, and with one row. Only a span that crosses a cut needs `decide`.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)
        bounds = {FIRST, LAST}
        for layer in layers:
            for row in layer.rows:
                bounds.add(row.begin)
                bounds.add(row.end)
        self._cuts = sorted(bounds)
        self._pieces: list[Held | None] = [None] * (len(self._cuts) - 1)
        for layer in reversed(self.layers):
            for row in layer.rows:
                first = bisect_left(self._cuts, row.begin)
                last = bisect_left(self._cuts, row.end)
                self._pieces[first:last] = [row] * (last - first)

    def at(self, span: Timespan) -> Held | Ambiguity | None:
        """Return what holds over `span`."""
        begin, end = span.begin, span.end
        if begin is not None and end is not None and begin < end:
            index = bisect_right(self._cuts, begin)
            if end <= self._cuts[index]:
                return self._pieces[index - 1]
        return decide(self.layers, span)
