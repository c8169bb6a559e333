import math

import numpy as np
import pytest

from cpflow.simulate.cosmic_rays import CosmicRays, draw_cosmic_rays
from cpflow.simulate.seeds import stream


def test_the_number_of_tracks_is_poisson_in_area_and_time(quad):
    detector = quad.camera.detectors[0]
    # Vertical enough and so thin that each track is one pixel.
    model = CosmicRays(rate=2.0, thickness=1e-3)
    area = 128 * 160 * 0.0015**2
    counts = [draw_cosmic_rays(model, detector, 100.0, stream("cr", i)).y.size for i in range(400)]
    mean = 2.0 * area * 100
    assert np.mean(counts) == pytest.approx(mean, abs=5 * math.sqrt(mean / 400) + 0.01)
    assert np.var(counts) == pytest.approx(mean, rel=5 * math.sqrt(2 / 400) + 0.05)


def test_the_charge_is_that_of_the_path_through_the_silicon(quad):
    detector = quad.camera.detectors[0]
    model = CosmicRays(rate=40.0, scatter=0.0, thickness=1e-3, electrons_per_micron=1e6)
    hits = draw_cosmic_rays(model, detector, 500.0, stream("charge"))
    # cos^4 t uniform: the mean of 1 / cos t is 4/3, of its square 2, but for the cut at grazing.
    tracks = hits.electrons.astype(float) / 1000
    assert tracks.min() >= 1
    assert tracks.mean() == pytest.approx(
        4 / 3, abs=5 * math.sqrt(2 - 16 / 9) / math.sqrt(tracks.size)
    )


def test_long_tracks_are_straight_and_each_pixel_is_listed_once(latiss):
    detector = latiss.camera.detectors[0]
    model = CosmicRays(rate=1e-9, thickness=2000.0)
    # The rate is so low that one track comes, if any: raise the time until it does.
    for i in range(1000):
        hits = draw_cosmic_rays(model, detector, 1e10, stream("long", i))
        if hits.y.size > 30:
            break
    assert hits.y.size > 30
    assert len(set(zip(hits.y.tolist(), hits.x.tolist(), strict=True))) == hits.y.size
    assert ((hits.y >= 0) & (hits.y < detector.shape[0])).all()
    assert ((hits.x >= 0) & (hits.x < detector.shape[1])).all()


def test_no_time_means_no_rays(quad):
    assert draw_cosmic_rays(CosmicRays(), quad.camera.detectors[0], 0.0, stream("no")).y.size == 0
