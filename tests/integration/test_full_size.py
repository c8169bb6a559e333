"""Twenty full-size LATISS biases, plain and RICE: truth found with the noise to be expected."""

from __future__ import annotations

import numpy as np
import pytest
from simulated import simulate_biases, truth_image, variance_of_clipped_mean

from cpflow import Repo

pytestmark = pytest.mark.slow
COUNT = 20


@pytest.mark.parametrize("compress", ["none", "rice"])
def test_truth_is_recovered(tmp_path, compress):
    made = simulate_biases(tmp_path / "raws", COUNT, 1, compress)
    Repo.create(tmp_path / "repo", made.instrument).close()
    with Repo(tmp_path / "repo") as repo:
        assert not repo.ingest(made.raws).refused
        detector = repo.detector("LATISS", 0)
        assert detector.shape == (4000, 4072)
        product = repo.plan("bias", "detector=0 AND instrument='LATISS'").run().product.compute()
    pattern = truth_image(made.truth)
    difference = (product["image"].values - pattern).astype(np.float64)
    noises = np.array([a.read_noise / a.gain for a in detector.amplifiers])
    columns = detector.amplifiers[0].serial_overscan.width
    # In units of the noise the variance depends on it only through the rounding of counts, which
    # adds 1/12 adu^2: 0.12 to 0.15 % for these amplifiers.
    rng = np.random.default_rng(9)
    expected = variance_of_clipped_mean(noises.mean(), columns, COUNT, rng) / noises.mean() ** 2
    for a, amplifier in enumerate(detector.amplifiers):
        box = amplifier.detector_box
        square = np.mean(difference[box.rows, box.columns] ** 2)
        assert square / (expected * noises[a] ** 2) == pytest.approx(1, abs=0.01), amplifier.name
        measured = np.median(product["read_noise"].values[:, a])
        assert measured == pytest.approx(noises[a], rel=0.01), amplifier.name
