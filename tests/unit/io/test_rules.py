from __future__ import annotations

import pytest
from pydantic import ValidationError

from cpflow.io.evaluate import Evaluation
from cpflow.io.rules import HeaderRules, Rule
from cpflow.io.values import BadValueError, as_integer, as_logical, as_number


def rules(**changes) -> HeaderRules:
    base = {
        "time": {"begin": ["DATE-OBS"]},
        "fields": {"exposure": "ID", "seq_num": "SEQ", "observation_type": "TYPE"},
    }
    return HeaderRules.model_validate({**base, **changes})


def value(rule, header=None, path="/d/night-007b.fits.fz", **changes):
    """What one rule gives as a variable `x`."""
    made = rules(variables={"x": rule, **changes.pop("variables", {})}, **changes)
    found = Evaluation(made, {"DATE-OBS": "2020-06-01T06:00:00", **(header or {})}, path).find("x")
    return None if found is None else found.value


@pytest.mark.parametrize(
    ("rule", "header", "expected"),
    [
        ("A", {"A": " text "}, "text"),
        ("A", {"A": 5}, 5),
        ("A", {}, None),
        ("A", {"A": ""}, None),
        ("A", {"A": None}, None),
        (["A", "B"], {"A": " ", "B": 2}, 2),
        ({"value": 7}, {}, 7),
        ({"keys": ["A", "B"], "join": "~"}, {"A": "x", "B": "y"}, "x~y"),
        ({"keys": ["A", "B"], "join": "~"}, {"A": "x"}, None),
        ({"keys": ["A", "B"], "join": "~", "missing": "?"}, {"A": "x"}, "x~?"),
        ({"keys": ["A", "B"], "blank": "-", "lower": True}, {"A": "X", "B": " "}, "x-"),
        ({"file": r"-(\d+)"}, {}, "007"),
        ({"file": "(.*)"}, {}, "night-007b"),
        ({"file": "(z)"}, {}, None),
        ({"template": "{A}_{SEQ:04d}"}, {"A": "x", "SEQ": "12"}, "x_0012"),
        ({"template": "{A}_{B}"}, {"A": "x"}, None),
        ({"template": "{seq_num:03d}"}, {"SEQ": 7.0}, "007"),
        ({"date": "%Y%m%d"}, {}, "20200601"),
        ({"date": "%Y%m%d", "shift_hours": -12}, {}, "20200531"),
        ({"date": "%Y%m%d"}, {"DATE-OBS": " "}, None),
        ({"key": "A", "match": r"(\d+)s"}, {"A": "exp 30s"}, "30"),
        ({"key": "A", "match": r"(\d+)s"}, {"A": "exp"}, None),
        ({"key": "A", "remove_prefix": "spec:"}, {"A": "spec:HD1"}, "HD1"),
        ({"key": "A", "replace": {"-": "", "1": "one"}}, {"A": "a-1"}, "aone"),
        ({"key": "A", "replace": {".*": ""}}, {"A": "a"}, None),
        ({"key": "A", "map": {"Zero": "bias"}}, {"A": "ZERO"}, "bias"),
        ({"key": "A", "map": {"Zero": "bias"}}, {"A": "flat"}, "flat"),
        ({"key": "A", "map": {"Zero": "bias"}, "only": True}, {"A": "flat"}, None),
        ({"key": "A", "map": {"3": "three"}}, {"A": 3}, "three"),
        ({"key": "A", "scale": 0.001}, {"A": 250}, 0.25),
        ({"key": "A", "scale": -1, "add": 90}, {"A": "70"}, 20.0),
        ({"key": "A", "add": "seq_num"}, {"A": 1, "SEQ": 5}, 6),
        ({"key": "A", "add": "seq_num"}, {"A": 1}, None),
        ({"key": "A", "since": "2020-01-01"}, {"A": 1}, 1),
        ({"key": "A", "until": "2020-01-01"}, {"A": 1}, None),
        ({"key": "A", "since": "2021-01-01"}, {"A": 1}, None),
        ({"key": "A", "since": "2000-01-01"}, {"A": 1, "DATE-OBS": None}, None),
        ({"value": 1, "when": {"A": "Flat"}}, {"A": "flat "}, 1),
        ({"value": 1, "when": {"A": "flat"}}, {"A": "dark"}, None),
        ({"value": 1, "when": {"A": ["x", "dark"]}}, {"A": "dark"}, 1),
        ({"value": 1, "when": {"A": 0}}, {"A": 0.0}, 1),
        ({"value": 1, "when": {"A": {"min": 2, "max": 4}}}, {"A": 4}, 1),
        ({"value": 1, "when": {"A": {"min": 2, "max": 4}}}, {"A": 5}, None),
        ({"value": 1, "when": {"A": True}}, {"A": True}, 1),
        ({"value": 1, "when": {"A": 0}}, {}, None),
        ({"value": 1, "when": {"seq_num": 5}}, {"SEQ": 5}, 1),
    ],
)
def test_what_rules_give(rule, header, expected):
    got = value(rule, header)
    assert got == expected
    assert type(got) is type(expected)


