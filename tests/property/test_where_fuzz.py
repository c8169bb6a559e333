"""No text whatever makes the query language do anything but select or refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registries import add_exposures, exposure, prepare

from cpflow.errors import QueryError
from cpflow.exposure import Exposure
from cpflow.registry import Registry

RECORDS = [
    exposure(
        20210101 + i // 4,
        i,
        observation_type="bias" if i % 2 else "dark",
        target_name=(None, "M 31", "a'b", "%_[*")[i % 4],
        exposure_time=(None, 0.0, 1.5)[i % 3],
        can_see_sky=(None, True, False)[i % 3],
    )
    for i in range(12)
]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    path: Path = tmp_path_factory.mktemp("fuzz") / "registry.sqlite"
    with Registry.create(path) as registry:
        prepare(registry)
        add_exposures(registry, RECORDS)
        yield registry


quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def selects_or_refuses(registry: Registry, where: str, **binds: Any) -> None:
    try:
        found = registry.exposures(where, binds=binds)
    except QueryError as error:
        refused = error
    else:
        assert all(one in RECORDS for one in found)
        return
    assert refused.message
    assert str(refused)
    assert refused.column is None or 0 <= refused.column <= len(where)


@quick
@given(where=st.text(max_size=60))
def test_any_text(registry: Registry, where: str) -> None:
    selects_or_refuses(registry, where)


TOKENS = """
and or not in overlaps = != < > <= >= <> == ( ) , + - * / % 1 2.5 1e3 0x1 'bias' 'a''b' ' \"
T'2021-01-01' t'59215.5' T'x' seq_num exposure exposure.id day_obs target_name instrument
'TestCam' exposure_time can_see_sky null TRUE false 1..5 5..1 1..9:2 :a :b glob( uuid(
timespan exposure.timespan.begin detector raft band name id visit . .. ; -- # \\
"""


@quick
@given(
    tokens=st.lists(st.sampled_from(TOKENS.split()), max_size=14),
    value=st.one_of(st.integers(), st.text(), st.none()),
)
def test_any_sequence_of_tokens(registry: Registry, tokens: list[str], value: Any) -> None:
    selects_or_refuses(registry, " ".join(tokens), a=value)


# Conditions whose meaning is known in Python, with SQL's three values.


def compared(name: str, operator: str, value: Any) -> tuple[str, Any]:
    shown = f"'{value.replace(chr(39), chr(39) * 2)}'" if isinstance(value, str) else str(value)

    def holds(one: Exposure) -> bool | None:
        found = getattr(one, name)
        if found is None:
            return None
        return {
            "=": found == value,
            "!=": found != value,
            "<": found < value,
            ">=": found >= value,
        }[operator]

    return f"{name} {operator} {shown}", holds


operators = st.sampled_from(["=", "!=", "<", ">="])
leaves = st.one_of(
    st.builds(compared, st.just("seq_num"), operators, st.integers(-2, 14)),
    st.builds(compared, st.just("exposure_time"), operators, st.sampled_from([0.0, 1.5, 2])),
    st.builds(
        compared,
        st.sampled_from(["target_name", "observation_type"]),
        operators,
        st.sampled_from(["M 31", "a'b", "%_[*", "bias", ""]),
    ),
    st.just(("can_see_sky", lambda one: one.can_see_sky)),
)


def negated(a: tuple[str, Any]) -> tuple[str, Any]:
    def holds(one: Exposure) -> bool | None:
        inner = a[1](one)
        return None if inner is None else not inner

    return f"NOT ({a[0]})", holds


def both(a: tuple[str, Any], b: tuple[str, Any]) -> tuple[str, Any]:
    def holds(one: Exposure) -> bool | None:
        values = {a[1](one), b[1](one)}
        return False if False in values else None if None in values else True

    return f"({a[0]}) AND ({b[0]})", holds


def either(a: tuple[str, Any], b: tuple[str, Any]) -> tuple[str, Any]:
    def holds(one: Exposure) -> bool | None:
        values = {a[1](one), b[1](one)}
        return True if True in values else None if None in values else False

    return f"({a[0]}) OR ({b[0]})", holds


conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(negated, inner), st.builds(both, inner, inner), st.builds(either, inner, inner)
    ),
    max_leaves=8,
)


@quick
@given(condition=conditions)
def test_conditions_mean_what_they_say(registry: Registry, condition: tuple[str, Any]) -> None:
    where, holds = condition
    assert registry.exposures(where) == [one for one in RECORDS if holds(one) is True]
