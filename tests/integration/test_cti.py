"""Charge transfer inefficiency of a simulated camera: found in flats, and gone after ISR."""

from __future__ import annotations

import numpy as np
import pytest

import cpflow
from cpflow import Repo
from cpflow.errors import BuildError, ConfigurationError
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.kernels.cti_fit import PARAMETERS
from cpflow.simulate import Observation, Sequence, Truth, simulate
from cpflow.simulate.cti import SerialCti
from cpflow.simulate.flatfield import FlatField
from cpflow.simulate.stars import StarField
from cpflow.steps import Cti, Overscan, measure_cti

RAW = "LATISS/raw/all"
FLATS, STARS = "observation_type='flat'", "observation_type='science'"
SCALE, LAMP, FLUXES = 4, 5000.0, np.geomspace(800, 120_000, 12)
MODEL = SerialCti(
    inefficiency=1e-5, drift_scale=3e-4, trap_size=60.0, trap_signal=1e4, trap_decay=0.8
)


def build(here, truth):
    """Simulate and ingest flats and star fields; the seeds do not depend on the transfer."""
    camera = scaled(load_instrument("latiss"), SCALE)
    flats = tuple(
        Observation(
            day_obs=20210311, seq_num=1 + i, type="flat", target="flat",
            exposure_time=float(flux / LAMP), lamp=LAMP,
        )
        for i, flux in enumerate(FLUXES)
    )  # fmt: skip
    field = StarField(density=20, flux=(2e4, 6e4), sigma=1.5, dither=150)
    stars = tuple(
        Observation(
            day_obs=20210312, seq_num=1 + i, type="science", target="NGC 4755",
            exposure_time=30.0, sky=20.0, stars=field,
        )
        for i in range(2)
    )  # fmt: skip
    simulate(here / "raws", camera, Sequence((*flats, *stars), truth=truth), truth=truth)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
    repo = Repo(here / "repo")
    assert not repo.ingest(here / "raws").refused
    return repo


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    truth = Truth(cti=MODEL, flat=FlatField(lamp_scatter=0.0, donuts=0))
    with build(tmp_path_factory.mktemp("cti"), truth) as repo:
        run = repo.plan("cti", FLATS, inputs=(RAW,)).run(output="u/test/ctiGen")
        yield repo, run.product.load()


@pytest.fixture(scope="module")
def perfect(tmp_path_factory):
    truth = Truth(flat=FlatField(lamp_scatter=0.0, donuts=0))
    with build(tmp_path_factory.mktemp("perfect"), truth) as repo:
        run = repo.plan("cti", FLATS, inputs=(RAW,)).run(output="u/test/ctiGen")
        yield repo, run.product.load()


def test_coefficients_are_the_truth_with_pulls_of_unit_width(made):
    _, product = made
    assert set(product["reason"].values.tolist()) == {""}
    assert product["used"].values.all()
    for name in PARAMETERS:
        pull = (product[name].values - getattr(MODEL, name)) / product[f"{name}_error"].values
        # Sixteen amplifiers: five standard errors of the mean, and of the width.
        assert abs(np.mean(pull)) < 5 / 4, name
        assert 1 - 5 / np.sqrt(32) < np.std(pull) < 1 + 5 / np.sqrt(32), name
    assert (np.abs(product["inefficiency"].values / 1e-5 - 1) < 0.1).all()


def test_edge_responses_are_what_the_register_leaves(made):
    repo, product = made
    (detector,) = repo.camera("LATISS")
    transfers = detector.amplifiers[0].imaging.x1
    s = product["last_column"].values
    kept = np.exp(-1 / MODEL.trap_decay)
    trap = MODEL.trap_size * -np.expm1(-s / MODEL.trap_signal) * (1 - kept**2)
    offset = MODEL.drift_scale * sum(np.exp(-k / MODEL.drift_decay) for k in (1, 2))
    expected = MODEL.inefficiency + (offset + trap / s) / transfers
    # The level of a row holds what trails beyond ten columns: 2 * 3e-4 * exp(-11/2.4) / 6 / 0.34 of
    # the signal, 3e-6, over the transfers.
    pull = (product["serial_cti"].values - expected) / product["serial_cti_error"].values
    shift = 4e-6 / transfers / product["serial_cti_error"].values
    assert (np.abs(pull) < 5 + shift).all()
    # 192 pulls: 5 % on their width, five times.
    assert np.std(pull) == pytest.approx(1, abs=0.26)


