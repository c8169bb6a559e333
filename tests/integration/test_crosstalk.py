"""Crosstalk from simulated star fields: truth, units, and what it does to an exposure."""

from __future__ import annotations

import numpy as np
import pytest
from altered import publish_altered

import cpflow
from cpflow import Repo
from cpflow.errors import BuildError
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.kernels.planes import CROSSTALK
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, simulate
from cpflow.simulate.crosstalk import Crosstalk
from cpflow.simulate.stars import StarField

EXPOSURES = 24
RAW, BIAS = "LATISS/raw/all", "u/test/biasGen"
STARS = "observation_type='science'"
# Amplifiers of 127 columns: the sky in bins of half of that.
CONFIG = {"isr.dark": False, "isr.defect": False, "crosstalk.background_bin": 64}


def build(here, truth):
    """Simulate and ingest biases and star fields; the seeds do not depend on the crosstalk."""
    camera = scaled(load_instrument("latiss"), 4)
    field = StarField(density=20, flux=(3e4, 8e4), sigma=1.8, dither=150)
    stars = Sequence(
        tuple(
            Observation(
                day_obs=20210218, seq_num=1 + i, type="science", target="NGC 4755",
                exposure_time=30.0, sky=3.0, stars=field,
            )
            for i in range(EXPOSURES)
        ),
        truth=truth,
    )  # fmt: skip
    simulate(here / "raws", camera, bias_sequence(20, truth=truth), truth=truth)
    written = simulate(here / "raws", camera, stars, truth=truth)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
    repo = Repo(here / "repo")
    assert not repo.ingest(here / "raws").refused
    repo.plan("bias", "observation_type='bias'").run(output=BIAS)
    return repo, written


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    repo, written = build(tmp_path_factory.mktemp("crosstalk"), Truth(crosstalk=Crosstalk()))
    with repo:
        run = repo.plan("crosstalk", STARS, inputs=(RAW, BIAS), config=CONFIG).run(
            output="u/test/crosstalkGen"
        )
        yield repo, written.open_truth()["detectors/0"]["crosstalk"].values, run


def off_diagonal(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


def test_coefficients_are_the_truth_with_pulls_of_unit_width(made):
    _, true, run = made
    product = run.product.load()
    assert product["coefficients"].dims == ("source_amp", "target_amp")
    assert product["coefficients"].attrs["units"] == "adu/adu"
    known = off_diagonal(product["counts"].values) >= 100
    assert known.sum() > 200
    pull = off_diagonal((product["coefficients"].values - true) / product["mean_errors"].values)
    pull = pull[known]
    # Of 200 and more pulls: 5 % on the width; errors of 100 ratios are up to 10 % too small.
    assert np.std(pull) == pytest.approx(1, abs=0.2)
    assert abs(np.mean(pull)) < 5 / np.sqrt(known.sum())
    # Three sigma hold for 99.7 % of them.
    assert np.mean(np.abs(pull) > 3) < 0.03
    # It is [source, target] and not the transpose: the truth is not symmetric.
    found, error = product["coefficients"].values, product["mean_errors"].values
    near = true > 1e-4
    right, wrong = (np.sum(((found - t) / error)[near] ** 2) for t in (true, true.T))
    assert wrong > 2 * right


def frames_of(repo, given, *, crosstalk):
    (planned,) = repo.plan("crosstalk", STARS, inputs=(RAW, BIAS), config=CONFIG).products
    options = cpflow.Isr(bias=True, crosstalk=crosstalk, interpolate=False)
    given = {"bias": repo.get("bias", collections=BIAS, detector=0), **given}
    return cpflow.isr(planned.stack, given, options).frames().isel(exposure=slice(0, 6)).compute()


def test_exposures_corrected_with_it_have_no_ghosts(made, tmp_path):
    repo, true, run = made
    corrected = frames_of(repo, {"crosstalk": run.product}, crosstalk=True)
    plain = frames_of(repo, {}, crosstalk=False)
    without, _ = build(tmp_path, Truth())
    with without:
        clean = frames_of(without, {}, crosstalk=False)
    assert (corrected["mask"].values & CROSSTALK).any()
    assert not (plain["mask"].values & CROSSTALK).any()
    bright = clean["image"].values > 30000
    ghosts = left = 0.0
    for s, t in np.argwhere(true > 1e-4):
        ghosts += (plain["image"].values - clean["image"].values)[:, t][bright[:, s]].sum()
        left += (corrected["image"].values - clean["image"].values)[:, t][bright[:, s]].sum()
    assert ghosts / bright.sum() > 5
    # Coefficients of 1e-4 and more with errors of some 3e-6.
    assert abs(left / ghosts) < 0.05


def test_a_quadratic_term_is_fitted_on_demand(made):
    repo, _, _ = made
    run = repo.plan(
        "crosstalk", STARS, inputs=(RAW, BIAS), config={**CONFIG, "crosstalk.order": 1}
    ).run(output_run="u/test/quadratic")
    product = run.product.load()
    assert product["quadratic"].attrs["units"] == "1/adu"
    known = off_diagonal(product["counts"].values) >= 100
    pull = off_diagonal(product["quadratic"].values / product["quadratic_errors"].values)[known]
    assert np.mean(np.abs(pull) > 3) < 0.05, "the truth has none"


def test_exposures_without_bright_stars_are_refused(made):
    repo, _, _ = made
    config = {**CONFIG, "crosstalk.threshold": 140_000.0}
    with pytest.raises(BuildError, match="nothing to measure crosstalk with"):
        repo.plan("crosstalk", STARS, inputs=(RAW, BIAS), config=config).run()


def verified(repo, candidate):
    run = repo.plan(
        "verify/crosstalk",
        STARS,
        inputs=(RAW, BIAS),
        candidate=candidate,
        config={k: v for k, v in CONFIG.items() if not k.startswith("isr")},
    ).run(output="u/test/verifyCrosstalk")
    return run.product.compute(), run.datasets[0].provenance["summary"]


def test_verification_passes_what_is_sound_and_finds_a_sign_that_is_flipped(made):
    repo, true, run = made
    table, summary = verified(repo, run.name)
    assert summary["verdict"] == "pass"

    def flip(product):
        product["coefficients"].values[...] = -product["coefficients"].values

    publish_altered(repo, run.datasets[0], "u/test/flipped", flip)
    table, summary = verified(repo, "u/test/flipped")
    assert set(summary["failed_tests"]) == {"IMPROVES", "RESIDUAL"}
    rows = table.isel(row=np.flatnonzero(table["test"].values == "RESIDUAL"))
    names = list(rows["amp"].values)
    value = dict(zip(names, rows["value"].values, strict=True))
    # Twice of it is left: what was there, and what was added instead of subtracted.
    for a, name in enumerate(names):
        if np.abs(true[a]).max() > 2e-4:
            assert value[name] == pytest.approx(2 * np.abs(true[a]).max(), rel=0.15)
