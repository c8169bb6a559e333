"""Real frames of four cameras, each compared with plain numpy on the pixels that astropy reads."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from astropy.io import fits

import cpflow
from cpflow import Repo
from cpflow.kernels.masks import paint_boxes
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


def test_master_dark_of_sbig_and_a_dark_that_is_not_in_it(real_data, make):
    """The residual of a held-out dark scatters like noise: of itself and of the nine others."""
    files = sorted((real_data / "sbig_st10_tres1").glob("tres1-0??d.fits.fz"))
    repo = make("sbig_st10", files)
    held_out, others = repo.exposures()[-1], repo.exposures()[:-1]
    config = {"isr.bias": False, "cosmic_rays.enabled": False}
    dark = repo.plan("dark", others, config=config).run().product.compute()
    assert dark["image"].attrs["units"] == "adu/s"
    mean, _, _ = reference.clipped_mean(
        np.stack([pixels(path) for path in files[:-1]]).astype(np.float32) * np.float32(1 / 60)
    )
    np.testing.assert_allclose(dark["image"].values, mean, rtol=2e-7)
    frame = pixels(files[-1]).astype(np.float64)
    assert held_out.dark_time == 60.0
    residual = frame - 60 * dark["image"].values
    pairs = [
        pixels(a).astype(float) - pixels(b) for a, b in zip(files[:8:2], files[1:8:2], strict=True)
    ]

    def scatter(values):
        _, variance, m = reference.clipped_mean(values.reshape(-1, 1))
        return np.sqrt(variance[0] * m[0])

    single = np.mean([scatter(pair) for pair in pairs]) / np.sqrt(2)
    # A clipped mean of nine has a few percent more noise than a plain one, on a ninth of the
    # variance; the camera's level and noise drift by about a percent between frames.
    assert scatter(residual) == pytest.approx(single * np.sqrt(1 + 1 / 9), rel=0.03)
    # Hot pixels are gone: of those 500 adu above the median few differ by more than their noise.
    hot = mean * 60 > np.median(mean) * 60 + 500
    assert 100 < hot.sum() < 300
    shot = np.sqrt(single**2 + (60 * mean[hot] - np.median(frame)) / 0.78)
    assert np.mean(np.abs(residual[hot] - np.median(residual)) < 5 * shot) > 0.9


def test_hot_pixels_of_sbig_as_defects(real_data, make):
    """Pixels 500 adu above the level in more than 70 % of the darks, counted with numpy."""
    files = sorted((real_data / "sbig_st10_tres1").glob("tres1-0??d.fits.fz"))
    repo = make("sbig_st10", files)
    config = {
        "isr.bias": False,
        "defects.threshold": "VALUE",
        "defects.dark_current": 500 * 0.78 / 60,
        "defects.blinking_count": None,
    }
    product = repo.plan("defects", repo.exposures(), config=config).run().product.compute()
    count = np.zeros((736, 1092))
    for path in files:
        image = pixels(path).astype(np.float32)
        level, _, _ = reference.clipped_mean(image.reshape(-1, 1))
        count += image.astype(np.float64) - level[0] >= 500 * 0.78 / 60 * 60 / 0.78
    expected = count / len(files) > 0.7
    boxes = np.stack([product[n].values for n in ("x0", "y0", "width", "height")], axis=1)
    np.testing.assert_array_equal(paint_boxes(expected.shape, boxes), expected)
    assert 100 < expected.sum() < 300, "the README of the data speaks of 165"


def test_published_prnu_and_dsnu_of_the_emva_camera(real_data, make, graph):
    """Within 3 % of 0.4327 % and 0.552 electrons, from ten of the frames behind these numbers."""
    files = sorted((real_data / "emva1288_ccd12").glob("*_stack_*.fits.fz"))
    repo = make("emva_ccd12", files)
    plain = {"combine.statistic": "mean"}
    bias = repo.plan(graph, config=plain).run(output="u/test/biasGen").product.compute()
    spatial = bias["image"].values.var(ddof=1) - bias["variance"].values.mean()
    dsnu = np.sqrt(spatial) / 0.280769
    assert dsnu == pytest.approx(0.551788, rel=0.03)
    flat = (
        repo.plan(
            "flat",
            "observation_type='flat'",
            inputs=("EMVA_CCD12/raw/all", "u/test/biasGen"),
            config={"isr.dark": False, **plain},
        )
        .run()
        .product.compute()
    )
    # The temporal noise of both means is taken off the scatter over pixels; the dark's own pattern
    # is subtracted with it.
    scale = flat["scale"].values.mean()
    spatial = (
        flat["image"].values.var(ddof=1)
        - flat["variance"].values.mean()
        - bias["variance"].values.mean() / scale**2
    )
    assert 100 * np.sqrt(spatial) == pytest.approx(0.432704, rel=0.03)


def test_msfc_darks_build_one_product_per_camera(real_data, make):
    files = sorted((real_data / "msfc_ccd_darks").glob("*.fits.fz"))
    repo = make("msfc_ccd", files)
    config = {"isr.bias": False, "cosmic_rays.enabled": False}
    run = repo.plan("dark", config=config).run()
    assert sorted(ref.data_id.detector for ref in run.datasets) == [1, 3]
    for ref in run.datasets:
        product = repo.open_dataset(ref)
        assert product["image"].shape == (1040, 2048)
        assert np.isfinite(product["image"].values).all()


def test_sbig_sky_frames_minus_that_dark(real_data, make):
    """Dark-subtracted frames equal plain numpy; five of them make a sky frame for the sixth."""
    darks = sorted((real_data / "sbig_st10_tres1").glob("tres1-0??d.fits.fz"))
    skies = [real_data / "sbig_st10_tres1" / f"tres1-{n}.fits.fz" for n in
             ("021", "050", "090", "130", "170", "210")]  # fmt: skip
    repo = make("sbig_st10", [*darks, *skies])
    config = {"isr.bias": False, "cosmic_rays.enabled": False}
    dark = (
        repo.plan("dark", "observation_type='dark'", config=config)
        .run(output="u/test/darkGen")
        .product.compute()
    )
    assert [float(e.dark_time) for e in repo.exposures("observation_type='science'")] == [60.0] * 6
    run = repo.plan(
        "sky",
        repo.exposures("observation_type='science'")[:-1],
        inputs=("SBIG_ST10/raw/all", "u/test/darkGen"),
        # Without a flat, pixels scatter more than their light does.
        config={"isr.bias": False, "isr.flat": False, "sky.detection_threshold": 5.0},
    ).run(output="u/test/skyGen")
    product = run.product.compute()
    detector = repo.detector("SBIG_ST10", 0)
    selected = repo.select("observation_type='science'")
    stack = cpflow.open_stack(detector, selected, root=str(repo.root))
    calibrations = {"dark": dark.chunk(), "sky": product}

    def corrected(**options):
        isr = cpflow.Isr(dark=True, interpolate=False, **options)
        frames = cpflow.isr(stack, calibrations, isr).frames()
        return cpflow.assemble(frames[["image"]], detector)["image"].values

    plain, flat = corrected(), corrected(sky=True)
    # The master dark itself is compared with numpy above: its mean of ten, in adu/s.
    mean, _, _ = reference.clipped_mean(
        np.stack([pixels(path) for path in darks]).astype(np.float32) * np.float32(1 / 60)
    )
    for image, path in zip(plain, skies, strict=True):
        expected = pixels(path) - 60 * mean
        # Two roundings to float32 of numbers below 65536.
        np.testing.assert_allclose(image, expected, atol=2 * np.spacing(np.float32(65535)))
        assert 1000 < np.median(image) < 3000
    # No flat was taken that night, so the frame has the vignetting too: the sky of the last frame
    # is flatter with it, in bins whose median stars do not decide.
    assert product["sky"].shape == (23, 34)

    def medians(image):
        blocks = image[:736, :1088].reshape(23, 32, 34, 32).transpose(0, 2, 1, 3)
        return np.median(blocks.reshape(23, 34, -1), axis=2)

    y, x = np.meshgrid(np.linspace(-1, 1, 23), np.linspace(-1, 1, 34), indexing="ij")
    terms = np.stack([np.ones(x.size), x.ravel(), y.ravel(), (x * y).ravel()], axis=1)

    def unevenness(image):
        values = medians(image).ravel()
        fit, *_ = np.linalg.lstsq(terms, values, rcond=None)
        return np.percentile(np.abs(values - terms @ fit) / fit[0], 68)

    before, after = unevenness(plain[-1]), unevenness(flat[-1])
    # 0.47 and 0.27 %. What remains: 0.12 % of noise in the median of a bin, and structure that
    # changed over the night; frames of its first and second half differ by 0.28 %.
    assert after < 0.7 * before
