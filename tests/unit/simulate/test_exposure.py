"""The chain of effects: exposures compared with the truth that is stored beside them."""

import numpy as np
import pytest

from cpflow.simulate import Observation, Truth
from cpflow.simulate.bias import Bias
from cpflow.simulate.brighter_fatter import BrighterFatter
from cpflow.simulate.cosmic_rays import CosmicRays
from cpflow.simulate.crosstalk import Crosstalk
from cpflow.simulate.dark import Dark
from cpflow.simulate.defects import KINDS, Defects
from cpflow.simulate.exposure import amplify, expose
from cpflow.simulate.flatfield import FlatField, radius_of
from cpflow.simulate.fringe import Fringe
from cpflow.simulate.geometry import to_detector
from cpflow.simulate.nonlinearity import Nonlinearity
from cpflow.simulate.saturation import Saturation
from cpflow.simulate.sky import sky_shape
from cpflow.simulate.stars import StarField, render
from cpflow.simulate.truth import draw_detector

FLAT = Observation(day_obs=20210101, seq_num=1, type="flat", exposure_time=4.0, lamp=5000.0)
DARK = Observation(day_obs=20210101, seq_num=2, type="dark", exposure_time=300.0)
SCIENCE = Observation(
    day_obs=20210101, seq_num=3, type="science", exposure_time=20.0, sky=100.0, sky_gradient=0.05,
    fringe=0.1, target="NGC 4755", stars=StarField(density=500.0, flux=(100.0, 3000.0)),
)  # fmt: skip


def simulated(observation, instrument, truth, index=1):
    """Return the exposure, the drawn arrays and the electrons that the raw counts stand for."""
    detector = instrument.camera.detectors[min(index, len(instrument.camera.detectors) - 1)]
    radius = radius_of(instrument.camera.detectors)
    arrays = draw_detector(truth, 1, instrument.name, detector, radius)
    exposed = expose(observation, detector, truth, arrays, seed=1, instrument=instrument.name)
    adu = exposed.raw - arrays["bias_level"].values[:, None, None] - exposed.drift[:, :, None]
    image = to_detector(adu, detector) - arrays["bias_pattern"].values
    return exposed, arrays, image * map_of(arrays["gain"].values, detector), detector


def map_of(values, detector):
    image = np.empty(detector.shape)
    for value, amplifier in zip(values, detector, strict=True):
        image[amplifier.detector_box.rows, amplifier.detector_box.columns] = value
    return image


def assert_poisson(electrons, expected, arrays, detector):
    """Residuals have no mean, and the variance of photons, read noise and rounding."""
    gain = map_of(arrays["gain"].values, detector)
    noise = map_of(arrays["read_noise"].values, detector)
    chi = (electrons - expected) / np.sqrt(expected + noise**2 + gain**2 / 12)
    n = chi.size
    assert chi.mean() == pytest.approx(0, abs=5 / np.sqrt(n))
    assert (chi**2).mean() == pytest.approx(1, abs=5 * np.sqrt(2 / n))


def test_a_flat_is_lamp_times_illumination_times_response(quad):
    truth = Truth(flat=FlatField(gradient=(0.2, 0.1), pixel_scatter=0.02))
    exposed, arrays, electrons, detector = simulated(FLAT, quad, truth)
    level = 5000.0 * exposed.charge.scene.lamp_factor * 4.0
    expected = level * arrays["illumination"].values * arrays["response"].values
    assert np.ptp(expected) > 0.1 * level
    assert_poisson(electrons, expected.astype(float), arrays, detector)


def test_a_dark_is_dark_time_times_rate(latiss):
    truth = Truth(dark=Dark(rate=0.5), defects=Defects(blink_duty=0.0))
    _, arrays, electrons, detector = simulated(DARK, latiss, truth)
    expected = arrays["dark_rate"].values.astype(float) * 300.25
    assert (expected[(arrays["defect"].values & KINDS["HOT_PIXEL"]) > 0] > 500).all()
    assert_poisson(electrons, expected, arrays, detector)


def test_sky_fringes_and_stars_add_up(latiss):
    truth = Truth(flat=FlatField(), fringe=Fringe())
    exposed, arrays, electrons, detector = simulated(SCIENCE, latiss, truth)
    scene = exposed.charge.scene
    assert scene.stars.flux.size > 20
    sky = 100.0 * sky_shape(detector.shape, scene.sky_gradient)
    sky = sky * (1 + 0.1 * arrays["fringe"].values) * arrays["illumination"].values
    stars = render(scene.stars, 1.8, detector.shape)
    expected = 20.0 * arrays["response"].values * (sky + stars)
    assert_poisson(electrons, expected.astype(float), arrays, detector)


