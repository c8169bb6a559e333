"""Fringes and sky on full-size LATISS frames: within 2 % in amplitude, 0.5 % of the sky per bin."""

from __future__ import annotations

import numpy as np
import pytest
from sky_frames import (
    FRINGE_FIELD,
    FRINGE_HELD_OUT,
    SKY_FIELD,
    SKY_HELD_OUT,
    amplitude_of,
    calibrated,
    corrected,
    simulate_night,
    structure,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    here = tmp_path_factory.mktemp("full-size-sky")
    made = simulate_night(here, "latiss", 1, fringes=5, skies=5, calibrations=(4, 2, 4))
    repo, path = calibrated(made, here / "repo")
    yield made, repo, path
    repo.close()


def test_fringes(night):
    made, repo, path = night
    run = repo.plan("fringe", FRINGE_FIELD, inputs=path).run(output="u/test/fringeGen")
    product = run.product.compute()
    ratio = amplitude_of(product["image"].values.astype(np.float64), made.fringe)
    print(f"fringe amplitude / truth: {ratio:.5f}, mean {product['image'].values.mean():.2e}")  # noqa: T201
    assert ratio == pytest.approx(1, abs=0.02)
    before = corrected(repo, made, run, FRINGE_HELD_OUT)
    after = corrected(repo, made, run, FRINGE_HELD_OUT, fringe=True)
    # The truth of the exposure: 0.6 of the amplitude, of its own sky.
    found = [amplitude_of(image / np.median(image), made.fringe) for image in (before, after)]
    print(f"held out: {found[0]:.5f} before, {found[1]:.5f} after")  # noqa: T201
    assert found[0] == pytest.approx(0.6, rel=0.02)
    assert abs(found[1]) < 0.02 * 0.6


def test_sky(night):
    made, repo, path = night
    run = repo.plan("sky", SKY_FIELD, inputs=path).run(output="u/test/skyGen")
    product = run.product.compute()
    assert product["sky"].shape == (125, 127)
    before = structure(corrected(repo, made, run, SKY_HELD_OUT))
    after = structure(corrected(repo, made, run, SKY_HELD_OUT, sky=True))
    print(  # noqa: T201
        f"sky: {np.abs(before).max():.5f} before, {np.abs(after).max():.5f} after at most, "
        f"rms {before.std():.5f} and {after.std():.5f}"
    )
    assert np.abs(before).max() > 0.01
    assert np.abs(after).max() < 0.005
