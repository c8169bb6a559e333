"""The walk through nights that decides for how long a product holds."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.verify.validity import Night, ValidityOptions, nights, trend, valid_range

OPTIONS = ValidityOptions()


def night(day, verdict="pass", **options):
    return Night(20210100 + day, 4, 4, verdict, {"NOISE": 4}, False, **options)


def ranged(verdicts, start=10, options=OPTIONS, **changed):
    """`verdicts` maps days of January to verdicts."""
    found = [night(d, v, changed=changed.get(f"d{d}", ())) for d, v in sorted(verdicts.items())]
    return valid_range(found, [20210100 + start], options)


def test_everything_passes_and_nothing_ends_the_range():
    found = ranged(dict.fromkeys(range(5, 16), "pass"))
    assert (found.first, found.last) == (20210105, 20210115)
    assert not found.reason_before
    assert not found.reason_after
    assert not found.open_end
    assert ranged({10: "pass", 12: "pass"}, options=ValidityOptions(open_end=True)).open_end


def test_two_bad_nights_end_it_and_one_does_not():
    verdicts = {10: "pass", 11: "fail", 12: "pass", 13: "fail", 14: "fail", 15: "pass"}
    found = ranged(verdicts, options=ValidityOptions(open_end=True))
    assert found.last == 20210112
    assert found.reason_after == "it fails from 20210113 on: NOISE in 4"
    assert not found.open_end
    assert ranged(verdicts, options=ValidityOptions(max_bad_nights=3)).last == 20210115
    # Before the construction it goes the same way, backwards.
    mirrored = {20 - day: verdict for day, verdict in verdicts.items()}
    assert ranged(mirrored).first == 20210108


def test_a_bad_last_night_is_told():
    found = ranged({10: "pass", 11: "pass", 12: "fail"})
    assert found.last == 20210111
    assert "last night, 20210112" in found.reason_after


def test_a_night_with_few_exposures_says_nothing():
    assert ranged({10: "pass", 11: "untested", 12: "pass"}).last == 20210112
    assert ranged({10: "pass", 11: "fail", 12: "untested", 13: "fail"}).last == 20210110


def test_a_long_gap_ends_it_and_a_short_one_is_told():
    verdicts = {1: "pass", 10: "pass", 19: "pass"}
    assert ranged(verdicts).gaps == ((20210101, 20210110), (20210110, 20210119))
    found = ranged(verdicts, options=ValidityOptions(max_gap_days=5))
    assert (found.first, found.last) == (20210110, 20210110)
    assert "nothing was tested for 9 days" in found.reason_after


def test_a_change_of_the_camera_ends_it():
    found = ranged({10: "pass", 11: "pass", 12: "pass"}, d12=("SEQNAME",))
    assert found.last == 20210111
    assert found.reason_after == "the camera changed by 20210112: SEQNAME"


def test_a_product_that_fails_in_its_own_nights_has_no_range():
    found = ranged({10: "fail", 11: "pass"})
    assert found.first is None
    assert "made from" in found.reason_before


def test_nights_count_exposures_that_fail_a_required_test():
    table = {
        "exposure": np.array([1, 1, 2, 3, 3, 4, -1]),
        "test": np.array(["A", "B", "A", "A", "C", "B", "DRIFT"]),
        "severity": np.array(["required"] * 4 + ["informational", "required", "required"]),
        "verdict": np.array(["fail", "fail", "pass", "waived", "informational", "no_data", "fail"]),
    }
    days = {1: 20210101, 2: 20210101, 3: 20210102, 4: 20210102, 5: 20210103}
    one, two, three = nights(table, days, [3], ValidityOptions(pass_fraction=0.5))
    assert (one.passed, one.exposures, one.verdict) == (1, 2, "pass")
    assert one.failed_tests == {"A": 1, "B": 1}
    assert (two.passed, two.construction, two.failed_tests) == (1, True, {"B": 1})
    assert three.verdict == "untested"
    assert [n.verdict for n in nights(table, days, [], OPTIONS)] == ["fail", "fail", "untested"]


def test_the_trend_is_a_straight_line_with_an_honest_error():
    rng = np.random.default_rng(5)
    t = np.linspace(0, 10, 40)
    slopes, errors = zip(
        *(trend(t, 3 + 0.2 * t + rng.normal(0, 0.5, 40), np.full(40, 0.5)) for _ in range(400)),
        strict=True,
    )
    # Four standard errors of a mean of 400.
    assert abs(np.mean(slopes) - 0.2) < 4 * np.std(slopes) / 20
    assert np.std(slopes) == pytest.approx(np.mean(errors), rel=0.2)
    expected = np.polyfit(t, 3 + 0.2 * t, 1)[0]
    assert trend(t, 3 + 0.2 * t, np.zeros(40))[0] == pytest.approx(expected)
    assert np.isnan(trend([1, 2], [1, 2], [1, 1])).all()
