"""The two eras of the reference as configuration overlays, against whole frames with numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import reference
from astropy.io import fits

from cpflow.share import share_directory
from cpflow.stack.geometry import to_detector_frame

QUERY = "instrument='LATISS' AND detector=0"


def overlay(name):
    return Path(share_directory("configs")) / "overlays" / f"{name}.yaml"


def built(repo, era, **config):
    plan = repo.plan("bias", QUERY, config_files=[overlay(era)], config=config)
    assert set(plan.resolved.origins.values()) <= {str(overlay(era)), "config"}
    return plan.run(output_run=f"u/test/{era}").product.compute()


def independent(paths, detector, correct):
    frames = []
    for path in paths:
        image = np.empty(detector.shape)
        with fits.open(path) as hdus:
            for amplifier in detector.amplifiers:
                raw = hdus[amplifier.source.hdu].data.astype(np.float64)
                box = amplifier.detector_box
                image[box.rows, box.columns] = to_detector_frame(amplifier, correct(raw, amplifier))
        frames.append(image.astype(np.float32))
    return reference.clipped_mean(np.stack(frames))


def assert_same(product, mean, survivors):
    np.testing.assert_array_equal(product["n_used"], survivors)
    np.testing.assert_allclose(product["image"], mean, rtol=0, atol=np.spacing(np.float32(64)))


def test_era_2021(repo, biases):
    """Serial overscan of the imaging rows, all columns, sigmas of rows not capped."""

    def correct(raw, amplifier):
        overscan = raw[amplifier.serial_overscan.rows, amplifier.serial_overscan.columns]
        level = reference.median_per_row(overscan, cap=False)
        return raw[amplifier.imaging.rows, amplifier.imaging.columns] - level[:, None]

    mean, _, survivors = independent(biases.paths, repo.detector("LATISS", 0), correct)
    assert_same(built(repo, "era21"), mean, survivors)


def test_era_2026(repo, biases):
    """Three columns skipped on each side, rows extended, then columns by the parallel overscan.

    As for LATISS the outlier test against neighbouring columns is off. The reference's random
    dither is not there; medians of raw counts are tie-aware instead.
    """

    def correct(raw, amplifier):
        box, parallel = amplifier.serial_overscan, amplifier.parallel_overscan
        overscan = raw[: parallel.y1, box.x0 + 3 : box.x1 - 3]
        level = reference.median_per_row(overscan)
        flat = raw[: parallel.y1] - level[:, None]
        strip = flat[parallel.rows, parallel.columns].T[:, 3:-3]
        columns = reference.median_per_row(strip, most=100.0, integer=False)
        imaging = amplifier.imaging
        return flat[imaging.rows, imaging.columns] - columns[None, :]

    mean, _, survivors = independent(biases.paths, repo.detector("LATISS", 0), correct)
    config = {"isr.parallel_overscan.smoothing_rejection": False}
    assert_same(built(repo, "era26", **config), mean, survivors)
