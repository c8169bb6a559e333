"""L.A.Cosmic on simulated rays of which every pixel is known."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from cpflow.errors import ConfigurationError, RawError
from cpflow.exposure import Exposure
from cpflow.io.instrument import load_instrument, scaled
from cpflow.kernels.planes import BAD, NO_DATA, SAT
from cpflow.simulate.cosmic_rays import CosmicRays as Model
from cpflow.simulate.cosmic_rays import draw_cosmic_rays
from cpflow.stack import Context, Frame
from cpflow.stack.geometry import assemble_array, split_array
from cpflow.steps import CosmicRays, lacosmic, reject_cosmic_rays
from cpflow.steps.cosmic_rays import FindCosmicRays
from cpflow.steps.lacosmic import lacosmic_mask
from cpflow.timespan import Timespan

astroscrappy = pytest.importorskip("astroscrappy", reason="pip install 'cpflow[lacosmic]'")
OPTIONS = CosmicRays(method="lacosmic")
DARK = 30.0


@pytest.fixture(scope="module")
def detector():
    """LATISS, an eighth as large: sixteen amplifiers of different gain and noise."""
    return scaled(load_instrument("latiss"), 8).camera.detectors[0]


@pytest.fixture(scope="module")
def scene(detector):
    """Electrons of a dark with rays, their variance, and the rays alone; detector frame."""
    rng = np.random.default_rng(4)
    hits = draw_cosmic_rays(Model(rate=0.3), detector, 300.0, rng)
    rays = np.zeros(detector.shape, np.float32)
    rays[hits.y, hits.x] = hits.electrons
    noise = np.empty(detector.shape)
    for amplifier in detector:
        noise[amplifier.detector_box.rows, amplifier.detector_box.columns] = amplifier.read_noise
    image = rng.poisson(DARK + rays) + rng.normal(0, noise)
    # As the variance plane has it: from the pixel's own value.
    variance = np.maximum(image, 0) + noise**2
    return image.astype(np.float32), variance.astype(np.float32), rays, np.sqrt(DARK + noise**2)


def frame_of(detector, scene, *, units="electron", mask=None):
    image, variance = (
        split_array(detector, a, range(detector.imaging_shape[0])) for a in scene[:2]
    )
    if units == "adu":
        gains = np.array([a.gain for a in detector], np.float32)[:, None, None]
        image, variance = image / gains, variance / gains**2
    rows = range(detector.imaging_shape[0])
    planes = None if mask is None else split_array(detector, mask, rows)
    return Frame(image, rows, planes, variance, trimmed=True, units=units)


def directly(scene, mask=None):
    return astroscrappy.detect_cosmics(
        scene[0], inmask=mask, invar=scene[1], sigclip=4.5, sigfrac=0.3, objlim=5.0, niter=4,
        satlevel=np.inf,
    )[0]  # fmt: skip


def test_rays_are_found_and_little_else(detector, scene):
    """Completeness and purity of 95 %: 98 % of 1457 rays, 0.4 % of detections are none."""
    _, _, rays, noise = scene
    found = lacosmic_mask(frame_of(detector, scene), detector, OPTIONS)
    bright = rays > 8 * noise
    assert bright.sum() > 1000
    assert found[bright].mean() > 0.95, "of the pixels"
    touching = np.ones((3, 3))
    tracks, detections = label(rays > 0, touching)[0], label(found, touching)[0]
    there = np.unique(tracks[bright])
    assert len(np.unique(tracks[bright & found])) / len(there) > 0.95, "of the rays"
    true = np.unique(detections[found & (rays > 0)])
    assert len(true) / detections.max() > 0.95, "of the detections"
    # One pixel in seven that is flagged is a noisy one beside a ray, by the rule for neighbours:
    # sigfrac * sigclip is 1.35 sigma. They are no further away than two pixels.
    assert (rays[found] > 0).mean() > 0.8
    assert binary_dilation(rays > 0, np.ones((5, 5)))[found].mean() > 0.95


def test_it_is_what_astroscrappy_gives(detector, scene):
    np.testing.assert_array_equal(
        lacosmic_mask(frame_of(detector, scene), detector, OPTIONS), directly(scene)
    )
    other = OPTIONS.model_copy(update={"lacosmic_sigclip": 8.0, "lacosmic_iterations": 1})
    fewer = lacosmic_mask(frame_of(detector, scene), detector, other)
    np.testing.assert_array_equal(
        fewer,
        astroscrappy.detect_cosmics(
            scene[0], invar=scene[1], sigclip=8.0, sigfrac=0.3, objlim=5.0, niter=1, satlevel=np.inf
        )[0],
    )
    assert 0 < fewer.sum() < directly(scene).sum()


def test_a_frame_in_adu_is_looked_at_in_electrons(detector, scene):
    frame = frame_of(detector, scene, units="adu")
    before = frame.image.copy(), frame.variance.copy()
    found = lacosmic_mask(frame, detector, OPTIONS)
    # Dividing and multiplying by the gain changes the last bit of a float32, and so a decision that
    # is as close as that: with 6000 of them within 1e-7 of their limit none, perhaps one.
    assert np.count_nonzero(found != directly(scene)) <= 2
    np.testing.assert_array_equal(before[0], frame.image)
    np.testing.assert_array_equal(before[1], frame.variance)


def test_masked_pixels_are_no_rays_and_make_none(detector, scene):
    image, variance = scene[0].copy(), scene[1].copy()
    clean = lacosmic_mask(frame_of(detector, scene), detector, OPTIONS)
    assert not clean[100:103, 200:203].all()
    mask = np.zeros(image.shape, np.uint16)
    for plane, where, value in (
        (SAT, np.s_[100:103, 200:203], 1e5),
        (BAD, np.s_[:, 300], -3000.0),
        (NO_DATA, np.s_[300:360, 40:100], 0.0),
        (0, np.s_[50, 50], np.nan),
        (BAD, np.s_[440, 450], np.nan),
    ):
        mask[where] |= np.uint16(plane)
        image[where] = value
    variance[20, 480] = np.inf
    off = (mask != 0) | ~np.isfinite(image) | ~np.isfinite(variance)
    frame = frame_of(detector, (image, variance), mask=mask)
    found = lacosmic_mask(frame, detector, OPTIONS)
    assert not found[binary_dilation(off, np.ones((3, 3)))].any()
    # Far away, as far as four rounds of filters reach, nothing changes.
    far = ~binary_dilation(off, np.ones((3, 3)), iterations=50)
    assert far.sum() > 5e4
    np.testing.assert_array_equal(found[far], clean[far])
    # Pixels beside a column that is darker than they are by 3000 electrons are no rays.
    beside = np.s_[:, [298, 299, 301, 302]]
    assert found[beside].sum() <= clean[beside].sum()
    everything = frame_of(detector, scene, mask=np.full(image.shape, BAD, np.uint16))
    assert not lacosmic_mask(everything, detector, OPTIONS).any()


def context_of(detector):
    exposure = Exposure("LATISS", 1, "one", 20210101, 1, Timespan(0, 1), "dark")
    return Context(detector, exposure)


def test_the_finder_gives_the_pixels_as_rays(detector, scene):
    frame = frame_of(detector, scene)
    rays = FindCosmicRays(OPTIONS)(frame, context_of(detector))
    amplifiers, _, columns = frame.image.shape
    split = np.zeros(frame.image.shape, bool)
    row, rest = np.divmod(rays.places, amplifiers * columns)
    amplifier, column = np.divmod(rest, columns)
    split[amplifier, row, column] = True
    np.testing.assert_array_equal(assemble_array(detector, split), directly(scene))


def test_too_many_pixels_are_not_believed(detector, scene, caplog):
    options = OPTIONS.model_copy(update={"max_pixels": 10})
    with pytest.raises(RawError, match="more than 10 pixels"):
        FindCosmicRays(options)(frame_of(detector, scene), context_of(detector))
    options = options.model_copy(update={"too_many": "warn"})
    rays = FindCosmicRays(options)(frame_of(detector, scene), context_of(detector))
    assert len(rays.places) == 0
    assert "none is rejected" in caplog.text


def test_a_frame_without_variance_is_refused(detector, scene):
    frame = frame_of(detector, scene)
    frame.variance = None
    with pytest.raises(ValueError, match=r"isr\.variance"):
        lacosmic_mask(frame, detector, OPTIONS)


@pytest.mark.parametrize("package", ["astroscrappy", "threadpoolctl"])
def test_a_missing_package_is_told_when_planning(package, monkeypatch):
    monkeypatch.setattr(lacosmic, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(ConfigurationError, match=package) as caught:
        reject_cosmic_rays(None, OPTIONS)
    assert "pip install 'cpflow[lacosmic]'" in str(caught.value)
    assert reject_cosmic_rays("the stack", CosmicRays(method="lacosmic", enabled=False))


def test_one_thread_and_the_same_from_several():
    """A process of its own: OpenMP keeps its threads once it has started some."""
    code = """
import os, sys, threading
import numpy as np
from cpflow.io.instrument import load_instrument, scaled
from cpflow.stack import Frame
from cpflow.steps import CosmicRays
from cpflow.steps.lacosmic import lacosmic_mask
from cpflow.timespan import Timespan
import astroscrappy

count = lambda: len(os.listdir("/proc/self/task"))
detector = scaled(load_instrument("latiss"), 8).camera.detectors[0]
image = np.random.default_rng(0).normal(0, 8, (16, *detector.imaging_shape)).astype(np.float32)
frame = lambda: Frame(image, range(image.shape[1]), None, np.full_like(image, 64), True, "electron")
before, masks, after = count(), [], []

def look():
    masks.append(lacosmic_mask(frame(), detector, CosmicRays(method="lacosmic")))
    after.append(count() - threading.active_count())

look()
assert after == [before - 1], (before, after)
threads = [threading.Thread(target=look) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert all((mask == masks[0]).all() for mask in masks)
# The setting of this thread is given back: now there are more.
astroscrappy.detect_cosmics(image[0])
print(before, count())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "4"},
    )
    assert done.returncode == 0, done.stderr
    first, last = map(int, done.stdout.split())
    assert last > first
