"""A bias from end to end on simulated frames: truth, independent build, determinism, laziness."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import reference
from astropy.io import fits
from simulated import COUNT, truth_image, variance_of_clipped_mean

import cpflow
from cpflow.errors import MissingCalibrationError
from cpflow.io.zarr_product import content_hash
from cpflow.scheduler.profiles import LocalProfile
from cpflow.stack.geometry import to_detector_frame

QUERY = "instrument='LATISS' AND detector=0"


def independent_bias(paths, detector):
    """Whole frames with numpy: median of each overscan row, trim, flip, clip, average."""
    levels, frames = [], []
    for path in paths:
        image = np.empty(detector.shape)
        with fits.open(path) as hdus:
            for amplifier in detector.amplifiers:
                raw = hdus[amplifier.source.hdu].data
                overscan = raw[amplifier.serial_overscan.rows, amplifier.serial_overscan.columns]
                level = reference.median_per_row(overscan)
                levels.append(level)
                pixels = raw[amplifier.imaging.rows, amplifier.imaging.columns] - level[:, None]
                box = amplifier.detector_box
                image[box.rows, box.columns] = to_detector_frame(amplifier, pixels)
        frames.append(image.astype(np.float32))
    return reference.clipped_mean(np.stack(frames))


def test_product_equals_an_independent_build(repo, biases):
    run = repo.plan("bias", QUERY).run()
    product = run.product.compute()
    mean, variance, survivors = independent_bias(biases.paths, repo.detector("LATISS", 0))
    np.testing.assert_array_equal(product["n_used"], survivors)
    # Both round to float32 once: half a unit in the last place each.
    np.testing.assert_allclose(product["image"], mean, rtol=0, atol=np.spacing(np.float32(64)))
    np.testing.assert_allclose(product["variance"], variance, rtol=4 * np.finfo(np.float32).eps)
    assert not product["mask"].any()


def test_product_agrees_with_the_truth(repo, biases):
    """chi-square of (product - truth), with the variance that a clipped mean has, simulated."""
    product = repo.plan("bias", QUERY).run().product.compute()
    detector = repo.detector("LATISS", 0)
    difference = product["image"].values - truth_image(biases.truth)
    rng = np.random.default_rng(2)
    noises = np.array([a.read_noise / a.gain for a in detector.amplifiers])
    columns = detector.amplifiers[0].serial_overscan.width
    expected = variance_of_clipped_mean(noises.mean(), columns, COUNT, rng) / noises.mean() ** 2
    chi_square = np.mean(
        [
            np.mean(difference[a.detector_box.rows, a.detector_box.columns] ** 2) / noise**2
            for a, noise in zip(detector.amplifiers, noises, strict=True)
        ]
    )
    # Scatter of a mean square: pixels, and the share that pixels of a row have in common through
    # its overscan level, pi/2 / columns; in the product and in the simulation; 5 sigma.
    rows = len(detector.amplifiers) * detector.imaging_shape[0]
    common = np.pi / 2 / columns
    tolerance = 5 * np.sqrt(
        2 / difference.size + 2 * common**2 / rows + 2 / (4000 * 150) + 2 * common**2 / 4000
    )
    assert chi_square / expected == pytest.approx(1, abs=tolerance)
    for a, noise in enumerate(noises):
        measured = product["read_noise"].values[:, a]
        # COUNT values, each of rows x columns pixels; 5 sigma of their mean.
        samples = COUNT * detector.imaging_shape[0] * columns
        assert measured.mean() == pytest.approx(noise, rel=5 / np.sqrt(2 * samples) + 0.003)


@pytest.mark.parametrize(
    "config", [{}, {"isr.interpolate": False}, {"isr.overscan.fit_type": "MEDIAN"}]
)
def test_bits_do_not_depend_on_the_band_height(repo, config):
    hashes = set()
    for index, rows in enumerate((7, 50, 1000)):
        run = repo.plan("bias", QUERY, config=config, band_rows=rows).run(
            output_run=f"u/test/{index}"
        )
        hashes.add(content_hash(run.product))
    assert len(hashes) == 1


def test_bits_do_not_depend_on_the_scheduler(repo):
    threads = repo.plan("bias", QUERY).run(output_run="u/test/threads")
    processes = repo.plan("bias", QUERY, band_rows=40).run(
        output_run="u/test/processes", profile=LocalProfile(workers=2)
    )
    assert content_hash(threads.product) == content_hash(processes.product)


def test_planning_and_looking_compute_nothing(repo):
    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        plan = repo.plan("bias", QUERY)
        assert plan.product["image"].shape == repo.detector("LATISS", 0).shape
        for thing in (plan, plan.product, plan.products[0].stack, repo, plan.exposures):
            repr(thing)
            if hasattr(thing, "_repr_html_"):
                thing._repr_html_()
        assert plan.tasks > 0
        assert plan.bytes_to_read > 0
        with pytest.raises(AssertionError, match="was computed"):
            plan.product["image"][0, 0].compute()


def test_a_corner_of_the_lazy_product_is_that_of_the_built_one(repo):
    plan = repo.plan("bias", QUERY, band_rows=20)
    corner = plan.product["image"][:10, -15:].compute()
    built = plan.run().product["image"][:10, -15:].compute()
    np.testing.assert_array_equal(corner, built)


def test_frames_show_processed_exposures(repo, biases):
    stack = cpflow.isr(repo.plan("bias", QUERY).products[0].stack, {}, cpflow.Isr())
    frames = cpflow.assemble(stack.frames(), stack.detector)
    assert frames["image"].dims == ("exposure", "y", "x")
    one = frames.isel(exposure=3).compute()
    amplifier = stack.detector.amplifiers[0]
    with fits.open(biases.paths[3]) as hdus:
        raw = hdus[amplifier.source.hdu].data
    level = reference.median_per_row(
        raw[amplifier.serial_overscan.rows, amplifier.serial_overscan.columns]
    )
    pixels = raw[amplifier.imaging.rows, amplifier.imaging.columns] - level[:, None]
    box = amplifier.detector_box
    np.testing.assert_array_equal(
        one["image"].values[box.rows, box.columns],
        to_detector_frame(amplifier, pixels).astype(np.float32),
    )
    # adu: I/g + (RN/g)^2 (spec 2.11, corrected units)
    expected = pixels / amplifier.gain + (amplifier.read_noise / amplifier.gain) ** 2
    np.testing.assert_allclose(
        one["variance"].values[box.rows, box.columns],
        to_detector_frame(amplifier, expected),
        rtol=1e-5,
    )


def test_certify_then_look_up_by_an_exposures_time(repo):
    run = repo.plan("bias", QUERY).run(output="u/test/biasGen")
    assert run.chain == "u/test/biasGen"
    assert any("read noise of C00" in line for line in run.log)
    assert "iframe" in run.report._repr_html_()
    assert run.name in run._repr_html_()
    exposure = repo.exposures()[0]
    with pytest.raises(MissingCalibrationError):
        repo.get("bias", collections=run.name, detector=5)
    repo.certify(run, "LATISS/calib/DM-1", begin="2021-01-01", end="2050-01-01")
    certified = repo.get(
        "bias", collections="LATISS/calib/DM-1", exposure=exposure.exposure, detector=0
    )
    straight = repo.get("bias", collections="u/test/biasGen", detector=0)
    assert content_hash(certified) == content_hash(straight)
    repo.registry.change_chain("LATISS/calib", ["LATISS/calib/DM-1"])
    ref = repo.find("bias", collections="LATISS/calib", exposure=exposure.exposure, detector=0)
    assert ref is not None
    assert ref.id == run.datasets[0].id


def test_few_exposures_take_the_variance_of_their_inputs(repo):
    exposures = repo.exposures(QUERY)[:3]
    plan = repo.plan("bias", exposures)
    product = plan.run().product.compute()
    stack = cpflow.isr(plan.products[0].stack, {}, cpflow.Isr())
    frames = cpflow.assemble(stack.frames(), stack.detector).compute()
    assert (product["n_used"] == 3).all(), "three values are never clipped"
    np.testing.assert_allclose(
        product["variance"], frames["variance"].sum("exposure") / 9, rtol=1e-6
    )


def test_provenance_names_everything(repo):
    run = repo.plan("bias", QUERY, config={"isr.empirical_read_noise": True}).run()
    facts = run.datasets[0].provenance
    assert [raw["exposure"] for raw in facts["raws"]] == list(repo.exposures().ids)
    assert all(raw["checksum"].startswith("sha256:") for raw in facts["raws"])
    assert facts["config"]["isr.empirical_read_noise"] is True
    assert facts["config_origins"]["isr.empirical_read_noise"] == "config"
    assert facts["packages"]["numpy"] == np.__version__
    assert facts["graph"]["name"] == "bias"
    assert set(facts["summary"]["read_noise_adu"]) == set(
        repo.detector("LATISS", 0).amplifier_names
    )


def test_every_frame_is_measured_once_and_every_band_combined_once(repo):
    """Variables share these tasks; Dask's optimisation must not run them once for each."""
    from collections import Counter

    from dask.callbacks import Callback

    done = Counter()

    def count(key, *_):
        done[str(key).split("-")[0]] += 1

    plan = repo.plan("bias", QUERY, band_rows=25)
    with Callback(posttask=count):
        plan.run(output_run="u/test/counted")
    assert done["measure"] == COUNT
    assert done["combine"] == done["write"] - 1 == 5
    # Nothing that tasks have in common is taken apart into tasks of its own.
    assert sum(done.values()) < COUNT + 5 * 15 + 40
