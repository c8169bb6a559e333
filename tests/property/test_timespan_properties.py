"""Timespans behave like sets of instants, and dates survive being written and read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cpflow.timespan import Timespan, from_iso, isoformat, parse_date, parse_time_literal

INSTANTS = range(-1, 7)
bounds = st.one_of(st.none(), st.integers(0, 5))
spans = st.builds(Timespan, bounds, bounds)
nanoseconds = st.integers(-(2**62), 2**62)


def instants(span: Timespan) -> set[int]:
    """Instants of a span among a few that reach over all bounds."""
    return {i for i in INSTANTS if span.contains(i)}


@given(spans, spans)
def test_set_operations(a: Timespan, b: Timespan) -> None:
    inside, other = instants(a), instants(b)
    assert a.overlaps(b) == bool(inside & other)
    assert instants(a.intersection(b)) == inside & other
    parts = a.difference(b)
    assert set().union(*map(instants, parts)) == inside - other
    assert len(parts) <= 2
    assert all(not part.is_empty for part in parts)
    assert a.contains(b) == (other <= inside)


@given(spans)
def test_a_span_without_itself_is_nothing(a: Timespan) -> None:
    assert a.difference(a) == ()
    assert a.contains(a)


@given(nanoseconds, st.sampled_from(["tai", "utc", "tt"]))
def test_dates_survive_being_written(tai: int, scale: str) -> None:
    assert from_iso(isoformat(tai, scale), scale) == tai
    assert parse_date(f"{isoformat(tai, scale)}/{scale}").tai == tai
    assert parse_time_literal(f"{isoformat(tai, scale)}/{scale}") == tai


@given(st.text(max_size=40))
def test_any_text_is_a_date_or_a_value_error(text: str) -> None:
    for parse in (parse_date, parse_time_literal, from_iso):
        try:
            parse(text)
        except ValueError:
            continue


@given(st.text(alphabet="0123456789-:T Z/+.utcaimjd", max_size=30))
def test_any_text_like_a_date_is_one_or_a_value_error(text: str) -> None:
    test_any_text_is_a_date_or_a_value_error.hypothesis.inner_test(text)  # type: ignore[attr-defined]
