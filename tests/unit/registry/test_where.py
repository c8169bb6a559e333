"""The language of data queries (spec 4)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from registries import CAM, KINDS, add_exposures, address, exposure, prepare, tai

from cpflow.errors import QueryError
from cpflow.registry import Registry
from cpflow.registry.where import parse
from cpflow.timespan import SECOND, Instant, Timespan

DAYS = (20210101, 20210102, 20210103)


@pytest.fixture(scope="module", params=KINDS)
def stocked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """Nine exposures that nobody changes."""
    directory = tmp_path_factory.mktemp("where")
    with address(request.param, directory, shared=False) as url, Registry.create(url) as registry:
        stock(registry)
        yield registry


def stock(registry: Registry) -> None:
    """Add nine exposures, three a day: seq_num 1 to 9."""
    prepare(registry)
    names = ["NGC 4755", "M 31", None, "ngc 4755", "50%_off", "it's", "[a]b", "a\\b", None]
    records = [
        exposure(
            DAYS[i // 3],
            i + 1,
            observation_type=("bias", "dark", "flat")[i % 3],
            physical_filter=("r_1", "r_2", "g_1")[i % 3],
            band=("r", "r", "g")[i % 3],
            exposure_time=(0.0, 30.0, 2.5)[i % 3],
            dark_time=None if i % 3 == 0 else 30.5,
            target_name=names[i],
            can_see_sky=(None, False, True)[i % 3],
            group=f"g{i % 2}",
        )
        for i in range(9)
    ]
    add_exposures(registry, records, (0, 1))


def found(registry: Registry, where: str, **more: Any) -> list[int]:
    return [record.seq_num for record in registry.exposures(where, **more)]


ALL = list(range(1, 10))
ID = [day * 100000 + i + 1 for i, day in enumerate(day for day in DAYS for _ in range(3))]

GOOD: list[tuple[str, list[int]]] = [
    # W1
    ("", ALL),
    ("  \n ", ALL),
    ("\\\n", ALL),
    ("seq_num\n=\n1", [1]),
    # 8.2: what single quotes leave of a continued shell line
    (f"exposure IN ({ID[0]}, \\\n   {ID[1]}, \\\r\n {ID[2]})", [1, 2, 3]),
    ("seq_num = 1 \\", [1]),
    # W2
    ("seq_num = 1 or seq_num = 2 Or seq_num = 3", [1, 2, 3]),
    ("not seq_num in (1..8)", [9]),
    ("seq_num > 7 AnD seq_num < 9", [8]),
    # W3
    ("seq_num = 1 OR seq_num = 2 AND seq_num = 3", [1]),
    ("(seq_num = 1 OR seq_num = 2) AND seq_num = 2", [2]),
    ("NOT seq_num = 1 AND seq_num < 3", [2]),
    ("NOT (seq_num = 1 AND seq_num < 3)", ALL[1:]),
    ("NOT NOT seq_num = 1", [1]),
    ("seq_num = 1 + 2 * 3", [7]),
    ("seq_num = (1 + 2) * 3", [9]),
    ("seq_num = 10 - 2 - 3", [5]),
    ("seq_num = 8 / 2 / 2", [2]),
    ("-seq_num < - 8", [9]),
    ("seq_num - -1 = 10", [9]),
    # W4
    ("seq_num == 1", [1]),
    ("seq_num <> 1", ALL[1:]),
    ("seq_num != 1 and seq_num <= 2", [2]),
    ("3 > seq_num", [1, 2]),
    ("seq_num >= 9", [9]),
    # W5
    ("target_name = 'it''s'", [6]),
    ("target_name = ''", []),
    ("observation_type = 'bias'", [1, 4, 7]),
    # W6
    ("exposure_time = 2.5", [3, 6, 9]),
    ("exposure_time = .25e1", [3, 6, 9]),
    ("exposure_time = 30", [2, 5, 8]),
    ("seq_num < 1.5", [1]),
    ("seq_num = +2", [2]),
    # W7
    ("observation_type IN ('bias', 'dark') AND day_obs = 20210101", [1, 2]),
    ("seq_num NOT IN (1, 2, 3..8)", [9]),
    ("target_name IN ('M 31', NULL)", [2, 3, 9]),
    ("target_name NOT IN ('M 31', null)", [1, 4, 5, 6, 7, 8]),
    ("target_name NOT IN ('M 31')", [1, 4, 5, 6, 7, 8]),
    ("seq_num IN (1.0, 2.5, 3)", [1, 3]),
    ("seq_num IN (2.5)", []),
    ("seq_num NOT IN (2.5)", ALL),
    ("exposure_time IN (0, 2.5)", [1, 3, 4, 6, 7, 9]),
    ("seq_num IN (-1, +1)", [1]),
    # W8
    ("seq_num IN (1..7:2)", [1, 3, 5, 7]),
    ("seq_num IN (2 .. 4)", [2, 3, 4]),
    ("seq_num IN (-10..20:9)", [8]),
    ("seq_num IN (-5..1:3)", [1]),
    ("seq_num IN (5..5)", [5]),
    (f"exposure IN ({ID[0]}..{ID[1]})", [1, 2]),
    (f"seq_num IN (0..{2**63 - 1})", ALL),
    # W9, W10
    ("exposure.timespan.begin < T'2021-01-02T00:00:00'", [1, 2, 3]),
    ("timespan.begin >= t'2021-01-03'", [7, 8, 9]),
    ("exposure.timespan.begin = T'2021-01-01T12:01:00/tai'", [1]),
    ("exposure.timespan.begin = T'2021-01-01T12:00:23'", [1]),
    ("exposure.timespan.begin < T'59216.0'", [1, 2, 3]),
    ("exposure.timespan OVERLAPS (T'2021-01-02', T'2021-01-03')", [4, 5, 6]),
    ("exposure.timespan overlaps (NULL, T'2021-01-02')", [1, 2, 3]),
    ("(T'2021-01-03', null) OVERLAPS timespan", [7, 8, 9]),
    ("exposure.timespan OVERLAPS (NULL, NULL)", ALL),
    ("exposure.timespan OVERLAPS T'2021-01-01T12:01:00/tai'", [1]),
    ("exposure.timespan OVERLAPS T'2021-01-01T12:02:29/tai'", [2]),
    ("NOT exposure.timespan OVERLAPS (NULL, T'2021-01-03')", [7, 8, 9]),
    # W11
    ("GLOB(target_name, 'NGC*')", [1]),
    ("glob(target_name, 'n?c *')", [4]),
    ("GLOB(target_name, '*%_*')", [5]),
    ("GLOB(target_name, '[a]*')", [7]),
    ("GLOB(target_name, 'a\\b')", [8]),
    ("GLOB(target_name, '*''*')", [6]),
    ("GLOB(target_name, 'NGC')", []),
    # W12
    ("target_name != 'M 31'", [1, 4, 5, 6, 7, 8]),
    ("NOT target_name = 'M 31'", [1, 4, 5, 6, 7, 8]),
    ("dark_time < 100", [2, 3, 5, 6, 8, 9]),
    ("exposure.dark_time < 0.1", []),
    ("target_name = NULL", [3, 9]),
    ("NULL = target_name", [3, 9]),
    ("target_name != null", [1, 2, 4, 5, 6, 7, 8]),
    # W13
    ("exposure.can_see_sky", [3, 6, 9]),
    ("NOT exposure.can_see_sky", [2, 5, 8]),
    ("can_see_sky = TRUE", [3, 6, 9]),
    ("can_see_sky != true", [2, 5, 8]),
    ("can_see_sky = NULL", [1, 4, 7]),
    ("TRUE", ALL),
    ("NOT TRUE OR FALSE", []),
    # W14
    ("exposure % 2 = 1", [1, 3, 5, 7, 9]),
    ("exposure_time * 2 = 5", [3, 6, 9]),
    ("seq_num / 2 = 1.5", [3]),
    ("seq_num % 0 = 0", []),
    ("seq_num / 0 = 0", []),
    # W16
    (f"exposure = {ID[4]}", [5]),
    ("instrument = 'TestCam' AND detector IN (0..8)", ALL),
    ("physical_filter = 'r_2'", [2, 5, 8]),
    ("band = 'r' and day_obs = 20210101", [1, 2]),
    ("group = 'g1'", [2, 4, 6, 8]),
    # W17
    ("exposure.day_obs = 20210103", [7, 8, 9]),
    (f"exposure.id = {ID[0]}", [1]),
    ("exposure.obs_id = 'T_20210101_00001'", [1]),
    ("detector.full_name = 'D1' AND seq_num = 1", [1]),
    ("physical_filter.band = 'g'", [3, 6, 9]),
    ("instrument.name = 'TestCam' and day_obs.id < 20210102", [1, 2, 3]),
    # W20
    ("detector = 0", ALL),
    ("detector = 99", []),
    ("raft = 'R1' AND seq_num = 2", [2]),
    ("detector = 99 OR seq_num = 2", [2]),
    # W21: unknown or wrongly cased values are no error
    ("instrument = 'testcam'", []),
    # the page
    (
        "instrument='TestCam' AND exposure.observation_type='dark' AND "
        "exposure.exposure_time > 0.0 AND exposure.dark_time > 0.0 AND exposure.day_obs > 20210101",
        [5, 8],
    ),
    (
        "instrument='TestCam' AND exposure.target_name = 'NGC 4755' AND "
        "exposure.day_obs = 20210101 and physical_filter = 'r_1'",
        [1],
    ),
]


@pytest.mark.parametrize(("where", "wanted"), GOOD, ids=[where for where, _ in GOOD])
def test_selects(stocked: Registry, where: str, wanted: list[int]) -> None:
    assert found(stocked, where) == wanted


BAD: list[tuple[str, str, int]] = [
    ("seq_num =", "ends too early", 9),
    ("(seq_num = 1", "ends too early", 12),
    ("seq_num = 1)", "')' cannot stand here", 11),
    ("seq_num = 1 seq_num = 2", "'seq_num' cannot stand here", 12),
    ("seq_num = 1;", "';' cannot stand here", 11),
    ("seq_num = 1 # note", "'#' cannot stand here", 12),
    ('target_name = "x"', "single quotes", 14),
    ("target_name = 'x", "never closed", 14),
    ("seq_num BETWEEN 1 AND 2", "write 'x >= a AND x <= b'", 8),
    ("target_name LIKE 'x'", "write GLOB", 12),
    ("target_name IS NULL", "write 'x = NULL'", 12),
    ("seq_num < 1 < 2", "cannot stand here", 12),
    ("seq_num = 1 = 2", "cannot stand here", 12),
    ("seq_num = 0x10", "cannot stand here", 10),
    ("seq_num IN ()", "')' cannot stand here", 12),
    ("seq_num IN (1,)", "')' cannot stand here", 14),
    ("seq_num IN (1 + 1)", "cannot stand here", 14),
    ("seq_num IN (exposure)", "a list holds values", 12),
    ("seq_num IN (exposure.id)", "a list holds values", 12),
    ("seq_num IN (7..1)", "ends before it begins", 12),
    ("seq_num IN (1..7:0)", "cannot stand here", 16),
    ("seq_num = 1..2", "'.2' cannot stand here", 12),
    ("exposure_time IN (1..2)", "a range goes with integers", 18),
    ("seq_num IN ('a')", "an integer cannot be looked for among a string", 12),
    ("seq_num IN (T'2021-01-01')", "among a time", 12),
    ("seq_num = 99999999999999999999", "64 bits", 10),
    ("seq_num = 1e999", "too large", 10),
    ("seq_num = 'a'", "an integer cannot be compared with a string", 8),
    ("target_name = 1", "a string cannot be compared with an integer", 12),
    ("timespan.begin = 1", "a time cannot be compared with an integer", 15),
    ("exposure.timespan < T'2021-01-01'", "OVERLAPS", 18),
    ("exposure.timespan = exposure.timespan", "cannot be compared", 18),
    ("exposure.timespan OVERLAPS 1", "OVERLAPS takes timespans", 27),
    ("exposure.timespan OVERLAPS (T'2021-01-02', T'2021-01-01')", "ends before it begins", 28),
    ("exposure.timespan OVERLAPS (T'2021-01-02', 5)", "a bound of a timespan", 43),
    ("(seq_num, seq_num) = 1", "go with OVERLAPS only", 1),
    ("timespan.begin = T'59219'", "bare integer", 17),
    ("timespan.begin = T'2021-01-01Z'", "leave out the Z", 17),
    ("timespan.begin = T'yesterday'", "is not a date", 17),
    ("seq_num < NULL", "NULL has no order", 8),
    ("can_see_sky < TRUE", "no order", 12),
    ("can_see_sky = 1", "true or false cannot be compared with an integer", 12),
    ("seq_num", "an integer, where a condition is needed", 0),
    ("seq_num = 1 AND 'a'", "a string, where a condition is needed", 16),
    ("NOT seq_num", "where a condition is needed", 4),
    ("-target_name = 1", "where a number is needed", 1),
    ("exposure_time % 2 = 1", "% takes integers", 14),
    ("GLOB(seq_num, 'a')", "GLOB takes a string column", 5),
    ("GLOB('a', 'a')", "GLOB takes a string column", 5),
    ("GLOB(target_name, 1)", "pattern of GLOB is a string", 18),
    ("GLOB(target_name)", "a column and a pattern", 0),
    ("SLOB(target_name, 'a')", "did you mean 'GLOB'", 0),
    ("eval('1') = 1", "there is no function", 0),
    ("UUID('x') = UUID('y')", "UUID takes", 0),
    ("seq_nun = 1", "did you mean 'seq_num'", 0),
    ("exposure.seq_nun = 1", "did you mean 'exposure.seq_num'", 0),
    ("Exposure = 1", "did you mean 'exposure'", 0),
    ("visit = 1", "'visit' is no name", 0),
    ("exposure.timespan.middle = T'2021-01-01'", "is no name", 0),
    ("a.b.c.d = 1", "is no name", 0),
    ("exposure.__class__ = 1", "is no name", 0),
    ("id = 1", "could be any of detector.id, day_obs.id, exposure.id", 0),
    ("name = 'a'", "could be any of", 0),
    ("seq_num = :missing", "no value is given for :missing", 10),
]


@pytest.mark.parametrize(("where", "message", "column"), BAD, ids=[where for where, _, _ in BAD])
def test_refuses(stocked: Registry, where: str, message: str, column: int) -> None:
    with pytest.raises(QueryError) as caught:
        stocked.exposures(where)
    assert message in str(caught.value)
    assert caught.value.column == column
    assert caught.value.exit_code == 2
    assert str(caught.value).splitlines()[-1].strip() == "^"


def test_W1_two_dashes_are_no_comment(stocked: Registry) -> None:
    with pytest.raises(QueryError):
        stocked.exposures("seq_num = 1 -- everything after")


def test_W14_bind_values(stocked: Registry) -> None:
    def select(where: str, **binds: Any) -> list[int]:
        return found(stocked, where, binds=binds)

    assert select("seq_num = :n", n=2) == [2]
    assert select("seq_num IN (:n)", n=[1, 2]) == [1, 2]
    assert select("seq_num IN (:n, 9)", n={3}) == [3, 9]
    assert select("seq_num IN (:n)", n=()) == []
    assert select("seq_num NOT IN (:n)", n=()) == ALL
    assert select("target_name = :t", t="it's") == [6]
    assert select("target_name = :t", t=None) == [3, 9]
    assert select("target_name IN (:t)", t=["M 31", None]) == [2, 3, 9]
    assert select("can_see_sky = :b", b=True) == [3, 6, 9]
    assert select("exposure_time > :x", x=2.5) == [2, 5, 8]
    assert select("GLOB(target_name, :p)", p="M*") == [2]
    begin = tai("2021-01-01T12:01:00")
    assert select("exposure.timespan.begin = :t", t=Instant(begin)) == [1]
    assert select("timespan OVERLAPS :s", s=Timespan(begin, begin + 61 * SECOND)) == [1, 2]
    assert select("timespan OVERLAPS (:a, NULL)", a=Instant(tai("2021-01-03"))) == [7, 8, 9]
    for bad in (object(), float("nan"), 2**64, b"x", [1], "a\0"):
        with pytest.raises(QueryError):
            select("seq_num = :n", n=bad)


def test_large_lists(stocked: Registry) -> None:
    ids = ", ".join(str(i) for i in range(1, 30_001))
    assert found(stocked, f"seq_num IN ({ids})") == ALL
    assert found(stocked, f"seq_num NOT IN ({ids})") == []
    names = ", ".join(f"'M {i}'" for i in range(1000))
    assert found(stocked, f"target_name IN ({names})") == [2]
    values = ", ".join(f"{i}.5" for i in range(1000))
    assert found(stocked, f"exposure_time IN ({values})") == [3, 6, 9]


def test_long_chains_of_or(stocked: Registry) -> None:
    where = " OR ".join(f"(seq_num = {i} AND day_obs > 0)" for i in range(1, 3000))
    assert found(stocked, where) == ALL


def test_nesting_has_a_limit(stocked: Registry) -> None:
    assert found(stocked, "(" * 5000 + "seq_num = 1" + ")" * 5000) == [1]
    for where in ("NOT " * 5000 + "can_see_sky", "1 + (" * 500 + "1" + ")" * 500 + " = 1"):
        with pytest.raises(QueryError, match="nested more than"):
            stocked.exposures(where)


def test_overflow_is_the_users_error(stocked: Registry) -> None:
    # SQLite goes on in floating point, PostgreSQL refuses: neither is a crash.
    with contextlib.suppress(QueryError):
        assert found(stocked, f"seq_num * {2**62} > 0") == ALL


def test_W21_the_instrument_must_be_given_where_there_are_several(empty: Registry) -> None:
    stock(empty)
    empty.register_instrument("Other", {}, "")
    with pytest.raises(QueryError, match="names no instrument, and there are 2: Other, TestCam"):
        empty.exposures("seq_num = 1")
    with pytest.raises(QueryError):
        empty.select("detector = 1")
    assert found(empty, "") == ALL
    assert found(empty, "TRUE") == ALL
    assert found(empty, f"instrument='{CAM}' AND seq_num = 1") == [1]
    assert found(empty, "NOT instrument='Other' AND seq_num = 1") == [1]
    assert found(empty, "seq_num = 1", instrument=CAM) == [1]
    assert found(empty, "instrument IN ('x') OR seq_num = 1") == [1]


def test_select_is_about_raws(stocked: Registry) -> None:
    """Unlike W20: a detector without a raw selects nothing."""
    rows = stocked.select("instrument='TestCam' AND detector=1 AND seq_num IN (1, 2)")
    assert [(one.seq_num, file.detector) for one, file in rows] == [(1, 1), (2, 1)]
    assert stocked.select("detector = 3") == []
    assert [file.detector for _, file in stocked.select("seq_num = 4")] == [0, 1]
    assert len(stocked.select()) == 18
    assert stocked.select("raft = 'R0' AND seq_num = 1 AND detector.full_name = 'D1'")


INJECTIONS = [
    "1 = 1; DROP TABLE exposure",
    "target_name = 'x'; DROP TABLE exposure; --'",
    "target_name = 'x'' OR 1=1 --'",
    "exposure IN (SELECT id FROM exposure)",
    "exposure = (SELECT 1)",
    "pg_sleep(10) = 1",
    "load_extension('x') = 1",
    "__import__('os').system('true') = 0",
    "target_name = '{0.__class__}' AND :x",
    "target_name = '%s' AND seq_num = %(a)s",
    "target_name = '\\'; DROP TABLE exposure'",
    "1 UNION SELECT * FROM raw",
]


@pytest.mark.parametrize("where", INJECTIONS)
def test_injections_are_refused_or_are_values(stocked: Registry, where: str) -> None:
    with contextlib.suppress(QueryError):
        assert found(stocked, where) == []
    assert found(stocked, "") == ALL


def test_an_error_shows_the_line_and_a_caret() -> None:
    with pytest.raises(QueryError) as caught:
        parse("seq_num = 1\nAND seq_num == == 2")
    assert str(caught.value).splitlines()[-2:] == [
        "  AND seq_num == == 2",
        "                 ^",
    ]


def test_lark_is_imported_by_the_first_query_only() -> None:
    import subprocess
    import sys

    code = (
        "import sys, cpflow.registry; print('lark' in sys.modules, 'numpy' in sys.modules);"
        "from cpflow.registry.where import parse; parse(''); print('lark' in sys.modules);"
        "parse('a = 1'); print('lark' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False", "False", "True"]
