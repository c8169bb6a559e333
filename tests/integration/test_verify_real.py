"""Verification of products of real cameras: verdicts that can be explained."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from cpflow import Repo

pytestmark = pytest.mark.slow
RAW = "EMVA_CCD12/raw/all"


def verdict(run):
    return run.datasets[0].provenance["summary"]


def test_bias_and_photon_transfer_curve_of_the_emva_camera_pass(real_data, tmp_path):
    """Gain and read noise of the instrument file are the published ones."""
    files = sorted((real_data / "emva1288_ccd12").glob("*_[0-9][0-9]_[12].fits.fz"))
    if not files:
        pytest.skip(f"no frames of the EMVA 1288 reference set in {real_data}")
    Repo.create(tmp_path / "repo", "emva_ccd12").close()
    with Repo(tmp_path / "repo") as repo:
        repo.ingest(*files)
        repo.plan("bias", "observation_type='bias'").run(output_run="bias")
        biases = repo.plan("verify/bias", "observation_type='bias'", candidate="bias").run()
        assert verdict(biases)["verdict"] == "pass"
        inputs = f"{RAW},bias,dark"
        repo.plan(
            "dark",
            "observation_type='dark'",
            inputs=f"{RAW},bias",
            config={"cosmic_rays.enabled": False},
        ).run(output_run="dark")
        config = {
            "ptc.fit_type": "POLYNOMIAL", "ptc.polynomial_degree": 1, "ptc.max_lag": 2,
            "ptc.flux_keyword": "photons",
        }  # fmt: skip
        flats = "observation_type='flat'"
        repo.plan("ptc", flats, inputs=inputs, config=config).run(output_run="ptc")
        curve = repo.plan("verify/ptc", flats, inputs=inputs, candidate="ptc").run()
        assert verdict(curve)["verdict"] == "pass"
        table = curve.product.compute()
        gain = float(table["value"].values[table["test"].values == "GAIN"].item())
        # The published gain by a straight line is 0.3 % off (test_emva_ramp).
        assert abs(gain) < 0.01
        # No overscan, and a fit without a brighter-fatter coefficient: there is nothing to test.
        assert not {"OVERSCAN_NOISE", "A00"} & set(verdict(curve)["tests"])


def test_darks_of_a_camera_without_overscan_drift_and_it_is_told(real_data, tmp_path):
    """The level of the SBIG moves by some counts from dark to dark, which nothing corrects."""
    files = sorted((real_data / "sbig_st10_tres1").glob("tres1-0??d.fits.fz"))
    if not files:
        pytest.skip(f"no frames of the SBIG ST-10 in {real_data}")
    Repo.create(tmp_path / "repo", "sbig_st10").close()
    with Repo(tmp_path / "repo") as repo:
        repo.ingest(*files)
        config = {"isr.bias": False, "cosmic_rays.enabled": False}
        dark = repo.plan("dark", repo.exposures()[:-2], config=config).run(output_run="dark")
        run = repo.plan(
            "verify/dark", repo.exposures(), candidate="dark", config={"isr.bias": False}
        ).run()
        assert "LEVEL" in verdict(run)["failed_tests"]
        table = run.product.compute()
        rows = table["test"].values == "LEVEL"
        image = dark.product["image"].values.astype(float)
        expected = []
        for path in files:
            with fits.open(path) as hdus:
                data = next(h.data for h in hdus if h.data is not None).astype(float)
            left = (data - 60 * image) * 0.78
            kept = left[np.abs(left - np.median(left)) < 5 * 1.4826 * np.median(
                np.abs(left - np.median(left))
            )]  # fmt: skip
            expected.append(kept.mean())
        np.testing.assert_allclose(table["value"].values[rows], expected, atol=0.1)
        assert np.ptp(expected) > 5
