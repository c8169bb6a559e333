"""Real frames of four cameras, each compared with plain numpy on the pixels that astropy reads."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from astropy.io import fits

import cpflow
from cpflow import Repo
from cpflow.repo.ingest import ingest

# The shipped bias graph takes biases; these cameras have none, so their darks go in as such.
DARKS_AS_BIAS = '''"""A bias made of dark frames."""
from cpflow import Combine, GraphConfig, Isr, Select, combine, isr

INPUTS = {"raw": Select(observation_type="dark")}
PRODUCT = "bias"


class Config(GraphConfig):
    isr: Isr = Isr()
    combine: Combine = Combine()


def build(raw, calibrations, config):
    return combine(isr(raw, calibrations, config.isr), config.combine)
'''

pytestmark = pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")


def pixels(path):
    with fits.open(path) as hdus:
        return np.array(hdus[1].data)


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "darks_as_bias.py"
    path.write_text(DARKS_AS_BIAS)
    return str(path)


@pytest.fixture
def make(tmp_path):
    opened = []

    def repository(instrument, files):
        root = tmp_path / instrument
        Repo.create(root, instrument).close()
        repo = Repo(root)
        opened.append(repo)
        report = ingest(repo, files)
        assert not report.refused, report.refused
        assert len(report.added) == len(files)
        return repo

    yield repository
    for repo in opened:
        repo.close()


def assert_combined(product, stack, excluded=None):
    mean, variance, survivors = reference.clipped_mean(
        stack.astype(np.float32), None if excluded is None else ~excluded
    )
    good = np.isfinite(mean)
    np.testing.assert_array_equal(product["n_used"].values[good], survivors[good])
    # Both round a float64 mean to float32 once.
    spacing = np.spacing(np.abs(mean[good]).astype(np.float32))
    assert (np.abs(product["image"].values[good] - mean[good]) <= spacing).all()
    several = good & (survivors > 1)
    np.testing.assert_allclose(
        product["variance"].values[several], variance[several], rtol=4 * np.finfo(np.float32).eps
    )


def test_ten_emva_darks_as_a_bias(real_data, make, graph):
    files = sorted((real_data / "emva1288_ccd12").glob("dark_stack_*.fits.fz"))
    assert len(files) == 10
    repo = make("emva_ccd12", files)
    product = repo.plan(graph).run().product.compute()
    assert product["image"].shape == (480, 640)
    assert product["image"].attrs["units"] == "adu"
    assert_combined(product, np.stack([pixels(path) for path in files]))
    assert not product["mask"].any()


def test_two_msfc_darks_overscan_corrected_per_output(real_data, make):
    files = sorted((real_data / "msfc_ccd_darks").glob("*.fits.fz"))
    assert len(files) == 2
    repo = make("msfc_ccd", files)
    seen = 0
    for camera in repo.camera():
        raws = [pair for pair in repo.select("") if pair[1].detector == camera.id]
        if not raws:
            continue
        stack = cpflow.open_stack(camera, raws, root=str(repo.root))
        options = cpflow.Isr(overscan=cpflow.Overscan(fit_type="MEDIAN"))
        frames = cpflow.assemble(cpflow.isr(stack, {}, options).frames(), camera).compute()
        for index, (_, raw) in enumerate(sorted(raws, key=lambda pair: pair[0].exposure)):
            image = pixels(raw.path)
            expected = np.empty((1040, 2048))
            for upper in (False, True):
                for right in (False, True):
                    rows = slice(520, 1040) if upper else slice(0, 520)
                    quadrant = image[rows, 1076:][:, ::-1] if right else image[rows, :1076]
                    overscan = quadrant[:, 1074:]
                    level = reference.integer_median(overscan.ravel())
                    light = quadrant[:, 50:1074] - level
                    columns = slice(1024, 2048) if right else slice(0, 1024)
                    expected[rows, columns] = light[:, ::-1] if right else light
            np.testing.assert_array_equal(
                frames["image"].values[index], expected.astype(np.float32)
            )
            seen += 1
    assert seen == 2


@pytest.mark.parametrize("instrument", ["saao_ste3", "generic"])
def test_a_saao_frame_trimmed_and_corrected_by_its_keywords(real_data, make, instrument):
    (path,) = (real_data / "saao_ste3").glob("*.fits.fz")
    repo = make(instrument, [path])
    ((exposure, raw),) = repo.select("")
    assert exposure.exposure_time == pytest.approx(150.04)
    detector = repo.detector(exposure.instrument, raw.detector)
    (amplifier,) = detector.amplifiers
    assert (amplifier.gain, amplifier.read_noise) == (1.9, 5.0)
    stack = cpflow.open_stack(detector, [(exposure, raw)], root=str(repo.root))
    image = pixels(path)
    overscan = image[:, 3:13]
    for fit, level in (
        ("MEDIAN", np.full(520, reference.integer_median(overscan.ravel()))),
        ("MEAN", np.full(520, overscan.mean())),
        ("MEDIAN_PER_ROW", reference.median_per_row(overscan)),
    ):
        options = cpflow.Isr(overscan=cpflow.Overscan(fit_type=fit), saturation=False)
        frames = cpflow.assemble(cpflow.isr(stack, {}, options).frames(), detector).compute()
        expected = (image[:, 16:528] - level[:, None]).astype(np.float32)
        np.testing.assert_array_equal(frames["image"].values[0], expected)
        variance = expected / 1.9 + (5.0 / 1.9) ** 2
        np.testing.assert_allclose(frames["variance"].values[0], variance, rtol=1e-6)


def test_ten_sbig_darks_combined(real_data, make, graph):
    files = sorted((real_data / "sbig_st10_tres1").glob("tres1-0??d.fits.fz"))
    assert len(files) == 10
    repo = make("sbig_st10", files)
    product = repo.plan(graph).run().product.compute()
    assert product["image"].shape == (736, 1092)
    assert_combined(product, np.stack([pixels(path) for path in files]))