def test_parallel_transfer_is_perfect_and_errors_say_how_well_it_is_known(made):
    _, product = made
    pull = product["parallel_cti"].values / product["parallel_cti_error"].values
    assert np.std(pull) == pytest.approx(1, abs=0.26)
    assert (np.abs(pull) < 5).all()


def test_a_camera_without_cti_has_none(perfect):
    _, product = perfect
    pull = product["inefficiency"].values / product["inefficiency_error"].values
    assert (np.abs(pull) < 5).all()
    assert (product["drift_scale"].values == 0).all()
    assert (product["trap_size"].values == 0).all()


def frames(repo, product, **options):
    """Return processed star fields, electrons."""
    config = {"isr.bias": False, "isr.dark": False, "isr.defect": False}
    (planned,) = repo.plan("crosstalk", STARS, inputs=(RAW,), config=config).products
    given = {} if product is None else {"cti": product}
    isr = cpflow.Isr(
        **{"gain": "camera", "interpolate": False, "crosstalk": False, **options},
        cti=product is not None,
        overscan=Overscan(leading=10, fit_type="MEAN_PER_ROW"),
    )
    return cpflow.isr(planned.stack, given, isr).frames().compute()


def test_stars_corrected_with_it_have_no_trails(made, perfect):
    repo, product = made
    clean = frames(perfect[0], None)["image"].values
    plain = frames(repo, None)["image"].values
    corrected = frames(repo, product)["image"].values
    # Pixels after a bright one that have no light of their own: trails.
    bright = clean > 20_000
    assert clean.max() < 150_000, "nothing is saturated"
    after = np.zeros_like(bright)
    for k in range(1, 6):
        after[..., k:] |= bright[..., :-k]
    after &= clean < 5_000
    assert after.sum() > 500
    before = (plain - clean)[after]
    left = (corrected - clean)[after]
    # Counts of both are rounded: sqrt(2/12) adu of 1.08 electrons, 0.44, and so are row levels.
    assert np.std(left) < 0.7
    assert abs(np.mean(left)) < 0.03 * np.mean(before)
    assert np.mean(before) > 5
    # In the stars themselves the local offset of one pixel on the next prevails.
    wrong, rest = ((image - clean)[bright] for image in (plain, corrected))
    assert np.mean(wrong) > 3
    # 0.44 and, of up to 1e5 electrons, errors of the coefficients: 1e-5 or so.
    assert abs(np.mean(rest)) < 0.05 * np.mean(wrong)
    assert np.std(rest) < 1


def test_adu_are_corrected_as_electrons(made):
    repo, product = made
    electrons = frames(repo, product)["image"].values
    adu = frames(repo, product, gain="none")["image"].values
    gain = np.array([a.gain for a in next(iter(repo.camera("LATISS")))])[:, None, None]
    # Two more roundings of float32.
    np.testing.assert_allclose(adu * gain, electrons, rtol=4e-7, atol=2e-5)


def test_without_the_transfers_it_is_the_correction_of_the_reference(made):
    repo, product = made
    whole, part = (
        frames(repo, product, cti_transfers=transfers)["image"].values
        for transfers in (True, False)
    )
    difference = np.abs(whole - part).max()
    # 1e-5 of up to 1.5e5 electrons over up to 130 transfers.
    assert 10 < difference < 250


def test_what_cannot_be_measured_or_corrected_is_refused(made):
    repo, _ = made
    stack = repo.plan("cti", FLATS, inputs=(RAW,)).products[0].stack
    with pytest.raises(ConfigurationError, match="there is no cti"):
        cpflow.isr(stack, {}, cpflow.Isr(cti=True))
    for isr, options, message in (
        (cpflow.Isr(), Cti(), "in electrons"),
        (cpflow.Isr(gain="ptc"), Cti(), "no ptc"),
        (cpflow.Isr(gain="camera", overscan=Overscan(enabled=False)), Cti(), "without overscan"),
        (cpflow.Isr(gain="camera"), Cti(columns=14), "fewer than 3 for the level"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            measure_cti(stack, {}, isr, options)
    with pytest.raises(BuildError, match="no flat has a signal"):
        repo.plan("cti", FLATS, inputs=(RAW,), config={"cti.min_signal": 140_000.0}).run()
