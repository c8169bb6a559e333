import math

import numpy as np
import pytest

from cpflow.simulate.fringe import Fringe, draw_fringes
from cpflow.simulate.seeds import stream
from cpflow.simulate.sky import draw_gradient, sky_shape
from cpflow.simulate.stars import Catalogue, StarField, dithered, draw_field, render


def test_images_of_stars_have_their_flux_place_and_width():
    star = Catalogue(np.array([30.3]), np.array([40.8]), np.array([1e5]))
    image = render(star, 1.8, (64, 80)).astype(float)
    y, x = np.mgrid[:64, :80]
    total = image.sum()
    assert total == pytest.approx(1e5, rel=1e-6)
    cy, cx = (image * y).sum() / total, (image * x).sum() / total
    assert (cy, cx) == pytest.approx((30.3, 40.8), abs=1e-4)
    for axis, centre in ((y, cy), (x, cx)):
        moment = (image * (axis - centre) ** 2).sum() / total
        assert moment == pytest.approx(1.8**2 + 1 / 12, rel=1e-4)


def test_stars_at_the_edge_are_cut_not_moved():
    edge = Catalogue(np.array([-0.5, 63.5]), np.array([40.0, -0.5]), np.array([1e5, 1e5]))
    image = render(edge, 2.0, (64, 80))
    # Half of the one and a quarter of the other are on the detector.
    assert image.sum(dtype=float) == pytest.approx(0.75e5, rel=1e-5)
    beyond = Catalogue(np.array([-40.0, 200.0]), np.array([40.0, 40.0]), np.array([1e5, 1e5]))
    assert render(beyond, 2.0, (64, 80)).sum() == 0


def test_fluxes_of_a_field_follow_the_power_law(latiss):
    model = StarField(density=200_000.0, flux=(100.0, 1e5))
    field = draw_field(model, latiss.camera.detectors[0], stream("f"))
    n = field.flux.size
    for limit in (200.0, 1000.0, 1e4):
        share = (1 / limit - 1e-5) / (1 / 100 - 1e-5)
        error = math.sqrt(share * (1 - share) / n)
        assert (field.flux > limit).mean() == pytest.approx(share, abs=5 * error)


def test_a_dither_moves_all_stars_alike(latiss):
    detector = latiss.camera.detectors[0]
    model = StarField(density=5000.0, dither=20.0)
    field = draw_field(model, detector, stream("f"))
    moved = dithered(field, model, detector.shape, stream("d"))
    kept = np.isin(field.flux, moved.flux)
    dy, dx = moved.y - field.y[kept], moved.x - field.x[kept]
    assert np.ptp(dy) == pytest.approx(0, abs=1e-9)
    assert np.ptp(dx) == pytest.approx(0, abs=1e-9)
    assert max(abs(dy[0]), abs(dx[0])) <= 20


def test_sky_is_a_plane_whose_middle_is_its_level():
    shape = sky_shape((101, 81), (0.03, -0.02))
    assert shape[50, 40] == 1
    assert shape[50, 80] == pytest.approx(1.03)
    assert shape[100, 40] == pytest.approx(0.98)
    assert math.hypot(*draw_gradient(0.05, stream("g"))) == pytest.approx(0.05)


def test_fringes_have_the_wanted_period_and_no_mean():
    pattern = draw_fringes(Fringe(period=16.0, thickness=0.0), (256, 256), stream("fr")).astype(
        float
    )
    assert pattern.mean() == pytest.approx(0, abs=1e-6)
    assert pattern.std() == pytest.approx(math.sqrt(0.5), rel=0.02)
    power = np.abs(np.fft.fft2(pattern)) ** 2
    ky, kx = np.unravel_index(np.argmax(power), power.shape)
    k = [min(i, 256 - i) / 256 for i in (ky, kx)]
    assert math.hypot(*k) == pytest.approx(1 / 16, abs=1 / 256)
