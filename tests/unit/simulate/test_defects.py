import math

import numpy as np
import pytest

from cpflow.simulate.defects import KINDS, Defects, draw_blinking, draw_defects
from cpflow.simulate.geometry import imaging_pixels
from cpflow.simulate.seeds import stream

NONE = {"hot_pixels": 0, "hot_columns": 0, "dead_columns": 0, "clusters": 0, "blinking": 0}


def drawn(detector, **sizes):
    model = Defects(**(NONE | sizes))
    return model, draw_defects(model, detector, stream("defects"))


def test_hot_pixels_are_as_many_and_as_hot_as_asked(latiss):
    detector = latiss.camera.detectors[0]
    _, maps = drawn(detector, hot_pixels=20_000.0, hot_rate=(2.0, 200.0))
    hot = maps.kind == KINDS["HOT_PIXEL"]
    assert hot.sum() == round(0.02 * hot.size)
    rates = maps.rate[hot].astype(float)
    assert rates.min() >= 2
    assert rates.max() <= 200
    # The logarithm is uniform: its mean is that of the ends, its variance width^2 / 12.
    width = math.log(100)
    error = width / math.sqrt(12 * rates.size)
    assert np.log(rates).mean() == pytest.approx(math.log(20), abs=5 * error)
    assert (maps.rate[~hot] == 0).all()
    assert (maps.response == 1).all()


@pytest.mark.parametrize("kind", ["HOT_COLUMN", "DEAD_COLUMN"])
def test_columns_run_from_a_row_to_the_far_end_of_their_amplifier(quad, kind):
    detector = quad.camera.detectors[0]
    sizes = {"hot_columns": 20.0} if kind == "HOT_COLUMN" else {"dead_columns": 20.0}
    model, maps = drawn(detector, **sizes)
    flagged = (maps.kind & KINDS[kind]) > 0
    assert 1 <= flagged.any(axis=0).sum() <= 3
    for amplifier in detector:
        area = imaging_pixels(flagged, amplifier)
        for column in area.T[area.any(axis=0)]:
            first = np.flatnonzero(column)[0]
            assert column[first:].all()
    if kind == "HOT_COLUMN":
        assert (maps.rate[flagged] >= model.hot_column_rate).all()
    else:
        assert maps.response[flagged] == pytest.approx(model.dead_response)


def test_clusters_are_discs_of_low_response(latiss):
    detector = latiss.camera.detectors[0]
    model, maps = drawn(detector, clusters=1e6 / np.prod(detector.shape), cluster_radius=2.5)
    rows, columns = np.nonzero(maps.kind & KINDS["DEAD_CLUSTER"])
    # 21 pixels have their centre within 2.5 pixels of a pixel's centre (fewer at an edge).
    assert rows.size == 21
    assert np.ptp(rows) == np.ptp(columns) == 4
    assert maps.response[rows, columns] == pytest.approx(model.dead_response)


def test_blinking_pixels_are_on_half_of_the_time(latiss):
    model, maps = drawn(latiss.camera.detectors[0], blinking=2000.0)
    count = int((maps.kind == KINDS["BLINKING"]).sum())
    on = [draw_blinking(model, maps.kind, stream("blink", i))[0].size for i in range(200)]
    sigma = math.sqrt(0.25 * count * len(on))
    assert sum(on) == pytest.approx(0.5 * count * len(on), abs=5 * sigma)
    assert len(set(on)) > 1
