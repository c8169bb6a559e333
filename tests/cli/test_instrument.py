"""``cpflow instrument new|check|list``, as they are typed."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
from astropy.io import fits
from commands import cpflow
from filled_in import fill_in

ROWS, COLUMNS, STRIP = 24, 32, 8


@pytest.fixture
def night(tmp_path):
    """Files of a camera with overscan, without sections, and without a gain."""
    directory = tmp_path / "night 1"
    directory.mkdir()
    rng = np.random.default_rng(3)
    for number, kind in enumerate(["Bias", "Bias", "Dark", "Flat"], start=1):
        light = rng.normal(5000 if kind == "Flat" else 500, 5, (ROWS, COLUMNS))
        pixels = np.hstack([light, rng.normal(480, 4, (ROWS, STRIP))]).astype(np.uint16)
        hdu = fits.PrimaryHDU(pixels)
        hdu.header["INSTRUME"] = "Home CCD"
        hdu.header["DATE-OBS"] = f"2024-03-01T20:{number:02d}:00"
        hdu.header["IMAGETYP"] = kind
        hdu.header["EXPTIME"] = 0.0 if kind == "Bias" else 10.0
        hdu.writeto(directory / f"{kind.lower()}_{number:03d}.fits")
    return directory


@pytest.fixture
def described(night, tmp_path, monkeypatch):
    """The instrument file of that camera, filled in."""
    monkeypatch.chdir(tmp_path)
    cpflow("instrument", "new", night, "-o", "home.yaml")
    fill_in(
        tmp_path / "home.yaml",
        {
            "types.CCD.outputs": f"{{corners: [LL], overscan_columns: {STRIP}}}",
            "types.CCD.amplifier.gain": "1.5",
        },
    )
    return tmp_path / "home.yaml"


def test_from_files_to_a_repository_with_the_commands_that_are_printed(
    night, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    done = cpflow("instrument", "new", night)
    assert "types          2 bias, 1 dark, 1 flat" in done.stdout
    assert "home_ccd.yaml: 2 values are to be filled in" in done.stdout
    assert f"next: fill it in, then cpflow instrument check home_ccd.yaml '{night}'" in done.stdout
    unfinished = cpflow("instrument", "check", "home_ccd.yaml", night, code=2)
    assert unfinished.stdout == ""
    assert "home_ccd.yaml: 2 values are still to be filled in" in unfinished.stderr
    assert "types.CCD.outputs: which corners are read out" in unfinished.stderr
    assert cpflow("init", "repo", "--instrument", "home_ccd.yaml", code=2).stderr == (
        unfinished.stderr
    )
    assert not (tmp_path / "repo").exists()
    fill_in(
        tmp_path / "home_ccd.yaml",
        {
            "types.CCD.outputs": f"{{corners: [LL], overscan_columns: {STRIP}}}",
            "types.CCD.amplifier.gain": "1.5",
        },
    )
    checked = cpflow("instrument", "check", "home_ccd.yaml", night).stdout
    commands = [shlex.split(line) for line in checked.split("next:\n")[1].strip().split("\n")]
    assert [words[:2] for words in commands] == [["cpflow", "init"], ["cpflow", "ingest"]]
    cpflow(*commands[0][1:])
    assert "4 files ingested" in cpflow(*commands[1][1:]).stdout
    rows = cpflow("records", "repo", "exposure", "--format", "json").json
    assert [row["observation_type"] for row in rows] == ["bias", "bias", "dark", "flat"]


def test_check_says_what_is_described_and_what_becomes_of_each_file(night, described):
    text = cpflow("instrument", "check", "home.yaml", night).stdout
    assert "detector 0 (CCD), type CCD: 32 x 24 pixels, 1 output of 32 x 24" in text
    assert "imaging x 0..31, y 0..23; overscan x 32..39, y 0..23" in text
    rows = [line.split() for line in text.split("\n")]
    (bias,) = [row for row in rows if row[:1] == ["bias_001.fits"]]
    assert bias == [
        "bias_001.fits", "0", "20240301200100000", "20240301", "1", "bias", "unknown", "0",
        "2024-03-01T20:01:00",
    ]  # fmt: skip
    (levels,) = [row for row in rows if row[:2] == ["0", "LL"]]
    imaging, overscan, scatter = (float(cell) for cell in levels[2:])
    assert "levels in flat_004.fits, adu" in text, "the file that saw light tells most"
    assert imaging == pytest.approx(5000, abs=3)
    assert overscan == pytest.approx(480, abs=3)
    assert scatter == pytest.approx(4, rel=0.3)
    alone = cpflow("instrument", "check", "home.yaml").stdout
    assert "1 output of 32 x 24" in alone
    assert "bias_001" not in alone
    assert "cpflow ingest repo PATH..." in alone


def test_check_names_what_is_refused_with_its_remedy(night, described):
    with fits.open(night / "dark_003.fits", mode="update") as hdus:
        hdus[0].header["INSTRUME"] = "Other"
    other = fits.PrimaryHDU(np.zeros((4, 5), np.uint16))
    other.header["DATE-OBS"], other.header["IMAGETYP"] = "2024-03-02T00:00:00", "bias"
    other.writeto(night / "small.fits")
    done = cpflow("instrument", "check", "home.yaml", night, code=4)
    assert "dark_003.fits" in done.stderr
    assert "this is not a file of Home_CCD" in done.stderr
    assert "small.fits" in done.stderr
    assert "amplifier LL is 5 x 4, the camera says 40 x 24" in done.stderr
    assert "2 files would be refused" in done.stderr
    assert "next:" not in done.stdout
    shown = cpflow("instrument", "check", "home.yaml", night, "--json", code=4).json
    assert [row["file"] for row in shown["files"]] == [
        "bias_001.fits", "bias_002.fits", "flat_004.fits",
    ]  # fmt: skip
    assert sorted(r["path"].rsplit("/")[-1] for r in shown["refused"]) == [
        "dark_003.fits", "small.fits",
    ]  # fmt: skip


def test_two_files_of_one_exposure_are_refused(night, described):
    """The ingest that is tried is the one that comes later: conflicts between files show."""
    (night / "again_009.fits").write_bytes((night / "bias_001.fits").read_bytes())
    done = cpflow("instrument", "check", "home.yaml", night, code=4)
    assert "again_009.fits" in done.stderr or "bias_001.fits" in done.stderr


def test_a_type_that_no_graph_takes_is_noted(night, described):
    with fits.open(night / "dark_003.fits", mode="update") as hdus:
        hdus[0].header["IMAGETYP"] = "dork"
    text = cpflow("instrument", "check", "home.yaml", night).stdout
    assert "note: no graph takes dork (1 file)" in text


def test_files_are_not_written_over(night, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "home.yaml"
    target.write_text("mine")
    done = cpflow("instrument", "new", night, "-o", "home.yaml", code=2)
    assert "home.yaml exists" in done.stderr
    assert target.read_text() == "mine"
    cpflow("instrument", "new", night, "-o", "home.yaml", "--overwrite")
    assert target.read_text() != "mine"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("new", "nowhere"), 3, "nowhere does not exist"),
        (("new", "{night}", "--name", "3 CCDs"), 2, "no name of an instrument"),
        (("new", "{night}", "-o", "home.txt"), 2, "no YAML file"),
        (("new", "{night}", "-o", "no/where.yaml"), 2, "no directory"),
        (("check", "nowhere.yaml"), 2, "nowhere.yaml"),
        (("check", "nothing"), 2, "there is no instrument 'nothing'"),
        (("check", "latiss", "nowhere"), 3, "nowhere does not exist"),
        (("check", "latiss", "{night}"), 4, "not a file of LATISS"),
    ],
)
def test_errors_have_a_remedy_and_an_exit_code(
    night, tmp_path, monkeypatch, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    given = [part.format(night=night) for part in arguments]
    assert message in cpflow("instrument", *given, code=code).stderr


def test_shipped_instruments_are_listed_and_can_be_checked():
    rows = cpflow("instrument", "list", "--format", "json").json
    found = {row["name"]: row["description"] for row in rows}
    assert found["saao_ste3"] == "SAAO 1.0 m telescope, STE3 CCD"
    text = cpflow("instrument", "check", "lsstcam").stdout
    assert "more, type E2V: 4096 x 4004 pixels" in text
    assert "16 outputs of 509 x 2000" in text
    assert "16 outputs of 512 x 2002" in text
