"""Timespans (spec V1 to V5), dates as users write them (3.6, W9), and scales."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from cpflow.timespan import (
    DAY,
    SECOND,
    Timespan,
    from_iso,
    from_mjd,
    isoformat,
    parse_date,
    parse_time_literal,
    tai_to_utc,
    utc_to_tai,
)


def test_V1_half_open() -> None:
    span = Timespan(10, 20)
    assert span.contains(10)
    assert span.contains(19)
    assert not span.contains(20)


def test_V2_unbounded_is_no_date() -> None:
    always = Timespan.always()
    assert always.contains(Timespan(-(2**62), 2**62))
    assert always != Timespan(from_iso("1970-01-01", "tai"), from_iso("2100-01-01", "tai"))
    assert not Timespan(from_iso("1960-01-01", "tai"), None).overlaps(
        Timespan(None, from_iso("1950-01-01", "tai"))
    )


def test_V3_equal_bounds_are_one_nanosecond() -> None:
    assert Timespan(5, 5) == Timespan(5, 6) == Timespan.at(5)


def test_V3_begin_after_end_is_empty() -> None:
    empty = Timespan(6, 5)
    assert empty.is_empty
    assert not empty.overlaps(empty)
    assert not empty.overlaps(Timespan.always())
    assert Timespan(1, 2).contains(empty)
    assert not empty.contains(Timespan(5, 6))
    assert empty.difference(Timespan(0, 1)) == ()


@pytest.mark.parametrize(
    ("a", "b", "overlap"),
    [
        ((0, 10), (10, 20), False),
        ((0, 11), (10, 20), True),
        ((None, 10), (9, None), True),
        ((None, 10), (10, None), False),
        ((None, None), (None, None), True),
        ((0, 1), (None, 0), False),
    ],
)
def test_V4_overlap(
    a: tuple[int | None, int | None], b: tuple[int | None, int | None], overlap: bool
) -> None:
    assert Timespan(*a).overlaps(Timespan(*b)) is overlap
    assert Timespan(*b).overlaps(Timespan(*a)) is overlap
    assert Timespan(*a).intersection(Timespan(*b)).is_empty is not overlap


@pytest.mark.parametrize(
    ("taken", "left"),
    [
        ((-5, 5), ((5, 10),)),
        ((3, 4), ((0, 3), (4, 10))),
        ((0, 10), ()),
        ((None, None), ()),
        ((8, None), ((0, 8),)),
        ((10, 20), ((0, 10),)),
        ((9, 3), ((0, 10),)),
    ],
)
def test_V5_difference(
    taken: tuple[int | None, int | None], left: tuple[tuple[int, int], ...]
) -> None:
    assert Timespan(0, 10).difference(Timespan(*taken)) == tuple(Timespan(*one) for one in left)


def test_V5_difference_of_unbounded() -> None:
    assert Timespan.always().difference(Timespan(3, 4)) == (Timespan(None, 3), Timespan(4, None))


def test_bounds_must_fit_in_64_bits() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        Timespan(2**63, None)


def test_representations() -> None:
    span = Timespan(from_iso("2021-01-01", "tai"), None)
    assert str(span) == "[2021-01-01T00:00:00, open) TAI"
    assert repr(span) == "Timespan([2021-01-01T00:00:00, open) TAI)"
    assert repr(Timespan(3, 4)) == "Timespan(3, 4)"
    assert "empty" in str(Timespan(span.begin, 0))


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2021-07-15", "2021-07-15T00:00:00"),
        ("2021-07-15T12:00", "2021-07-15T12:00:00"),
        ("2021-07-15 12:00:00.5", "2021-07-15T12:00:00.5"),
        ("2021:196", "2021-07-15T00:00:00"),
        ("2021:196:12:30", "2021-07-15T12:30:00"),
        ("MJD 59410.5", "2021-07-15T12:00:00"),
        ("mjd59410", "2021-07-15T00:00:00"),
        ("20210715", "2021-07-15T00:00:00"),
        ("  2021-07-15 ", "2021-07-15T00:00:00"),
        ("2021-07-15 UTC", "2021-07-15T00:00:37"),
        ("2021-07-15/utc", "2021-07-15T00:00:37"),
        ("2021-07-15T12:00:00 tai", "2021-07-15T12:00:00"),
        ("2021-07-15T12:00:00Z", "2021-07-15T12:00:37"),
        ("2021-07-15T12:00:00+00:00", "2021-07-15T12:00:37"),
        ("2021-07-15T12:00:00 tt", "2021-07-15T11:59:27.816"),
        ("1960-01-01", "1960-01-01T00:00:00"),
        ("2150-01-01", "2150-01-01T00:00:00"),
    ],
)
def test_dates_of_options_are_tai_unless_they_say(text: str, iso: str) -> None:
    assert isoformat(parse_date(text).tai) == iso


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "None",
        "2021-07",
        "59000.5",
        "59000",
        "T25:00:00",
        "2021-07-15T25:00:00",
        "2021-07-15T12:00:60",
        "2021-02-29",
        "2021:366",
        "2021:000",
        "20211301",
        "2021-07-15T12:00:00+02:00",
        "2021-07-15Z/tai",
        "2021-07-15 GMT",
        "1500-01-01",
        "2300-01-01",
        "MJD nan",
        "MJD 1e9",
        "２０２１-07-15",
        "1" * 5000,
        "MJD " + "1" * 5000,
    ],
)
def test_dates_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_date(text)
    assert "\n" not in str(caught.value)


def test_an_unset_shell_variable_does_not_mean_forever() -> None:
    with pytest.raises(ValueError, match="unset variable"):
        parse_date("")


def test_notes_say_what_was_converted() -> None:
    assert parse_date("2021-07-15").note is None
    assert "2021-07-15T12:00:37 TAI" in (parse_date("2021-07-15T12:00:00Z").note or "")
    assert "midnight" in (parse_date("20210715").note or "")


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2021-01-05", "2021-01-05T00:00:37"),
        ("2021-01-05 12:00", "2021-01-05T12:00:37"),
        ("2021-01-05T12:00:00/tai", "2021-01-05T12:00:00"),
        ("+2021-01-05T12:00:00", "2021-01-05T12:00:37"),
        ("2021:005:12:00:00", "2021-01-05T12:00:37"),
        ("59219.0", "2021-01-05T00:00:00"),
        ("59219.0/utc", "2021-01-05T00:00:37"),
        ("mjd/59219", "2021-01-05T00:00:00"),
        ("jd/2459219.5", "2021-01-05T00:00:00"),
        ("iso/2021-01-05 00:00:00", "2021-01-05T00:00:37"),
        ("2021-01-05+00:00", "2021-01-05T00:00:37"),
    ],
)
def test_W9_time_literals_are_utc_and_mjd_is_tai(text: str, iso: str) -> None:
    assert isoformat(parse_time_literal(text)) == iso


@pytest.mark.parametrize("text", ["59219", "2021-01-05Z", "", "jd/", "2021-01-05/gps", "x/y/z"])
def test_W9_time_literals_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time_literal(text)


def test_iso_keeps_every_nanosecond() -> None:
    assert from_iso("1970-01-01T00:00:00.000000001", "tai") == 1
    assert isoformat(1) == "1970-01-01T00:00:00.000000001"
    assert from_iso("1970-01-01T00:00:00.0000000004", "tai") == 0
    assert isoformat(-1) == "1969-12-31T23:59:59.999999999"


def test_leap_second() -> None:
    before = from_iso("2016-12-31T23:59:59", "utc")
    inside = from_iso("2016-12-31T23:59:60.25", "utc")
    after = from_iso("2017-01-01", "utc")
    assert after - before == 2 * SECOND
    assert inside - before == 1_250_000_000
    assert isoformat(inside, "utc") == "2016-12-31T23:59:60.25"
    assert isoformat(after, "utc") == "2017-01-01T00:00:00"
    with pytest.raises(ValueError, match="time of day"):
        from_iso("2017-12-31T23:59:60", "utc")
    with pytest.raises(ValueError, match="time of day"):
        from_iso("2016-12-31T23:59:60", "tai")


def test_scale_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="not one of tai, utc, tt"):
        from_iso("2021-01-01", "ut1")
    with pytest.raises(ValueError, match="not one of tai, utc, tt"):
        from_mjd("59000", "ut1")


def test_mjd_is_the_decimal_that_it_prints_as() -> None:
    assert from_mjd(59235.010744) == from_mjd("59235.010744")
    assert from_mjd("40587.000000000000011574074") == 1
    assert from_mjd(40587) == 0


def test_scales_agree_with_astropy() -> None:
    time = pytest.importorskip("astropy.time")
    rng = random.Random(1)
    texts = ["1972-01-01T00:00:00", "1999-01-01T00:00:00", "2016-12-31T23:59:59.5"]
    for _ in range(300):
        day = f"{rng.randint(1972, 2024)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
        texts.append(f"{day}T{clock}.{rng.randint(0, 10**9 - 1):09}")
    for text in texts:
        for scale in ("utc", "tai", "tt"):
            wanted = time.Time(text, scale=scale, format="isot", precision=9).tai
            assert isoformat(from_iso(text, scale)) == _trimmed(wanted.isot), (text, scale)
    inside = time.Time("2016-12-31T23:59:60.5", scale="utc", precision=9).tai.isot
    assert isoformat(from_iso("2016-12-31T23:59:60.5", "utc")) == _trimmed(inside)


def test_mjd_agrees_with_astropy() -> None:
    time = pytest.importorskip("astropy.time")
    rng = random.Random(2)
    # 57753 is the day of the last leap second: in UTC it has 86,401 s.
    days = [57753.999999, 57753.5, *(rng.uniform(41317, 62000) for _ in range(200))]
    for day in days:
        for scale in ("utc", "tai", "tt"):
            text = f"{day:.9f}"
            wanted = time.Time(text, scale=scale, format="mjd").tai
            delta = time.Time(isoformat(from_mjd(text, scale)), scale="tai") - wanted
            # A double of astropy's pair carries 1e-16 d here; a nanosecond is 1.2e-14 d.
            assert abs(delta.to_value("s")) < 2e-9, (text, scale)


def test_utc_and_tai_are_inverse_outside_leap_seconds() -> None:
    rng = random.Random(3)
    for _ in range(1000):
        utc = rng.randint(-(10**18), 2 * 10**18)
        assert tai_to_utc(utc_to_tai(utc)) == utc
    assert utc_to_tai(0) == 10 * SECOND
    assert utc_to_tai(20000 * DAY) == 20000 * DAY + 37 * SECOND


def _trimmed(iso: str) -> str:
    return iso.rstrip("0").removesuffix(".")


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, cpflow.timespan; print([m for m in ('numpy', 'astropy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
