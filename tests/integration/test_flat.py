"""Flat of one chip: response of pixels, per filter, with a lamp that fluctuates."""

from __future__ import annotations

import numpy as np
import pytest
import reference

from cpflow import Repo
from cpflow.errors import BuildError
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.share import share_directory
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, dark_sequence, simulate
from cpflow.simulate.dark import Dark
from cpflow.simulate.flatfield import FlatField

FLATS = 12
INPUTS = ("LATISS/raw/all", "u/test/darkGen", "u/test/biasGen")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    here = tmp_path_factory.mktemp("flat")
    camera = scaled(load_instrument("latiss"), 16)
    truth = Truth(dark=Dark(), flat=FlatField(lamp_scatter=0.1))
    flats = Sequence(
        tuple(
            Observation(
                day_obs=20210122,
                seq_num=1 + i,
                type="flat",
                exposure_time=10.0,
                lamp=2500.0,
                filter="empty~empty" if i % 2 else "RG610~empty",
                target="flat",
            )
            for i in range(2 * FLATS)
        ),
        truth=truth,
    )
    for sequence in (
        bias_sequence(10, truth=truth),
        dark_sequence(6, exposure_time=30.0, truth=truth),
        flats,
    ):
        written = simulate(here / "raws", camera, sequence, truth=truth)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
    with Repo(here / "repo") as repo:
        assert not repo.ingest(here / "raws").refused
        repo.plan("bias", "observation_type='bias'").run(output="u/test/biasGen")
        repo.plan(
            "dark", "observation_type='dark'", inputs=("LATISS/raw/all", "u/test/biasGen")
        ).run(output="u/test/darkGen")
        run = repo.plan("flat", "observation_type='flat'", inputs=INPUTS).run(
            output="u/test/flatGen"
        )
        yield repo, written, run


def test_one_product_per_filter_in_one_run(made):
    repo, _, run = made
    assert sorted(ref.data_id.physical_filter for ref in run.datasets) == [
        "RG610~empty",
        "empty~empty",
    ]
    for ref in run.datasets:
        product = repo.open_dataset(ref)
        assert product["image"].attrs["units"] == "1"
        assert product.sizes["exposure"] == FLATS


def test_the_flat_is_the_response_and_the_lamp_does_not_show(made):
    repo, written, run = made
    truth = written.open_truth()["detectors/0"]
    response = truth["response"].values * truth["illumination"].values
    detector = repo.detector("LATISS", 0)
    # In adu the gains of amplifiers stay in the flat.
    for amplifier in detector:
        box = amplifier.detector_box
        response[box.rows, box.columns] /= amplifier.gain
    for ref in run.datasets:
        product = repo.open_dataset(ref).compute()
        image = product["image"].values
        scales = product["scale"].values
        assert np.std(scales) / np.mean(scales) > 0.02, "the lamp fluctuates"
        # Each exposure is divided by its clipped mean; pixels that this leaves out differ a little.
        mean, _, _ = reference.clipped_mean(image.reshape(-1, 1))
        assert mean[0] == pytest.approx(1, abs=2e-3)
        ratio = image / response
        ratio /= np.mean(ratio)
        # Photons in adu of FLATS exposures, and read noise of flats and bias.
        level = np.mean(scales)
        inverse = np.mean(1 / scales)
        noise = np.sqrt(inverse / 1.09 / FLATS + 8.3**2 * (1 / FLATS + 1 / 10) / level**2)
        # A clipped mean of 12 loses a few percent of its weight; the response is not constant.
        assert np.std(ratio) == pytest.approx(noise, rel=0.1)


def test_a_flat_without_light_is_refused_by_name(made):
    repo, _, _ = made
    graph = repo.root / "graphs"
    graph.mkdir(exist_ok=True)
    source = (share_directory("graphs") / "flat.py").read_text()
    (graph / "dark_as_flat.py").write_text(source.replace('"flat")}', '"dark")}'))
    exposure = repo.exposures("observation_type='dark'")[0].exposure
    with pytest.raises(BuildError, match=f"(?s)no light.*{exposure}"):
        repo.plan("dark_as_flat", "observation_type='dark'", inputs=INPUTS).run()
