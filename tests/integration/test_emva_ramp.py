"""Photon transfer curve and linearity of a real camera against its published EMVA 1288 results."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from cpflow import Repo
from cpflow.kernels.emva_linearity import emva_linearity

GAIN, NOISE = 0.28077, 3.0734  # DN per electron, DN
LEVELS = 2 * np.arange(25)
INPUTS = ("EMVA_CCD12/raw/all", "u/test/darkGen", "u/test/biasGen")


@pytest.fixture(scope="module")
def repo(real_data, tmp_path_factory):
    files = sorted((real_data / "emva1288_ccd12").glob("*_[0-9][0-9]_[12].fits.fz"))
    if not files:
        pytest.skip(f"no frames of the EMVA 1288 reference set in {real_data}")
    assert len(files) == 100
    root = tmp_path_factory.mktemp("emva") / "repo"
    Repo.create(root, "emva_ccd12").close()
    with Repo(root) as opened:
        opened.ingest(*files)
        opened.plan("bias", "observation_type='bias'").run(output="u/test/biasGen")
        opened.plan(
            "dark",
            "observation_type='dark'",
            inputs=(INPUTS[0], INPUTS[2]),
            config={"cosmic_rays.enabled": False},
        ).run(output="u/test/darkGen")
        yield opened


@pytest.fixture(scope="module")
def ptc(repo):
    config = {
        "ptc.fit_type": "POLYNOMIAL",
        "ptc.polynomial_degree": 1,
        "ptc.max_lag": 2,
        "ptc.flux_keyword": "photons",
    }
    plan = repo.plan("ptc", "observation_type='flat'", inputs=INPUTS, config=config)
    return plan.run(output="u/test/ptcGen").product.load()


def test_gain_and_dark_noise_of_a_straight_line(ptc):
    gain = 1 / ptc["gain"].values[0]
    assert gain == pytest.approx(GAIN, rel=0.005)
    assert ptc["noise"].values[0] * gain == pytest.approx(NOISE, rel=0.01)


def test_gain_by_the_published_method(ptc, real_data):
    """Through zero, dark variances subtracted, all points alike, up to 70 % of saturation."""
    dark = []
    for level in LEVELS:
        first, second = (
            fits.getdata(real_data / f"emva1288_ccd12/dark_{level:02d}_{i}.fits.fz", 1)
            for i in (1, 2)
        )
        dark.append(0.5 * np.var(first.astype(float) - second))
    mean, variance = ptc["mean"].values[0], ptc["variance"].values[0]
    used = mean <= 0.7 * mean[LEVELS == 36][0]
    x, y = mean[used], (variance - dark)[used]
    assert (x @ y) / (x @ x) == pytest.approx(GAIN, rel=0.005)


def test_saturation_is_found_at_level_36(ptc):
    # The last unsaturated even level; the ones above have no noise left to measure.
    used = LEVELS[ptc["used"].values[0]]
    assert used[-1] == 36
    assert ptc["turnoff"].values[0] == ptc["mean"].values[0][LEVELS == 36][0]


def test_linearity_error_by_the_published_method(ptc):
    signal = ptc["mean"].values[0]
    found = emva_linearity(ptc["flux"].values, signal, signal[LEVELS == 36][0])
    assert LEVELS[found.used][[0, -1]].tolist() == [2, 34]
    assert found.minimum == pytest.approx(-0.616, abs=0.05)
    assert found.maximum == pytest.approx(0.480, abs=0.05)


def test_a_linearity_makes_the_ramp_straighter(repo, ptc):
    config = {
        "linearity.kind": "polynomial",
        "linearity.abscissa": "flux",
        "linearity.max_deviation": 0.05,
        "linearity.max_adu": 3700.0,
    }
    plan = repo.plan(
        "linearity", "observation_type='flat'", inputs=("u/test/ptcGen", *INPUTS), config=config
    )
    product = plan.run(output_run="u/test/linearity").product.load()
    assert product["reason"].values[0] == ""
    used = product["used"].values[0]
    signal = product["signal"].values[0]
    before = emva_linearity(ptc["flux"].values, signal, signal[LEVELS == 36][0])
    after = product["residual"].values[0][used & (signal > 200)]
    assert 100 * np.abs(after).mean() < 0.5 * before.mean_absolute
