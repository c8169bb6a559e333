"""Fringe frames of simulated nights: the true pattern, and exposures without it."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import whole_frames as whole
from sky_frames import (
    FRINGE_FIELD,
    FRINGE_HELD_OUT,
    amplitude_of,
    calibrated,
    corrected,
    simulate_night,
)

from cpflow.errors import ConfigurationError, MissingCalibrationError
from cpflow.io.zarr_product import content_hash

COUNT = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    here = tmp_path_factory.mktemp("fringe")
    night = simulate_night(here, "latiss", 8, fringes=COUNT, skies=0)
    repo, path = calibrated(night, here / "repo")
    run = repo.plan("fringe", FRINGE_FIELD, inputs=path).run(output="u/test/fringeGen")
    yield night, repo, path, run
    repo.close()


def test_the_pattern_is_the_truth(made):
    night, _, _, run = made
    product = run.product.compute()
    image = product["image"].values.astype(np.float64)
    assert product["image"].attrs["units"] == product["variance"].attrs["units"] == "1"
    assert run.datasets[0].data_id.physical_filter == "RG610~empty"
    assert set(run.datasets[0].provenance["calibrations"]) == {"bias", "dark", "flat"}
    # Noise of a pixel is about the size of the fringes, over 256000 pixels; what is asked for is
    # 2 %.
    assert amplitude_of(image, night.fringe) == pytest.approx(1, abs=0.02)
    assert abs(image.mean()) < 1e-3
    assert product["dropped"].dtype == bool
    # 1800 electrons of sky, at gains of 1.05 to 1.1 and on a flat of mean 1.
    np.testing.assert_allclose(product["scale"], 1800 / 1.09, rtol=0.05)
    assert product.attrs["n_filled"] == 0


def test_fringes_are_gone_from_an_exposure_that_is_not_in_it(made):
    night, repo, _, run = made
    before = corrected(repo, night, run, FRINGE_HELD_OUT)
    after = corrected(repo, night, run, FRINGE_HELD_OUT, fringe=True)
    found = [amplitude_of(image / np.median(image), night.fringe) for image in (before, after)]
    # 0.6 of the fringes of the others; 2400 electrons of sky have a noise of 2 %, so a pattern of
    # 1.3 % rms over 256000 pixels is known to 0.3 % of itself, 0.5 % of the amplitude.
    assert found[0] == pytest.approx(0.6, abs=5 * 0.005)
    assert abs(found[1]) < 0.02


def flat_frames(repo, night, run):
    """Each exposure, corrected and independently divided by its sky, and what is no sky of it."""
    frames, objects, levels = [], [], []
    for exposure, _ in repo.select(FRINGE_FIELD):
        image, variance = (
            corrected(repo, night, run, exposure.exposure, plane).astype(np.float64)
            for plane in ("image", "variance")
        )
        level, _, _ = whole.clipped_mean_of(image)
        surface = whole.chebyshev_surface(image, np.isfinite(image), 128, 3)
        flat = (image - surface) / level
        frames.append(flat)
        levels.append(level)
        objects.append(whole.detected(image - surface, variance, flat > -9, 1.0, 5.0, 2.4)[0])
    return np.stack(frames), np.stack(objects), np.array(levels)


def test_one_pass_agrees_with_whole_frames_in_numpy(made):
    night, repo, path, _ = made
    run = repo.plan("fringe", FRINGE_FIELD, inputs=path, config={"fringe.passes": 1}).run(
        output_run="u/test/one"
    )
    product = run.product.compute()
    frames, objects, levels = flat_frames(repo, night, run)
    np.testing.assert_allclose(product["scale"], levels, rtol=1e-6)
    with np.errstate(all="ignore"):
        mean, variance, used = reference.clipped_mean(frames, ~objects)
    got = product["n_used"].values
    # A pixel at the threshold is an object for one and, rounded to float32, not for the other: of a
    # million smoothed pixels near it a few, each with the 13 around it.
    same = got == used
    assert same.mean() > 0.999
    several = same & (used > 3)
    np.testing.assert_allclose(product["image"].values[several], mean[several], atol=2e-6)
    # Beside the scatter there is what bias, dark and flat have in common. The flat's error is one
    # of all the light, not of the fringes alone.
    bias, dark, flat = (
        repo.get(name, collections=(f"u/test/{name}Gen",), detector=0, **where).compute()
        for name, where in (
            ("bias", {}),
            ("dark", {}),
            ("flat", {"physical_filter": "RG610~empty"}),
        )
    )
    weight, response = np.mean(1 / levels), flat["image"].values.astype(np.float64)
    common = weight**2 * (bias["variance"].values + 120.25**2 * dark["variance"].values)
    common += (1 + mean) ** 2 * flat["variance"].values
    expected = (variance + common / response**2)[several]
    np.testing.assert_allclose(product["variance"].values[several], expected, rtol=1e-3)


def test_a_first_pattern_keeps_the_crests(made):
    """One pass, as the reference does it, takes crests with a little noise for objects."""
    night, repo, path, _ = made
    run = repo.plan("fringe", FRINGE_FIELD, inputs=path, config={"fringe.passes": 1}).run(
        output_run="u/test/once"
    )
    assert amplitude_of(run.product["image"].values, night.fringe) < 0.96


def test_bits_do_not_depend_on_the_band_height(made):
    _, repo, path, run = made
    other = repo.plan("fringe", FRINGE_FIELD, inputs=path, band_rows=37).run(
        output_run="u/test/low"
    )
    assert content_hash(other.product) == content_hash(run.product)


def test_what_cannot_be_built_is_refused(made):
    _, repo, path, _ = made
    with pytest.raises(MissingCalibrationError, match="needs a flat"):
        repo.plan("fringe", FRINGE_FIELD, inputs=path[:-1])
    with pytest.raises(ConfigurationError, match="relative to the sky"):
        repo.plan("fringe", FRINGE_FIELD, inputs=path, config={"combine.scale": "exposure_time"})
