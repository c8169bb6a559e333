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
    rng = np.random.default_rng(9)
    for a, amplifier in enumerate(detector.amplifiers):
        noise = amplifier.read_noise / amplifier.gain
        expected = variance_of_clipped_mean(noise, amplifier.serial_overscan.width, COUNT, rng)
        box = amplifier.detector_box
        chi_square = np.mean(difference[box.rows, box.columns] ** 2) / expected
        assert chi_square == pytest.approx(1, abs=0.01), amplifier.name
        measured = np.median(product["read_noise"].values[:, a])
        assert measured == pytest.approx(noise, rel=0.01), amplifier.name