def test_a_field_or_variable_may_be_used_by_others():
    got = value({"field": "y", "add": 1}, {"A": 5}, variables={"y": {"key": "A", "scale": 2}})
    assert got == 11


@pytest.mark.parametrize(
    "rule",
    [{"key": "A", "scale": 2}, {"template": "{A:03d}"}, {"value": 1, "when": {"A": {"min": 1}}}],
)
def test_numbers_that_are_none_are_refused(rule):
    with pytest.raises(BadValueError, match="'soon' is not a number"):
        value(rule, {"A": "soon"})


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "exactly one of"),
        ({"key": "A", "value": 1}, "has key, value"),
        ({"key": "A", "match": "no group"}, "has no group"),
        ({"file": "x"}, "has no group"),
        ({"key": "A", "match": "(("}, "regular expression"),
        ({"key": "A", "replace": {"((": ""}}, "is not a regular expression"),
        ({"key": "A", "only": True}, "`only` needs `map`"),
        ({"key": "A", "since": "lately"}, "not a date"),
        ({"template": "{a.__class__}"}, "not a name"),
        ({"template": "{0}"}, "not a name"),
        ({"key": "A", "mtach": "(x)"}, "no key 'mtach' here; did you mean 'match'"),
        ({"key": "A", "when": {"B": {"mn": 1}}}, "mn"),
    ],
)
def test_unsound_rules_are_refused(rule, message):
    with pytest.raises((ValidationError, ValueError), match=message):
        Rule.model_validate(rule)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"x": {"field": "nowhere"}}, "x: there is no field or variable 'nowhere'"),
        ({"x": {"template": "{nowhere}"}}, "no field or variable 'nowhere'"),
        ({"x": {"field": "y"}, "y": {"field": "x"}}, "circle: x -> y -> x"),
        ({"x": {"value": 1, "when": {"x": 1}}}, "circle"),
        ({"seq_num": "A"}, "not a free name"),
        ({"begin": "A"}, "not a free name"),
        ({"Upper": "A"}, "not a free name"),
    ],
)
def test_names_that_do_not_resolve_are_refused(variables, message):
    with pytest.raises(ValidationError, match=message):
        rules(variables=variables)


def test_a_begin_that_needs_itself_is_refused():
    with pytest.raises(ValidationError, match="circle: begin -> begin"):
        rules(time={"begin": [{"key": "DATE", "since": "2020-01-01"}]})


def test_an_unsound_pattern_of_identity_is_refused():
    with pytest.raises(ValidationError, match="is not a regular expression"):
        rules(identify={"INSTRUME": ["(("]})


def test_dates_may_be_written_without_quotes_in_yaml():
    import datetime

    assert Rule(key="A", since=datetime.date(2020, 1, 27)).since == "2020-01-27"


@pytest.mark.parametrize(("given", "number"), [("12", 12), (" 1e3 ", 1000.0), (2.5, 2.5)])
def test_numbers(given, number):
    assert as_number(given) == number


@pytest.mark.parametrize("given", ["", "1_000", "nan", "-inf", "0x10", True, None, float("nan")])
def test_not_numbers(given):
    with pytest.raises(BadValueError):
        as_number(given)


def test_whole_numbers_and_logicals():
    assert as_integer("000019") == 19
    with pytest.raises(BadValueError, match="whole"):
        as_integer(1.5)
    assert [as_logical(v) for v in (True, "T", "yes", 1, "F", "no", 0)] == [True] * 4 + [False] * 3
    with pytest.raises(BadValueError):
        as_logical("maybe")