def test_stars_of_a_target_are_the_same_but_for_the_dither(latiss):
    other = SCIENCE.model_copy(update={"seq_num": 4})
    a, b = (simulated(o, latiss, Truth())[0].charge.scene.stars for o in (SCIENCE, other))
    common = np.intersect1d(a.flux, b.flux)
    assert common.size > 0.3 * a.flux.size
    shift = a.y[np.isin(a.flux, common)] - b.y[np.isin(b.flux, common)]
    assert np.ptp(shift) == pytest.approx(0, abs=1e-9)
    assert abs(shift[0]) > 0


def test_cosmic_rays_are_in_the_pixels_of_the_table_and_no_others(latiss):
    rays = Truth(dark=Dark(), cosmic_rays=CosmicRays(rate=1.0))
    with_rays, arrays, electrons, detector = simulated(DARK, latiss, rays)
    _, _, without, _ = simulated(DARK, latiss, Truth(dark=Dark()))
    hits = with_rays.charge.cosmic_rays
    assert hits.y.size > 50
    difference = electrons - without
    gain = map_of(arrays["gain"].values, detector)[hits.y, hits.x]
    # Both are rounded to whole counts.
    assert (np.abs(difference[hits.y, hits.x] - hits.electrons) <= 1.001 * gain).all()
    difference[hits.y, hits.x] = 0
    assert np.abs(difference).max() < 1e-6


def test_blinking_pixels_have_two_levels(latiss):
    bias = Observation(day_obs=20210101, seq_num=9, type="bias")
    truth = Truth(defects=Defects(blinking=5000.0, hot_pixels=0.0, hot_columns=0.0))
    _, arrays, electrons, _ = simulated(bias, latiss, truth)
    blinking = electrons[(arrays["defect"].values & KINDS["BLINKING"]) > 0]
    on = blinking > 250
    assert 0.3 < on.mean() < 0.7
    assert blinking[on].mean() == pytest.approx(500, abs=5 * 9 / np.sqrt(on.sum()))
    assert blinking[~on].mean() == pytest.approx(0, abs=5 * 9 / np.sqrt((~on).sum()))


def test_full_pixels_are_listed(latiss):
    bright = FLAT.model_copy(update={"lamp": 500.0, "stars": StarField(flux=(1e5, 3e6))})
    exposed, arrays, electrons, detector = simulated(bright, latiss, Truth(saturation=Saturation()))
    y, x = exposed.charge.saturated
    assert 0 < y.size < 0.5 * electrons.size
    wells = map_of(arrays["full_well"].values, detector)
    assert electrons[y, x] == pytest.approx(wells[y, x], abs=60)
    electrons[y, x] = 0
    assert (electrons < wells + 60).all()


def test_the_output_is_nonlinear_before_amplifiers_leak_into_one_another(quad):
    truth = Truth(nonlinearity=Nonlinearity(), crosstalk=Crosstalk())
    detector = quad.camera.detectors[0]
    arrays = draw_detector(truth, 1, "QUAD", detector, 1.0)
    electrons = np.random.default_rng(1).uniform(0, 1e5, (4, *detector.raw_shape)).astype("f4")
    adu = amplify(electrons, truth, arrays).astype(float)
    c = arrays["crosstalk"].values
    # Undo the leak exactly: out = (1 + c^T) in.
    before = np.tensordot(np.linalg.inv(np.eye(4) + c.T), adu, axes=1)
    c0 = arrays["nonlinearity_squared"].values[:, None, None]
    linear = before + c0 * before**2
    gain = arrays["gain"].values[:, None, None]
    assert linear * gain == pytest.approx(electrons.astype(float), rel=2e-6, abs=0.05)


def test_brighter_fatter_narrows_the_noise_of_a_flat(latiss):
    bright = FLAT.model_copy(update={"lamp": 15_000.0})
    kept = {}
    for name, truth in (
        ("with", Truth(brighter_fatter=BrighterFatter())),
        ("without", Truth()),
    ):
        _, _, electrons, _ = simulated(bright, latiss, truth)
        kept[name] = electrons
    assert kept["with"].mean() == pytest.approx(60_000, rel=1e-4)
    assert kept["without"].var() == pytest.approx(60_000, rel=0.03)
    assert kept["with"].var() < 0.9 * 60_000


def test_an_effect_that_is_switched_on_leaves_the_noise_of_others_alone(latiss):
    bias = Observation(day_obs=20210101, seq_num=9, type="bias")
    plain = simulated(bias, latiss, Truth())[0].raw
    with_more = simulated(bias, latiss, Truth(flat=FlatField(), crosstalk=Crosstalk()))[0].raw
    assert np.array_equal(plain, with_more)
    louder = simulated(bias, latiss, Truth(bias=Bias(row_noise=5.0)))[0].raw
    assert not np.array_equal(plain, louder)
