"""The merged timeline answers as a search layer by layer does (spec V21 to V24)."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from cpflow.registry.interval import FIRST, LAST, Ambiguity, Held, Layer, Timeline, decide
from cpflow.timespan import Timespan

points = st.integers(0, 20)


@st.composite
def layers(draw: st.DrawFn) -> list[Layer]:
    """Collections, each with rows that do not overlap."""
    made = []
    for number in range(draw(st.integers(0, 5))):
        if draw(st.booleans()) and draw(st.booleans()):
            made.append(Layer(f"run{number}", (Held(FIRST, LAST, 100 * number),), timeless=True))
            continue
        cuts = sorted(draw(st.sets(points, max_size=6)))
        ends = [FIRST, *cuts, LAST]
        pieces = list(pairwise(ends))
        chosen = draw(st.sets(st.sampled_from(pieces), min_size=1))
        rows = tuple(Held(*p, 100 * number + i) for i, p in enumerate(sorted(chosen)))
        if rows:
            made.append(Layer(f"calib{number}", rows))
    return made


spans = st.one_of(
    st.builds(Timespan.at, points),
    st.builds(Timespan, st.one_of(st.none(), points), st.one_of(st.none(), points)),
)


@settings(max_examples=400)
@given(layers(), spans)
def test_timeline_agrees_with_the_definition(given_layers: list[Layer], span: Timespan) -> None:
    found = Timeline(given_layers).at(span)
    assert found == decide(given_layers, span)


@settings(max_examples=400)
@given(layers(), spans)
def test_decide_agrees_with_the_rule(given_layers: list[Layer], span: Timespan) -> None:
    """Written again from the specification, row by row."""
    wanted: object = None
    for layer in given_layers:
        rows = [row for row in layer.rows if not span.is_empty and row.timespan.overlaps(span)]
        if rows:
            wanted = rows[0] if len(rows) == 1 else Ambiguity(layer, tuple(rows))
            break
    assert decide(given_layers, span) == wanted
