"""Photon transfer curve, linearity and kernel of a camera whose electronics are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.ndimage import maximum_filter

import cpflow
from cpflow import Repo
from cpflow.errors import BuildError, NoDataError
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.io.zarr_product import content_hash
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, simulate
from cpflow.simulate.brighter_fatter import BrighterFatter
from cpflow.simulate.flatfield import FlatField
from cpflow.simulate.nonlinearity import Nonlinearity
from cpflow.simulate.stars import StarField

PAIRS = 40
RAW, BIAS = "LATISS/raw/all", "u/test/biasGen"
FLATS = "observation_type='flat'"
ISR = {"isr.dark": False, "isr.defect": False}


@dataclass(frozen=True)
class Made:
    repo: Repo
    truth: object
    scale: int


def ramp(truth, pairs=PAIRS, lamp=5000.0):
    """Pairs of flats from 500 to 110,000 electrons."""
    times = np.geomspace(500, 110_000, pairs).round() / lamp
    return Sequence(
        tuple(
            Observation(
                day_obs=20210311, seq_num=1 + i, type="flat", filter="empty~empty", target="flat",
                exposure_time=float(times[i // 2]), lamp=lamp,
            )
            for i in range(2 * pairs)
        ),
        truth=truth,
    )  # fmt: skip


def build(here, scale, truth, pairs=PAIRS):
    camera = scaled(load_instrument("latiss"), scale)
    simulate(here / "raws", camera, bias_sequence(20, truth=truth), truth=truth)
    made = simulate(here / "raws", camera, ramp(truth, pairs), truth=truth)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
    repo = Repo(here / "repo")
    assert not repo.ingest(here / "raws").refused
    repo.plan("bias", "observation_type='bias'").run(output=BIAS)
    return Made(repo, made.open_truth()["detectors/0"], scale)


@pytest.fixture(scope="module", params=[8, pytest.param(2, marks=pytest.mark.slow)])
def made(request, tmp_path_factory):
    flat = FlatField(lamp_scatter=0.0)
    truth = Truth(flat=flat, brighter_fatter=BrighterFatter())
    found = build(tmp_path_factory.mktemp("ptc"), request.param, truth)
    yield found
    found.repo.close()


@pytest.fixture(scope="module")
def ptc(made):
    plan = made.repo.plan("ptc", FLATS, inputs=(RAW, BIAS), config=ISR)
    return plan.run(output="u/test/ptcGen").product.load()


def test_gain_noise_and_area_coefficients_are_the_truth(made, ptc):
    assert set(ptc["reason"].values.tolist()) == {""}
    gain = ptc["gain"].values / made.truth["gain"].values - 1
    noise = ptc["noise"].values / made.truth["read_noise"].values - 1
    true = made.truth["bf_a"].values
    a00 = ptc["a"].values[:, 0, 0] / true[0, 0] - 1
    for values, error in (
        (gain, ptc["gain_error"].values / ptc["gain"].values),
        (noise, ptc["noise_error"].values / ptc["noise"].values),
        (a00, ptc["a_error"].values[:, 0, 0] / abs(true[0, 0])),
    ):
        # Sixteen pulls: five standard errors of their mean, and of their width.
        assert abs(np.mean(values / error)) < 5 / 4
        assert 1 - 5 / np.sqrt(32) < np.std(values / error) < 1 + 5 / np.sqrt(32)
    if made.scale == 2:
        assert abs(np.mean(gain)) < 0.002
        assert abs(np.mean(noise)) < 0.01
        assert abs(np.mean(a00)) < 0.02


def test_pulls_of_the_a_matrix_to_lag_three_have_unit_width(made, ptc):
    true = made.truth["bf_a"].values[:4, :4]
    pull = (ptc["a"].values[:, :4, :4] - true) / ptc["a_error"].values[:, :4, :4]
    # 256 pulls: 4.4 % on their width.
    assert np.std(pull) == pytest.approx(1, abs=0.1)
    assert abs(np.mean(pull)) < 5 / 16
    # x runs along rows: the truth is larger along columns, and so is what is found.
    if made.scale == 2:
        assert ptc["a"].values[:, 0, 1].mean() > 1.5 * ptc["a"].values[:, 1, 0].mean()


def test_a_pair_equals_an_independent_measurement(made, ptc):
    """Means, variance and covariances of one amplifier by plain loops over lags."""
    pair = 25
    (planned,) = made.repo.plan("ptc", FLATS, inputs=(RAW, BIAS), config=ISR).products
    bias = made.repo.get("bias", collections=BIAS, detector=0)
    stack = cpflow.isr(planned.stack, {"bias": bias}, planned.resolved.config.isr)
    frames = stack.frames()["image"].sel(exposure=ptc["exposures"].values[pair])
    first, second = frames[:, 3].values.astype(np.float64)
    mu1, mu2 = (_clipped(image)[0] for image in (first, second))
    mean = (mu1 + mu2) / 2
    difference = (mu2 * first - mu1 * second) / mean
    centre, width = _clipped(difference)
    weight = np.abs(difference) <= centre + 5.5 * width
    assert ptc["mean"].values[3, pair] == pytest.approx(mean, rel=1e-7)
    factor = 1.0000011847
    assert ptc["variance"].values[3, pair] == pytest.approx(width**2 / 2 * factor, rel=1e-6)
    rows, columns = difference.shape
    for dx, dy in ((0, 0), (1, 0), (0, 1), (3, 0)):
        a = np.s_[dy:, dx:]
        b = np.s_[: rows - dy, : columns - dx]
        both = weight[a] & weight[b]
        x, y = difference[a][both], difference[b][both]
        expected = 0.5 * (np.mean(x * y) - np.mean(x) * np.mean(y))
        expected *= factor if (dx, dy) == (0, 0) else factor**2
        assert ptc["covariances"].values[3, pair, dx, dy] == pytest.approx(
            expected, abs=1e-6 * width**2
        )


def _clipped(values, clip=5.5, passes=3):
    """MEANCLIP of spec 0.2, written down again."""
    values = values.ravel()
    q25, centre, q75 = np.percentile(values, [25, 50, 75])
    half = clip * 0.741301109252802 * (q75 - q25)
    for _ in range(passes):
        kept = values[np.abs(values - centre) <= half]
        centre, width = kept.mean(), kept.std(ddof=1)
        half = clip * width
    return centre, width


def test_exp_approximation_is_close_where_the_signal_is_small(made):
    """Equation 16 knows no neighbours: up to 50,000 electrons a tenth of a per cent in gain."""
    config = {**ISR, "ptc.fit_type": "EXPAPPROXIMATION", "ptc.max_mean": 45_000.0}
    plan = made.repo.plan("ptc", FLATS, inputs=(RAW, BIAS), config=config)
    product = plan.run(output_run="u/test/exp").product.load()
    gain = product["gain"].values / made.truth["gain"].values - 1
    error = product["gain_error"].values / product["gain"].values
    assert abs(np.mean(gain)) < 0.002 + 5 * np.mean(error) / 4
    assert np.isnan(product["b"].values).all()


def test_the_kernel_is_that_of_the_coefficients(made, ptc):
    run = made.repo.plan("bfk", FLATS, inputs=("u/test/ptcGen", RAW)).run(output="u/test/bfkGen")
    product = run.product.load()
    kernel, error = product["detector_kernel"].values, product["detector_kernel_error"].values
    true = made.truth["bf_kernel"].values
    # The truth is indexed [y, x] as images are, the product [x, y].
    middle = true.shape[0] // 2
    part = true.T[middle - 2 : middle + 3, middle - 2 : middle + 3]
    found, sigma = kernel[6:11, 6:11], error[6:11, 6:11]
    assert found[2, 2] < 0 or true[middle, middle] > 0
    pull = (found - part) / sigma
    assert np.abs(pull).max() < 5
    if made.scale == 2:
        assert np.abs(found[2, 2] / part[2, 2] - 1) < 0.05


def test_a_flat_says_how_its_correction_converged(made, ptc):
    """And a kernel that is not valid, as from so few pixels, is not applied."""
    repo = made.repo
    repo.plan("bfk", FLATS, inputs=("u/test/ptcGen", RAW)).run(output="u/test/bfkFlat")
    config = {"isr.dark": False, "isr.defect": False, "isr.brighter_fatter": True}
    query = f"{FLATS} AND seq_num > 60 AND seq_num < 67"
    inputs = ("u/test/bfkFlat", RAW, BIAS)
    if made.scale == 8:
        with pytest.raises(BuildError, match="brighter-fatter kernel is not valid"):
            repo.plan("flat", query, inputs=inputs, config=config).run()
        return
    products = [
        repo.plan("flat", query, inputs=inputs, config=config, band_rows=rows)
        .run(output_run=f"u/test/flat{rows}")
        .product.load()
        for rows in (70, 1000)
    ]
    assert (products[0]["brighter_fatter_passes"].values > 1).all()
    assert content_hash(products[0]) == content_hash(products[1])


def stacked_moments(image, places):
    """Second moments along y and x of all stars together, in a box of 25 pixels about them."""
    stamps = np.array([image[y - 12 : y + 13, x - 12 : x + 13] for y, x in places]).sum(axis=0)
    offsets = np.arange(-12, 13)
    total = stamps.sum()
    found = []
    for axis in (1, 0):
        profile = stamps.sum(axis=axis)
        centre = (profile * offsets).sum() / total
        found.append((profile * (offsets - centre) ** 2).sum() / total)
    return np.array(found)


@pytest.mark.slow
def test_bright_stars_have_the_shape_of_faint_ones_after_correction(tmp_path):
    """With the kernel from flats of the same camera: second moments within 0.5 %."""
    truth = Truth(flat=FlatField(lamp_scatter=0.0), brighter_fatter=BrighterFatter())
    made = build(tmp_path, 2, truth)
    field = StarField(density=40, flux=(5e4, 5.001e4), sigma=2.0, dither=0.0)
    stars = Sequence(
        tuple(
            Observation(
                day_obs=20210312, seq_num=1 + i, type="science", target="twins",
                exposure_time=30.0 if i == 0 else 1.5, stars=field,
            )
            for i in range(21)
        ),
        truth=truth,
    )  # fmt: skip
    camera = scaled(load_instrument("latiss"), 2)
    simulate(tmp_path / "raws", camera, stars, truth=truth)
    with made.repo as repo:
        repo.ingest(tmp_path / "raws")
        repo.plan("ptc", FLATS, inputs=(RAW, BIAS), config=ISR).run(output="u/test/ptcGen")
        repo.plan("bfk", FLATS, inputs=("u/test/ptcGen", RAW)).run(output="u/test/bfkGen")
        given = {
            name: repo.get(name, collections=f"u/test/{name}Gen", detector=0)
            for name in ("bias", "bfk")
        }
        selected = repo.select("observation_type='science'", collections=(RAW,))
        detector = repo.detector("LATISS", 0)
        images = {}
        for on in (False, True):
            stack = cpflow.open_stack(detector, selected, root=str(repo.root))
            options = cpflow.Isr(bias=True, brighter_fatter=on, interpolate=False)
            frames = cpflow.isr(stack, given, options).frames()
            images[on] = cpflow.assemble(frames, detector)["image"].compute().values
    bright, faint = images[False][0], images[False][1:].sum(axis=0)
    for amplifier in detector:
        box = amplifier.detector_box
        for image in (bright, faint, images[True][0]):
            image[box.rows, box.columns] *= amplifier.gain
    peaks = np.argwhere((bright == maximum_filter(bright, 9)) & (bright > 20_000))
    inside = (peaks > 30).all(axis=1) & (peaks < np.array(bright.shape) - 30).all(axis=1)
    distance = np.linalg.norm(peaks[:, None] - peaks[None], axis=2)
    places = peaks[inside & ((distance < 60).sum(axis=1) == 1)]
    assert len(places) > 40
    twin = stacked_moments(faint, places)
    before = stacked_moments(bright, places) / twin - 1
    after = stacked_moments(images[True][0], places) / twin - 1
    # Read noise of twenty faint frames on 40 stars: 0.15 % of the moments.
    assert (before > 0.008).all()
    assert np.abs(after).max() < 0.005


def test_pairs_by_time_and_what_is_left_over(made):
    with pytest.raises(NoDataError, match="no two of 1 flats"):
        made.repo.plan("ptc", f"{FLATS} AND seq_num = 1", inputs=(RAW, BIAS), config=ISR)
    plan = made.repo.plan("ptc", f"{FLATS} AND seq_num < 8", inputs=(RAW, BIAS), config=ISR)
    assert plan.products[0].dataset.sizes["pair"] == 3


def test_too_few_pairs_give_a_product_that_says_why(made):
    plan = made.repo.plan("ptc", f"{FLATS} AND seq_num < 7", inputs=(RAW, BIAS), config=ISR)
    product = plan.run(output_run="u/test/few").product.load()
    assert np.isnan(product["gain"].values).all()
    assert all("pairs" in reason for reason in product["reason"].values.tolist())


@pytest.fixture(scope="module")
def curved(tmp_path_factory):
    truth = Truth(flat=FlatField(lamp_scatter=0.0), nonlinearity=Nonlinearity())
    found = build(tmp_path_factory.mktemp("linearity"), 8, truth)
    yield found
    found.repo.close()


@pytest.mark.parametrize("kind", ["squared", "polynomial", "spline", "lookup_table"])
def test_linearity_takes_the_ramp_straight_to_half_a_thousandth(curved, kind):
    repo = curved.repo
    plan = repo.plan(
        "ptc",
        FLATS,
        inputs=(RAW, BIAS),
        config={**ISR, "ptc.fit_type": "EXPAPPROXIMATION", "ptc.max_lag": 2},
    )
    plan.run(output_run=f"u/test/ptc_{kind}")
    config = {"linearity.kind": kind, "linearity.max_deviation": 0.06}
    linearizer = repo.plan(
        "linearity", FLATS, inputs=(f"u/test/ptc_{kind}", RAW), config=config
    ).run(output_run=f"u/test/lin_{kind}")
    product = linearizer.product.load()
    assert set(product["reason"].values.tolist()) == {""}
    if kind == "squared":
        true = curved.truth["nonlinearity_squared"].values
        found = product["coefficients"].values[:, 0]
        error = product["coefficient_errors"].values[:, 0]
        assert np.abs((found - true) / error).max() < 5
    # Measured again with it: the means are on a line.
    again = repo.plan(
        "ptc",
        FLATS,
        inputs=(f"u/test/lin_{kind}", RAW, BIAS),
        config={**ISR, "isr.linearize": True, "ptc.max_lag": 2, "ptc.fit_type": "EXPAPPROXIMATION"},
    )
    assert "linearizer" in again.products[0].calibrations
    table = again.run(output_run=f"u/test/again_{kind}").product.load()
    time, mean = table["exposure_time"].values, table["mean"].values
    pixels = table["n_pixels"].values
    for a in range(len(mean)):
        error = np.sqrt(table["variance"].values[a] / 2 / pixels[a]) / mean[a]
        bright = mean[a] > 2000
        slope = np.average((mean[a] / time)[bright], weights=1 / error[bright] ** 2)
        residual = mean[a] / (slope * time) - 1
        assert np.all(np.abs(residual[bright]) < 5e-4 + 4 * error[bright])


def test_linearity_from_single_flats_is_that_of_the_pairs(curved):
    config = {"linearity.kind": "squared", "linearity.max_deviation": 0.06}
    flats = curved.repo.plan(
        "linearity_flats", FLATS, inputs=(RAW, BIAS), config={**config, "isr.dark": False}
    ).run(output_run="u/test/lin_flats")
    product = flats.product.load()
    true = curved.truth["nonlinearity_squared"].values
    pull = (product["coefficients"].values[:, 0] - true) / product["coefficient_errors"].values[
        :, 0
    ]
    assert np.abs(pull).max() < 5
    assert product.sizes["exposure"] == 2 * PAIRS


def test_a_kernel_wants_enough_lags(made):
    config = {**ISR, "ptc.max_lag": 3}
    made.repo.plan("ptc", FLATS, inputs=(RAW, BIAS), config=config).run(output_run="u/test/short")
    with pytest.raises(BuildError, match="covariances at 3 lags"):
        made.repo.plan("bfk", FLATS, inputs=("u/test/short", RAW)).run(output_run="u/test/none")
