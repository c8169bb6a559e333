"""Mosaics of a camera with four detectors, by command and from a notebook."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from commands import cpflow

from cpflow import Repo
from cpflow.io.instrument import dump_instrument, load_instrument
from cpflow.simulate import Observation, Sequence, bias_sequence, simulate


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A bias of every detector, and flats of two filters."""
    here = tmp_path_factory.mktemp("mosaic")
    camera = load_instrument("quad")
    flats = Sequence(
        tuple(
            Observation(
                day_obs=20210122, seq_num=1 + i, type="flat", exposure_time=10.0, lamp=3000.0,
                filter="rg"[i % 2], target="flat",
            )
            for i in range(4)
        )
    )  # fmt: skip
    simulate(here / "raws", camera, bias_sequence(3))
    simulate(here / "raws", camera, flats)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
    with Repo(here / "repo") as repo:
        assert not repo.ingest(here / "raws").refused
        run = repo.plan("bias", "observation_type='bias'").run(output="u/me/biasGen")
        repo.certify(run, "QUAD/calib", begin="2021-01-01", end="2022-01-01")
        repo.plan(
            "flat", "observation_type='flat'", inputs=("QUAD/raw/all", "u/me/biasGen"),
            config={"isr.dark": False},
        ).run(output="u/me/flatGen")  # fmt: skip
    return here / "repo"


def test_a_picture_and_a_fits_file_of_all_detectors(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cpflow("mosaic", root, "u/me/biasGen", "bias").stdout.strip() == "bias-mosaic.png"
    assert (tmp_path / "bias-mosaic.png").read_bytes().startswith(b"\x89PNG")
    cpflow("mosaic", root, "u/me/biasGen", "bias", code=2)
    cpflow("mosaic", root, "u/me/biasGen", "bias", "--overwrite")
    target = tmp_path / "bias.fits"
    cpflow("mosaic", root, "u/me/biasGen", "bias", "--binning", 8, "-o", target)
    with Repo(root) as repo, fits.open(target) as hdus:
        plane = repo.mosaic("bias", collections="u/me/biasGen", binning=8)
        np.testing.assert_array_equal(hdus["IMAGE"].data, plane["image"])
        assert hdus[0].header["OBSTYPE"] == "bias"
        # Block by block, each detector is where its neighbours leave room for it.
        image = plane["image"].values
        for number, (left, right, bottom, top) in enumerate(plane["corners"].values):
            inside = (plane["x_mm"] > left) & (plane["x_mm"] < right)
            tall = (plane["y_mm"] > bottom) & (plane["y_mm"] < top)
            small = repo.get("bias", collections="u/me/biasGen", detector=number)["image_bin8"]
            np.testing.assert_array_equal(image[np.ix_(tall, inside)], small)


def test_one_filter_is_named(root, tmp_path):
    target = tmp_path / "flat.png"
    done = cpflow("mosaic", root, "u/me/flatGen", "flat", "-o", target, code=2)
    assert "2 filters: g, r" in done.stderr
    assert "--filter" in done.stderr
    cpflow("mosaic", root, "u/me/flatGen", "flat", "--filter", "r", "-o", target)
    assert target.is_file()
    with Repo(root) as repo:
        plane = repo.mosaic("flat", collections="u/me/flatGen", physical_filter="g")
        assert plane.attrs["physical_filter"] == "g"


def test_certified_products_are_found_by_an_exposure(root, tmp_path):
    with Repo(root) as repo:
        number = repo.exposures("observation_type='bias'")[0].exposure
    target = tmp_path / "bias.svg"
    cpflow("mosaic", root, "QUAD/calib", "bias", "--exposure", number, "-o", target)
    text = target.read_text()
    assert all(name in text for name in ("S00", "S01", "S10", "S11"))
    done = cpflow("mosaic", root, "QUAD/calib", "bias", "-o", tmp_path / "b.png", code=6)
    assert "needs an exposure" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("u/me/biasGen", "defects"), 2, "not an image"),
        (("u/me/biasGen", "bais"), 2, "no product 'bais'"),
        (("u/me/biasGen", "dark"), 6, "no detector has a dark"),
        (("u/me/flatGen", "flat", "--filter", "z"), 6, "filter z"),
        (("u/me/biasGen", "bias", "-o", "a.gif"), 2, "a.gif"),
    ],
)
def test_errors(root, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    assert message in cpflow("mosaic", root, *arguments, code=code).stderr
    assert not list(tmp_path.iterdir())
