"""Master dark on simulated frames: truth, cosmic rays, hot pixels, an independent build."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from astropy.io import fits

from cpflow import Repo
from cpflow.errors import ConfigurationError, MissingCalibrationError
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.io.zarr_product import content_hash
from cpflow.simulate import Truth, bias_sequence, dark_sequence, simulate
from cpflow.simulate.cosmic_rays import CosmicRays
from cpflow.simulate.dark import Dark
from cpflow.simulate.defects import Defects
from cpflow.stack.geometry import to_detector_frame

BIASES, DARKS = 12, 14
BIAS = "observation_type='bias'"
DARK = "observation_type='dark'"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Biases and darks of a camera with dark current, hot pixels and cosmic rays, and a bias."""
    here = tmp_path_factory.mktemp("dark")
    camera = scaled(load_instrument("latiss"), 16)
    hot = Defects(hot_pixels=2000, hot_columns=0, dead_columns=0, clusters=0, blinking=0)
    truth = Truth(dark=Dark(), defects=hot, cosmic_rays=CosmicRays())
    biases = simulate(here / "raws", camera, bias_sequence(BIASES, truth=truth), truth=truth)
    darks = simulate(
        here / "raws", camera, dark_sequence(DARKS, exposure_time=100.0, truth=truth), truth=truth
    )
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
    with Repo(here / "repo") as repo:
        assert not repo.ingest(here / "raws").refused
        repo.plan("bias", BIAS).run(output="u/test/biasGen")
        run = repo.plan("dark", DARK, inputs=("LATISS/raw/all", "u/test/biasGen")).run(
            output="u/test/darkGen"
        )
        yield repo, biases, darks, run


def rate_in_adu(made):
    repo, _, darks, _ = made
    truth = darks.open_truth()["detectors/0"]["dark_rate"].values.astype(np.float64)
    for amplifier in repo.detector("LATISS", 0):
        box = amplifier.detector_box
        truth[box.rows, box.columns] /= amplifier.gain
    return truth


def test_units_and_inputs_are_named(made):
    _, _, _, run = made
    product = run.product
    assert product["image"].attrs["units"] == "adu/s"
    assert product["variance"].attrs["units"] == "adu2/s2"
    assert set(run.datasets[0].provenance["calibrations"]) == {"bias"}
    assert (product["cosmic_ray_pixels"].values > 0).any()
    np.testing.assert_allclose(product["scale"], 100.25)


def test_dark_current_is_unbiased_and_hot_pixels_keep_their_rate(made):
    _, _, _, run = made
    product = run.product.compute()
    truth = rate_in_adu(made)
    image = product["image"].values
    # Noise of a pixel: read noise of the darks and of the bias they share, and Poisson.
    noise = 8.3 * np.sqrt(1 / DARKS + 1 / BIASES) / 100.25
    error = np.sqrt(noise**2 + truth / 100.25 / DARKS)
    assert np.mean(image) == pytest.approx(
        np.mean(truth), abs=5 * noise / 250 + 0.01 * truth.mean()
    )
    hot = truth > np.median(truth) + 12 * noise
    assert hot.sum() > 20, "the camera has hot pixels"
    pull = (image - truth)[hot] / error[hot]
    # Gains of 1.05 to 1.1 make Poisson noise in adu a little smaller than assumed.
    assert np.abs(np.median(pull)) < 5 / np.sqrt(hot.sum())
    assert np.mean(np.abs(pull) > 5) < 0.02
    assert product.attrs["n_filled"] == 0, "no hot pixel is taken for cosmic rays throughout"


def test_cosmic_rays_leave_no_trace(made):
    """Pixels that were hit are no brighter than the others."""
    _, _, darks, run = made
    product = run.product.compute()
    residual = product["image"].values - rate_in_adu(made)
    rays = darks.open_truth()["cosmic_rays/0"]
    hits = np.zeros(residual.shape, bool)
    hits[rays["y"].values, rays["x"].values] = True
    hits &= rate_in_adu(made) < 0.2  # hot pixels are noisier
    assert hits.sum() > 200
    typical = np.std(residual[~hits])
    assert np.mean(residual[hits]) == pytest.approx(
        0, abs=5 * typical / np.sqrt(hits.sum()) + 0.1 * typical
    )


def test_cosmic_rays_by_lacosmic_leave_no_trace_either(made):
    pytest.importorskip("astroscrappy", reason="pip install 'cpflow[lacosmic]'")
    repo, biases, darks, morphological = made
    run = repo.plan(
        "dark",
        DARK,
        inputs=("LATISS/raw/all", "u/test/biasGen"),
        config={"cosmic_rays.method": "lacosmic"},
    ).run(output_run="u/test/lacosmic")
    test_cosmic_rays_leave_no_trace((repo, biases, darks, run))
    test_dark_current_is_unbiased_and_hot_pixels_keep_their_rate((repo, biases, darks, run))
    assert (run.product["cosmic_ray_pixels"] > 0).any()
    assert content_hash(run.product) != content_hash(morphological.product)


def test_dark_equals_an_independent_build_without_cosmic_rays(made):
    repo, _, darks, _ = made
    run = repo.plan(
        "dark",
        DARK,
        inputs=("LATISS/raw/all", "u/test/biasGen"),
        config={"cosmic_rays.enabled": False},
    ).run(output_run="u/test/plain")
    product = run.product.compute()
    detector = repo.detector("LATISS", 0)
    bias = repo.get("bias", collections="u/test/biasGen", detector=0)["image"].values
    frames = []
    for path in darks.paths[-DARKS:]:
        image = np.empty(detector.shape, np.float32)
        with fits.open(path) as hdus:
            for amplifier in detector.amplifiers:
                raw = hdus[amplifier.source.hdu].data
                level = reference.median_per_row(
                    raw[amplifier.serial_overscan.rows, amplifier.serial_overscan.columns]
                )
                pixels = raw[amplifier.imaging.rows, amplifier.imaging.columns] - level[:, None]
                box = amplifier.detector_box
                image[box.rows, box.columns] = to_detector_frame(amplifier, pixels)
        frames.append((image - bias) * np.float32(1 / 100.25))
    mean, _, survivors = reference.clipped_mean(np.stack(frames))
    np.testing.assert_array_equal(product["n_used"], survivors)
    np.testing.assert_allclose(product["image"], mean, rtol=2e-7, atol=1e-9)


def test_bits_do_not_depend_on_the_band_height(made):
    repo, _, _, run = made
    other = repo.plan("dark", DARK, inputs=("LATISS/raw/all", "u/test/biasGen"), band_rows=9).run(
        output_run="u/test/low"
    )
    assert content_hash(run.product) == content_hash(other.product)


def test_a_dark_without_its_bias_is_refused(made):
    repo, _, _, _ = made
    with pytest.raises(MissingCalibrationError, match="needs a bias"):
        repo.plan("dark", DARK, inputs=("LATISS/raw/all",))
    with pytest.raises(ConfigurationError, match=r"isr\.dark is on"):
        repo.plan(
            "dark",
            DARK,
            inputs=("LATISS/raw/all", "u/test/biasGen"),
            config={"isr.dark": True},
        )
