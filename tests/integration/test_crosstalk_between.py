"""Crosstalk from one detector to another: put into raw frames, measured, and taken out again."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

import cpflow
from cpflow import Repo
from cpflow.io.instrument import dump_instrument, load_instrument
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, simulate
from cpflow.simulate.stars import StarField

EXPOSURES = 24
SOURCE, TARGET = 1, 2
RAW, BIAS = "QUAD/raw/all", "u/test/biasGen"
STARS = "observation_type='science'"
CONFIG = {
    "isr.dark": False,
    "isr.defect": False,
    "crosstalk.between_detectors": True,
    "crosstalk.margin": 8,
    "crosstalk.background_bin": 32,
    # Amplifiers of 64 x 80 pixels: some have 46.
    "crosstalk.least_ratios": 40,
}


def readout(amplifier, hdus):
    """The raw area of an amplifier in readout order, as a view of the file's pixels."""
    source = amplifier.source
    pixels = hdus[source.hdu].data[source.box.rows, source.box.columns]
    pixels = pixels[::-1] if source.flip_y else pixels
    return pixels[:, ::-1] if source.flip_x else pixels


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    here = tmp_path_factory.mktemp("between")
    camera = load_instrument("quad")
    field = StarField(density=60, flux=(3e4, 6e4), sigma=1.5, dither=60)
    truth = Truth()
    simulate(here / "raws", camera, bias_sequence(12, truth=truth), truth=truth)
    stars = Sequence(
        tuple(
            Observation(
                day_obs=20210218, seq_num=1 + i, type="science", target="NGC 4755",
                exposure_time=30.0, sky=1.0, stars=field,
            )
            for i in range(EXPOSURES)
        ),
        truth=truth,
    )  # fmt: skip
    simulate(here / "raws", camera, stars, truth=truth)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    rng = np.random.default_rng(1)
    source, target = camera.camera.detector(SOURCE), camera.camera.detector(TARGET)
    amplifiers = len(source.amplifiers)
    true = rng.uniform(5e-4, 2e-3, (amplifiers, amplifiers))
    # Where the frames are is asked of a repository, which is then thrown away.
    Repo.create(here / "first", here / "raws" / "instrument.yaml").close()
    with Repo(here / "first") as first:
        first.ingest(here / "raws")
        paths = {(e.exposure, raw.detector): raw.path for e, raw in first.select(STARS)}
    for exposure in {e for e, _ in paths}:
        with (
            fits.open(paths[exposure, SOURCE]) as theirs,
            fits.open(paths[exposure, TARGET], mode="update") as hdus,
        ):
            signals = []
            for amplifier in source.amplifiers:
                raw = readout(amplifier, theirs).astype(np.float64)
                box = amplifier.serial_overscan
                signals.append(raw - np.median(raw[box.rows, box.columns]))
            for t, amplifier in enumerate(target.amplifiers):
                ghosts = sum(c * signal for c, signal in zip(true[:, t], signals, strict=True))
                box = amplifier.imaging
                view = readout(amplifier, hdus)
                part = view[box.rows, box.columns] + ghosts[box.rows, box.columns]
                # Dithered, so that ghosts of a fraction of a count are not rounded away.
                part = np.floor(part + rng.uniform(0, 1, part.shape))
                view[box.rows, box.columns] = part.astype(view.dtype)
    Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
    with Repo(here / "repo") as repo:
        repo.ingest(here / "raws")
        repo.plan("bias", "observation_type='bias'").run(output=BIAS)
        run = repo.plan("crosstalk", STARS, inputs=(RAW, BIAS), config=CONFIG).run(
            output="u/test/crosstalkGen"
        )
        yield repo, true, run


def product_of(repo, run, detector):
    (ref,) = (r for r in run.datasets if r.data_id.detector == detector)
    return repo.open_dataset(ref).load()


def test_it_is_found_in_the_detector_that_has_it_and_in_no_other(made):
    repo, true, run = made
    assert len(run.datasets) == 4
    product = product_of(repo, run, TARGET).sel(source_detector=SOURCE)
    error = product["between_errors"].values
    pull = (product["between"].values - true) / error
    assert product["between_valid"].values.all()
    assert np.abs(pull).max() < 5
    assert np.mean(np.abs(pull)) < 1.5
    assert (true / error > 8).all(), "it is measured well"
    for detector in set(range(4)) - {TARGET}:
        other = product_of(repo, run, detector)
        pull = other["between"].values / other["between_errors"].values
        # With some 60 ratios errors are 14 % too small, of a few even more: no single largest pull.
        assert np.nanmedian(np.abs(pull)) < 1
        assert np.nanmean(np.abs(other["between"].values)) < 0.1 * true.mean()


def write_graph(repo):
    """The shipped graph, with crosstalk among what it takes."""
    source = (repo.root / "graphs").joinpath("again.py")
    source.parent.mkdir(exist_ok=True)
    shipped = (cpflow.share.share_directory("graphs") / "crosstalk.py").read_text()
    assert "NEEDS = (" in shipped
    source.write_text(shipped.replace("NEEDS = (", 'NEEDS = ("crosstalk?", '))


def test_correction_reads_the_other_detector_and_takes_it_out(made):
    repo, _, run = made
    given = {
        "bias": repo.get("bias", collections=BIAS, detector=TARGET),
        "crosstalk": product_of(repo, run, TARGET),
    }
    # A graph that applies it: what is measured after it has nothing left.
    config = {**CONFIG, "isr.crosstalk": True}
    write_graph(repo)
    plan = repo.plan("again", STARS, inputs=("u/test/crosstalkGen", RAW, BIAS), config=config)
    planned = next(p for p in plan.products if p.detector.id == TARGET)
    assert set(planned.stack.beside) == {0, 1, 3}
    again = plan.run(output_run="u/test/again")
    left = product_of(repo, again, TARGET).sel(source_detector=SOURCE)
    before = given["crosstalk"].sel(source_detector=SOURCE)
    assert np.abs(left["between"].values / left["between_errors"].values).max() < 5
    assert np.abs(left["between"].values).mean() < 0.1 * before["between"].values.mean()
    # Its lineage names the raw frames of the other detectors too.
    (ref,) = (r for r in again.datasets if r.data_id.detector == TARGET)
    used = repo.registry.lineage(ref.id).raws
    assert {raw.detector for raw in used} == {0, 1, 2, 3}


def test_frames_of_the_other_detectors_are_found_though_the_query_is_for_one(made):
    repo, _, _ = made
    write_graph(repo)
    config = {**CONFIG, "isr.crosstalk": True}
    plan = repo.plan(
        "again",
        f"{STARS} AND detector={TARGET}",
        inputs=("u/test/crosstalkGen", RAW, BIAS),
        config=config,
    )
    assert set(plan.products[0].stack.beside) == {0, 1, 3}
