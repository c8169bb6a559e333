"""The page of a verification in a browser: what it shows is what the table holds."""

from __future__ import annotations

import time

import numpy as np
import pytest
from browser import chromium, requests
from measured import FIRST, build_biases, verify_biases
from verifications import publish_verification

from cpflow import Repo
from cpflow.registry import DataId, DatasetRef

EXPOSURES = [FIRST + i for i in range(50)]
BUILT = 20
NOISY = "C04"
WHY = {"category": "permanent", "comment": "<b>known</b>"}


def excess(detector, exposure, amp):
    return 0.09 * (amp == NOISY and exposure % 7 == 0)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of one detector, 50 exposures, 16 amplifiers and some 20 statistics; its table."""
    here = tmp_path_factory.mktemp("page")
    Repo.create(here / "repo", "latiss").close()
    with Repo(here / "repo") as repo:
        biases = build_biases(repo, [0], EXPOSURES[:BUILT])
        verify_biases(repo, biases, EXPOSURES, excess, (250, 256))
        report = repo.verification("u/me/verify")
        (page,) = report.save(here / "page.html")
        return page, report.table.load()


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(shown, pages):
    return opened(shown, pages[0])


def opened(browser, page):
    browser.get_log("browser")
    browser.get(page.as_uri())
    return browser


@pytest.fixture
def table(pages):
    return {name: pages[1][name].values for name in pages[1]}


def text(browser, selector):
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector
    )


def click(browser, selector):
    browser.execute_script(
        "const e = document.querySelector(arguments[0]);"
        "e.dispatchEvent(new MouseEvent('click', {bubbles: true}))",
        selector,
    )


def choose(browser, selector, value):
    browser.execute_script(
        "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event('change', {bubbles: true}))",
        selector,
        value,
    )


def column(browser, name):
    """One column of the table of rows as it is shown."""
    return browser.execute_script(
        "const k = [...document.querySelectorAll('#table thead th')]"
        ".findIndex((e) => e.dataset.sort === arguments[0]);"
        "return [...document.querySelectorAll('#table tbody tr')]"
        ".map((row) => row.cells[k].textContent)",
        name,
    )


def found(browser):
    """How many rows fit the filters."""
    return int(text(browser, "#found")[0].split(" ")[0].replace(",", ""))


def numbers(texts):
    return [float(one.replace("−", "-")) for one in texts]


def test_opens_fast_without_a_word_to_anybody(pages, shown, table):
    page, _ = pages
    assert len(table["test"]) > 13_000
    assert page.stat().st_size < 10e6
    before = time.perf_counter()
    browser = opened(shown, page)
    # On two busy cores it takes a second.
    assert time.perf_counter() - before < 15
    assert browser.get_log("browser") == []
    assert requests(browser, page.as_uri()) == [page.as_uri()]
    assert text(browser, "#verdict") == ["FAIL"]


def test_a_request_would_be_seen(shown, tmp_path):
    page = tmp_path / "asks.html"
    page.write_text('<img src="http://127.0.0.1:9/picture.png">')
    asked = requests(opened(shown, page), page.as_uri())
    assert "http://127.0.0.1:9/picture.png" in asked


def test_failures_are_shown_first_with_the_worst_on_top(browser, table):
    failed = table["verdict"] == "fail"
    assert 0 < failed.sum() < 100
    assert found(browser) == failed.sum()
    assert set(column(browser, "verdict")) == {"fail"}
    worst = np.argmin(np.where(failed, table["margin"], np.inf))
    assert column(browser, "exposure")[0] == str(table["exposure"][worst])
    assert set(column(browser, "amp")) == {NOISY}


def test_filters(browser, table):
    click(browser, "#f-show [data-value=tests]")
    tested = table["test"] != ""
    assert found(browser) == tested.sum()
    assert len(column(browser, "amp")) == 100
    choose(browser, "#f-test", "NOISE")
    chosen = table["test"] == "NOISE"
    assert found(browser) == chosen.sum()
    choose(browser, "#f-amp", "=C11")
    chosen &= table["amp"] == "C11"
    assert found(browser) == chosen.sum() == len(EXPOSURES)
    choose(browser, "#f-exposure", str(EXPOSURES[3]))
    assert found(browser) == 1
    assert column(browser, "use") == ["construction"]
    click(browser, "#clear")
    click(browser, "#f-kind [data-value=independent]")
    assert found(browser) == (tested & (table["exposure"] >= 0) & ~table["construction"]).sum()
    click(browser, "#f-show [data-value=failures]")
    independent = (table["verdict"] == "fail") & ~table["construction"]
    assert found(browser) == independent.sum()
    click(browser, "#f-show [data-value=all]")
    click(browser, "#f-kind [data-value='']")
    assert found(browser) == len(tested)


def test_a_click_on_a_column_sorts(browser, table):
    click(browser, "#f-show [data-value=tests]")
    choose(browser, "#f-test", "NOISE")
    value = np.sort(table["value"][table["test"] == "NOISE"])
    click(browser, "#table th[data-sort=value]")
    np.testing.assert_allclose(numbers(column(browser, "value")), value[:100], rtol=1e-3)
    click(browser, "#table th[data-sort=value]")
    np.testing.assert_allclose(numbers(column(browser, "value")), value[::-1][:100], rtol=1e-3)
    click(browser, "#next")
    np.testing.assert_allclose(numbers(column(browser, "value")), value[::-1][100:200], rtol=1e-3)
    click(browser, "#table th[data-sort=exposure]")
    assert set(column(browser, "exposure")) == {str(e) for e in EXPOSURES[:7]}


def test_cells_are_the_smallest_margins_and_lead_to_their_rows(browser, table):
    cells = browser.execute_script(
        "return [...document.querySelectorAll('#map-tests td[data-a]')]"
        ".map((e) => [e.dataset.a, e.dataset.b, e.title])"
    )
    tested = table["test"] != ""
    assert len(cells) == len({*zip(table["test"][tested], table["amp"][tested], strict=True)})
    for test, amp, title in cells:
        own = (table["test"] == test) & (table["amp"] == amp.removeprefix("="))
        (margin,) = numbers([title.split("margin ")[1].split(",")[0]])
        assert margin == pytest.approx(table["margin"][own].min(), rel=6e-3, abs=1e-9)
        assert ("fails" in title) == ("fail" in table["verdict"][own])
    click(browser, f"#map-tests td[data-a=NOISE][data-b='={NOISY}']")
    assert found(browser) == len(EXPOSURES)
    assert {*column(browser, "test")} == {"NOISE"}
    assert {*column(browser, "amp")} == {NOISY}


def test_exposures_and_amplifiers(browser, table):
    cell = "#map-exposures td.r4"
    marks = browser.execute_script(
        f"return [...document.querySelectorAll('{cell}')].map((e) => e.title)"
    )
    failed = table["verdict"] == "fail"
    expected = {*zip(table["amp"][failed], table["exposure"][failed].astype(str), strict=True)}
    assert {(t.split(", ")[0], t.split(", ")[1].split(":")[0].rstrip(" ●")) for t in marks} == (
        expected
    )
    click(browser, cell)
    assert len({*column(browser, "exposure")}) == 1
    assert {*column(browser, "amp")} == {NOISY}
    choose(browser, "#exposure-test", "MEAN")
    assert text(browser, cell) == []


def test_charts_have_limits_and_every_value(browser, table):
    cards = text(browser, ".chart h3")
    assert cards[0].startswith("NOISE")
    assert f"800 values, {(table['verdict'] == 'fail').sum()} fail" in cards[0]
    assert len(cards) == len({*table["test"]} - {""})
    assert browser.execute_script("return document.querySelectorAll('.chart .limit').length") > 9
    click(browser, "#f-chart [data-value=exposure]")
    points = browser.execute_script(
        "return [...document.querySelectorAll('.chart[data-test=NOISE] path')]"
        ".map((e) => e.getAttribute('d').split('M').length - 1)"
    )
    assert sum(points) == 16 * len(EXPOSURES)
    click(browser, ".chart[data-test=GOOD]")
    assert {*column(browser, "test")} == {"GOOD"}


def test_pictures_come_worst_first_and_are_enlarged(browser, table):
    exposures = browser.execute_script(
        "return [...document.querySelectorAll('.thumbnail')].map((e) => e.dataset.exposure)"
    )
    failing = {str(e) for e in table["exposure"][table["verdict"] == "fail"]}
    assert set(exposures[: len(failing)]) == failing
    assert len(exposures) == len(EXPOSURES)
    visible = "return [...document.querySelectorAll('.thumbnail')].filter((e) => !e.hidden).length"
    assert browser.execute_script(visible) == 12
    click(browser, ".more")
    assert browser.execute_script(visible) == len(EXPOSURES)
    click(browser, ".thumbnail .frame")
    assert browser.execute_script("return document.querySelector('dialog').open")
    assert f"{NOISY} NOISE" in text(browser, "dialog p")[0]
    drawn = "return document.querySelector('dialog img').naturalWidth"
    assert browser.execute_script(drawn) == 256
    assert browser.get_log("browser") == []


def test_it_prints(browser):
    pdf = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert len(pdf["data"]) > 50_000


def one_fails(detector, exposure, amp):
    return 0.1 * (detector == 2 and exposure == EXPOSURES[7])


@pytest.fixture
def quad(tmp_path):
    Repo.create(tmp_path / "repo", "quad").close()
    with Repo(tmp_path / "repo") as repo:
        yield repo


def test_several_detectors(quad, shown, tmp_path):
    biases = build_biases(quad, range(4), EXPOSURES[:5])
    verify_biases(quad, biases, EXPOSURES[:10], one_fails)
    report = quad.verification("u/me/verify")
    written = report.save(tmp_path / "run.html", pages=True)
    assert len(written) == 5
    browser = opened(shown, written[0])
    click(browser, "#products button[data-unit='2']")
    assert {*column(browser, "detector")} == {"2"}
    choose(browser, "#f-detector", "")
    click(browser, "#f-show [data-value=failures]")
    assert {*column(browser, "detector")} == {"2"}
    assert len(text(browser, "#map-plane rect[stroke='#7c1d03']")) == 4
    assert len(text(browser, ".thumbnail")) == 10
    browser.execute_script("document.querySelector('#products a').click()")
    assert "detector 0" in text(browser, "h1")[0]
    browser.execute_script("document.querySelector('header a').click()")
    assert "4 detectors" in text(browser, "h1")[0]
    assert browser.get_log("browser") == []


def test_a_run_too_large_for_its_rows_shows_those_that_fail(quad, shown, tmp_path, monkeypatch):
    monkeypatch.setattr("cpflow.report.verification_data.MOST_ROWS", 500)
    biases = build_biases(quad, range(4), EXPOSURES[:5])
    verify_biases(quad, biases, EXPOSURES[:10], one_fails)
    report = quad.verification("u/me/verify")
    (page,) = report.save(tmp_path / "run.html")
    browser = opened(shown, page)
    assert found(browser) == 4
    assert len(text(browser, "#map-tests td.r4")) == 1
    assert len(text(browser, "#map-exposures td.r4")) == 1
    click(browser, "#map-tests td.r4")
    assert {*column(browser, "test")} == {"NOISE"}
    assert browser.execute_script("return document.querySelector('#charts').hidden")
    assert browser.get_log("browser") == []


def test_without_exposures_and_with_a_waiver(quad, shown, tmp_path):
    """A curve is judged as it is; and nothing that a person wrote becomes markup."""
    ptc = DatasetRef(
        "7f2f5a52-8f62-4c4f-b1c9-0c4a6a1f9d35", "ptc", DataId("QUAD", 1), "u/me/ptc",
        quad.store.relative("u/me/ptc", "ptc_1.zarr"), "sha256:abc",
    )  # fmt: skip
    quad.registry.publish("u/me/ptc", [ptc])
    rows = [(-1, amp, "PTC_GAIN", "pass") for amp in "ABC"] + [(-1, "D", "PTC_GAIN", "fail")]
    publish_verification(quad, ptc, rows)
    quad.waive("ptc", "PTC_GAIN", detector=1, amp="D", **WHY)
    report = quad.verification("u/me/ptc")
    (page,) = report.save(tmp_path / "ptc.html")
    browser = opened(shown, page)
    assert text(browser, "#verdict") == ["WAIVED"]
    assert text(browser, "#waivers td.wide") == [WHY["comment"]]
    assert column(browser, "verdict") == ["waived"]
    assert text(browser, ".thumbnail") == []
    for hidden in ("#map-exposures", "#f-kind"):
        assert browser.execute_script(f"return document.querySelector('{hidden}').hidden"), hidden
    assert browser.get_log("browser") == []
