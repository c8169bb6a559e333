"""Flats of four detectors with different response under a lamp that drifts."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow import Repo
from cpflow.io.instrument import dump_instrument, load_instrument
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, dark_sequence, simulate
from cpflow.simulate.flatfield import FlatField

FLATS = 10
INPUTS = ("QUAD/raw/all", "u/test/darkGen", "u/test/biasGen")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    here = tmp_path_factory.mktemp("quad")
    camera = load_instrument("quad")
    truth = Truth(flat=FlatField(detector_scatter=0.1, lamp_scatter=0.1, donuts=0))
    flats = Sequence(
        tuple(
            Observation(
                day_obs=20210122, seq_num=1 + i, type="flat", exposure_time=10.0, lamp=3000.0,
                filter="r", target="flat",
            )
            for i in range(FLATS)
        ),
        truth=truth,
    )  # fmt: skip
    for sequence in (bias_sequence(12, truth=truth), dark_sequence(6, truth=truth), flats):
        written = simulate(here / "raws", camera, sequence, truth=truth)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
    with Repo(here / "repo") as repo:
        assert not repo.ingest(here / "raws").refused
        repo.plan("bias", "observation_type='bias'").run(output="u/test/biasGen")
        repo.plan("dark", "observation_type='dark'", inputs=("QUAD/raw/all", "u/test/biasGen")).run(
            output="u/test/darkGen"
        )
        run = repo.plan("flat", "observation_type='flat'", inputs=INPUTS).run(
            output="u/test/flatGen"
        )
        yield repo, written, run


def response(made, detector):
    """Response of a detector in adu per photon on the brightest place: gains stay in the flat."""
    truth = made[1].open_truth()[f"detectors/{detector.id}"]
    image = truth["response"].values.astype(np.float64) * truth["illumination"].values
    for amplifier in detector:
        box = amplifier.detector_box
        image[box.rows, box.columns] /= amplifier.gain
    return image


def test_chip_to_chip_response_is_kept_within_a_thousandth(made):
    repo, _, run = made
    assert len(run.datasets) == 4
    ratios = []
    for ref in run.datasets:
        detector = repo.detector("QUAD", ref.data_id.detector)
        image = repo.open_dataset(ref)["image"].values
        ratios.append(np.mean(image) / np.mean(response(made, detector)))
    # 20480 pixels of 10 exposures with 20000 electrons each: 1.6e-5; the detectors' overscans
    # and biases add less. A thousandth is what is asked for.
    assert np.ptp(ratios) / np.mean(ratios) < 1e-3
    true = [np.mean(response(made, d)) for d in repo.camera("QUAD")]
    assert np.ptp(true) / np.mean(true) > 0.05, "the detectors do differ"


def test_levels_of_exposures_are_recovered_within_a_thousandth(made):
    repo, written, run = made
    truth = written.open_truth()["exposures/0"].to_dataset()
    lamp = truth["lamp"].sel(exposure=repo.open_dataset(run.datasets[0])["exposure"].values).values
    assert np.std(lamp) / np.mean(lamp) > 0.02, "the lamp drifts"
    for ref in run.datasets:
        scale = repo.open_dataset(ref)["scale"].values
        ratio = scale / lamp
        assert np.ptp(ratio) / np.mean(ratio) < 2e-3
        assert np.std(ratio) / np.mean(ratio) < 1e-3


def test_the_lamp_does_not_show_in_the_flat(made):
    """Pixels scatter about the response by photon and read noise alone."""
    repo, _, run = made
    for ref in run.datasets:
        detector = repo.detector("QUAD", ref.data_id.detector)
        product = repo.open_dataset(ref).compute()
        true = response(made, detector)
        ratio = product["image"].values / true
        ratio /= np.mean(ratio)
        scales = product["scale"].values
        for amplifier in detector:
            box = amplifier.detector_box
            part = ratio[box.rows, box.columns]
            counts = np.mean(product["image"].values[box.rows, box.columns])
            level = scales * counts
            noise = np.sqrt(
                np.mean(1 / level) / amplifier.gain / FLATS
                + (amplifier.read_noise / amplifier.gain) ** 2
                * (1 / FLATS + 1 / 12)
                / np.mean(level) ** 2
            )
            # 5120 pixels: 1 % each; clipping ten values costs a few percent.
            assert np.std(part) == pytest.approx(noise, rel=0.1)


def test_all_detectors_are_measured_once_for_the_scale_and_once_for_themselves(made):
    repo, _, run = made
    seen = []
    plan = repo.plan("flat", "observation_type='flat'", inputs=INPUTS)
    again = plan.run(
        output_run="u/test/counted",
        listener=lambda event: seen.append(event.key) if event.kind == "progress" else None,
    )
    assert [r.checksum for r in again.datasets] == [r.checksum for r in run.datasets]
    measured = [key for key in seen if key.startswith("measure-level-")]
    # The first product computes its own with the scale.
    assert len(measured) <= 2 * 4 * FLATS
    assert len(set(measured)) == 4 * FLATS


def test_one_detector_by_itself_equals_its_own_mean(made):
    repo, _, _ = made
    query = "observation_type='flat' AND detector=2"
    alone = repo.plan("flat", query, inputs=INPUTS).run(output_run="u/test/alone").product
    mean = (
        repo.plan("flat", query, inputs=INPUTS, config={"combine.scale": "mean"})
        .run(output_run="u/test/mean")
        .product
    )
    np.testing.assert_allclose(alone["image"].values, mean["image"].values, rtol=3e-7)
