"""What the page of a verification holds: every row, and the worst of each cell."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from measured import FIRST, build_biases, verify_biases
from PIL import Image

from cpflow import Repo
from cpflow.report.verification_data import Collected, cells, number_text
from cpflow.report.verification_pictures import png_of, residual_pictures

EXPOSURES = [FIRST + i for i in range(6)]


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "repo"
    Repo.create(root, "quad").close()
    with Repo(root) as opened:
        biases = build_biases(opened, range(4), EXPOSURES[:2])
        verify_biases(
            opened, biases, EXPOSURES, lambda d, e, amp: 0.2 * (d == 1) * (e - FIRST) / 5, (16, 20)
        )
        yield opened


def collected(repo):
    found = Collected()
    for one in repo.verification("u/me/verify").verified():
        names = repo.detector("QUAD", one.ref.data_id.detector).amplifier_names
        found.add(one, names, f"S{one.ref.data_id.detector}")
    return found


def read(found):
    text = found.payload()
    assert "<" not in text
    # As a browser reads it: 1e999 is infinite.
    return json.loads(text)


def test_every_row_is_there_with_six_digits(repo):
    data = read(collected(repo))
    table = repo.verification("u/me/verify").table
    assert data["complete"]
    assert {len(values) for values in data["rows"].values()} == {table.sizes["row"]}
    rows = data["rows"]
    for column, name in {
        "value": "x",
        "error": "d",
        "low": "l",
        "high": "h",
        "margin": "m",
    }.items():
        shown = [math.nan if value is None else value for value in rows[name]]
        np.testing.assert_allclose(shown, table[column].values, rtol=1e-5)
    for column, names, name in (
        ("amp", data["amps"], "a"),
        ("verdict", data["verdicts"], "v"),
        ("severity", data["severities"], "y"),
        ("exposure", [e[0] for e in data["exposures"]], "e"),
        ("detector", [unit["detector"] for unit in data["units"]], "u"),
        ("statistic", [spec[0] for spec in data["specs"]], "s"),
        ("test", [spec[1] for spec in data["specs"]], "s"),
    ):
        assert [names[k] for k in rows[name]] == table[column].values.tolist()
    inside = {data["exposures"][k][0] for k in data["units"][3]["inside"]}
    assert inside == set(EXPOSURES[:2])


def test_of_a_large_run_the_worst_of_each_cell_is_there(repo, monkeypatch):
    monkeypatch.setattr("cpflow.report.verification_data.MOST_ROWS", 100)
    data = read(collected(repo))
    table = {name: v.values for name, v in repo.verification("u/me/verify").table.items()}
    assert not data["complete"]
    assert data["count"] == len(table["test"])
    assert {data["verdicts"][v] for v in data["rows"]["v"]} == {"fail"}
    assert len(data["rows"]["v"]) == (table["verdict"] == "fail").sum() > 0
    tested = table["test"] != ""
    for column, names, kind in (
        ("amp", data["amps"], "amp"),
        ("exposure", [e[0] for e in data["exposures"]], "exposure"),
    ):
        expected = {*zip(*(table[n][tested] for n in ("detector", column, "test")), strict=True)}
        assert len(data["cells"][kind]) == len(expected)
        for unit, key, spec, margin, rank, count, open_rows in data["cells"][kind]:
            own = (
                (table["detector"] == data["units"][unit]["detector"])
                & (table[column] == names[key])
                & (table["test"] == data["specs"][spec][1])
            )
            failed = table["verdict"][own] == "fail"
            assert margin == pytest.approx(table["margin"][own].min(), rel=6e-3)
            assert (count, open_rows) == (own.sum(), failed.sum())
            assert (rank == 4) == failed.any()


def test_too_many_failures_are_the_worst_ones(repo, monkeypatch):
    monkeypatch.setattr("cpflow.report.verification_data.MOST_ROWS", 100)
    monkeypatch.setattr("cpflow.report.verification_data._MOST_FAILURES", 5)
    table = repo.verification("u/me/verify").failures
    worst = np.sort(table["margin"].values)[:5]
    assert len(table["margin"]) > 5
    np.testing.assert_allclose(np.sort(read(collected(repo))["rows"]["m"]), worst, rtol=1e-5)


def test_the_worst_row_of_a_cell_against_a_loop():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 4, 300), rng.integers(0, 3, 300)
    margin = np.where(rng.random(300) < 0.2, np.nan, rng.normal(size=300))
    rank = rng.integers(0, 5, 300)
    expected = {}
    for k in range(300):
        own = expected.setdefault((a[k], b[k]), [])
        own.append((-rank[k], -math.inf if math.isnan(margin[k]) else margin[k]))
    found = cells(a, b, margin, rank)
    assert len(found) == len(expected)
    for i, j, smallest, worst, n, open_rows in found:
        own = expected[i, j]
        assert (worst, n) == (-min(own)[0], len(own))
        assert open_rows == sum(-r >= 3 for r, _ in own)
        assert (-math.inf if smallest is None else smallest) == pytest.approx(min(own)[1], rel=6e-3)
    nothing = np.array([], np.int64)
    assert cells(nothing, nothing, np.array([]), nothing) == []


def test_numbers_that_json_has_no_word_for():
    values = [math.nan, math.inf, -math.inf, 1 / 3, -2e-12, 12345678.0]
    read_back = json.loads(f"[{','.join(map(number_text, values))}]")
    assert read_back == [None, math.inf, -math.inf, 0.333333, -2e-12, 12345700.0]


def test_pictures_show_each_detector_at_its_place(repo):
    """Where a detector's centre lies, its own residual is seen; row 0 is at the bottom."""
    camera = repo.camera()
    refs = repo.verification("u/me/verify").refs
    made = residual_pictures(repo, refs, camera, EXPOSURES[::-1])
    assert [picture.exposure for picture in made.pictures] == EXPOSURES[::-1]
    assert made.binning == 8
    picture = made.pictures[0]
    levels = decoded(picture.png)
    left, right, bottom, top = picture.extent
    for ref in refs:
        detector = camera.detector(ref.data_id.detector)
        residual = repo.open_dataset(ref)["residual"].sel(frame=EXPOSURES[-1]).values
        pixel = detector.pixel_size_mm
        corner = [
            centre - (reference + 0.5) * pixel
            for centre, reference in zip(detector.centre_mm, detector.reference_pixel, strict=True)
        ]
        for y, x in ((2, 3), (12, 17), (7, 9)):
            at_x, at_y = (corner[0] + (x * 8 + 4) * pixel, corner[1] + (y * 8 + 4) * pixel)
            column = int((at_x - left) / (right - left) * levels.shape[1])
            row = int((top - at_y) / (top - bottom) * levels.shape[0])
            # Detectors lie off the lattice of cells by less than one.
            near = residual[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            grey = np.clip(np.floor((near - made.low) / (made.high - made.low) * 62), 0, 61)
            assert levels[row, column] in grey


def test_one_detector_is_shown_as_it_is(repo):
    (ref,) = repo.verification("u/me/verify", detector=2).refs
    made = residual_pictures(repo, [ref], repo.camera(), EXPOSURES)
    residual = repo.open_dataset(ref)["residual"].sel(frame=EXPOSURES[0]).values
    expected = np.clip(np.floor((residual - made.low) / (made.high - made.low) * 62), 0, 61)
    np.testing.assert_array_equal(decoded(made.pictures[0].png), expected[::-1])
    # Five standard deviations of what is shown, to either side.
    assert made.high - made.low == pytest.approx(10 * 3, rel=0.1)


def decoded(png):
    import io

    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture)


def test_nothing_has_a_colour_of_its_own():
    image = np.array([[np.nan, 0.0], [-9.0, 9.0]], np.float32)
    levels = decoded(png_of(image, -1.0, 1.0))
    assert levels.tolist() == [[0, 61], [62, 31]]
