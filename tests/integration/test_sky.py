"""Sky frames of simulated nights: structure found, taken off, also with several detectors."""

from __future__ import annotations

import numpy as np
import pytest
from sky_frames import SKY_FIELD, SKY_HELD_OUT, calibrated, corrected, simulate_night, structure

from cpflow import Repo
from cpflow.io.instrument import dump_instrument, load_instrument
from cpflow.io.zarr_product import content_hash
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, dark_sequence, simulate
from cpflow.simulate.flatfield import FlatField
from cpflow.simulate.stars import StarField

COUNT = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    here = tmp_path_factory.mktemp("sky")
    night = simulate_night(here, "latiss", 8, fringes=0, skies=COUNT, period=1.5)
    repo, path = calibrated(night, here / "repo")
    run = repo.plan("sky", SKY_FIELD, inputs=path).run(output="u/test/skyGen")
    yield night, repo, path, run
    repo.close()


def test_the_product_says_what_its_bins_are(made):
    _, repo, _, run = made
    product = run.product.compute()
    detector = repo.detector("LATISS", 0)
    assert product["sky"].dims == ("bin_y", "bin_x")
    assert product["sky"].shape == tuple(int(n / 32 + 0.5) for n in detector.shape)
    attrs = product["sky"].attrs
    assert (attrs["rows"], attrs["columns"], attrs["bin_size"]) == (*detector.shape, 32)
    assert attrs["units"] == "1"
    assert product["n_used"].values.max() == COUNT
    # 900 electrons of sky, at gains of 1.05 to 1.1 and on a flat of mean 1.
    np.testing.assert_allclose(product["scale"], 900 / 1.09, rtol=0.07)
    assert product["scale"].attrs["units"] == "adu"
    assert np.ptp(product["scale"].values) / product["scale"].values.mean() < 0.005


def test_the_structure_of_the_sky_is_gone_within_half_a_percent(made):
    """Of an exposure that has no part in the frame."""
    night, repo, _, run = made
    before = structure(corrected(repo, night, run, SKY_HELD_OUT))
    after = structure(corrected(repo, night, run, SKY_HELD_OUT, sky=True))
    assert np.abs(before).max() > 0.01
    assert np.abs(after).max() < 0.005


def test_the_level_stays(made):
    night, repo, _, run = made
    plain = corrected(repo, night, run, SKY_HELD_OUT).astype(np.float64)
    flat = corrected(repo, night, run, SKY_HELD_OUT, sky=True).astype(np.float64)
    # What is subtracted has a mean of about zero, and a size of 2 % of the sky.
    assert np.mean(flat) == pytest.approx(np.mean(plain), rel=0.01)
    assert 0.005 < np.std(flat - plain) / np.mean(plain) < 0.03


def test_the_model_of_the_reference_leaves_slopes(made):
    """Through means of quarters as if of whole superpixels: slopes of exposures stay by half."""
    _, repo, path, run = made
    config = {"sky.refinements": 0}
    other = repo.plan("sky", SKY_FIELD, inputs=path, config=config).run(output_run="u/test/plain")
    noise, more = (np.median(r.product["variance"].values) for r in (run, other))
    assert more > 4 * noise


def test_bits_do_not_depend_on_the_band_height(made):
    _, repo, path, run = made
    other = repo.plan("sky", SKY_FIELD, inputs=path, band_rows=37).run(output_run="u/test/low")
    assert content_hash(other.product) == content_hash(run.product)


@pytest.fixture(scope="module")
def quad(tmp_path_factory):
    """Four detectors under one sky; it has the same slope on each of them."""
    here = tmp_path_factory.mktemp("quad-sky")
    camera = load_instrument("quad")
    truth = Truth(flat=FlatField(donuts=0, detector_scatter=0.05))

    def light(first, count, kind, target, **values):
        return Sequence(
            tuple(
                Observation(
                    day_obs=20210122, seq_num=first + i, type=kind, target=target, filter="r",
                    **values,
                )
                for i in range(count)
            ),
            truth=truth,
        )  # fmt: skip

    stars = StarField(density=300, flux=(20, 2000), dither=30)
    for sequence in (
        bias_sequence(8, truth=truth),
        dark_sequence(4, truth=truth),
        light(1, 6, "flat", "flat", exposure_time=10.0, lamp=3000.0),
        light(101, 5, "science", "sky field", exposure_time=60.0, sky=40.0, stars=stars),
        light(106, 1, "science", "sky field", exposure_time=60.0, sky=80.0, stars=stars),
    ):
        simulate(here / "raws", camera, sequence, truth=truth)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
    with Repo(here / "repo") as repo:
        assert not repo.ingest(here / "raws").refused
        path = ("QUAD/raw/all",)
        for graph in ("bias", "dark", "flat"):
            output = f"u/test/{graph}Gen"
            repo.plan(graph, f"observation_type='{graph}'", inputs=path).run(output=output)
            path = (*path, output)
        config = {"sky.detection_sigma": 2.0, "sky.bin_size": 16, "sky.detection_threshold": 3.0}
        run = repo.plan("sky", SKY_FIELD, inputs=path, config=config).run(output="u/test/skyGen")
        yield repo, run


def test_four_detectors_share_the_levels_of_the_sky(quad):
    repo, run = quad
    assert sorted(ref.data_id.detector for ref in run.datasets) == [0, 1, 2, 3]
    products = [repo.open_dataset(ref).compute() for ref in run.datasets]
    scales = products[0]["scale"].values
    for product in products:
        np.testing.assert_array_equal(product["scale"].values, scales)
        assert product["sky"].shape == (8, 10)
    # The last exposure has twice the sky. The others scatter by their noise: 2400 electrons in
    # 80000 pixels; stars are what is not known.
    assert scales[-1] / scales[:-1].mean() == pytest.approx(2, rel=0.005)
    assert np.ptp(scales[:-1]) / scales.mean() < 0.005


def test_a_sky_without_structure_has_none(quad):
    repo, run = quad
    for ref in run.datasets:
        sky = repo.open_dataset(ref)["sky"].values
        # A bin of 256 pixels with 2400 electrons each, half of them without stars, in six
        # exposures: 0.08 %; the flat adds 0.05 %. A detector is not known better than its flat.
        assert np.std(sky) < 0.002
        assert abs(np.mean(sky)) < 0.003
