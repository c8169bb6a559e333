"""The variance that a combined image claims, against its scatter about the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from cpflow.camera import Amplifier, Box, Detector, Source
from cpflow.exposure import Exposure
from cpflow.kernels.planes import VIGNETTED
from cpflow.stack import BandStack, Choice, Frame, Planes
from cpflow.steps.combination import CombineBand
from cpflow.steps.common_error import common_variance
from cpflow.steps.images import divide, in_units, subtract
from cpflow.steps.options import Combine
from cpflow.timespan import Timespan

ROWS, COLUMNS = 200, 150
SHAPE = (2, ROWS, COLUMNS)
GAINS = (2.0, 0.5)
TRUTH, RATE, NOISE = 900.0, 2.0, 8.0
TIMES = (10.0, 40.0, 25.0, 30.0, 15.0, 20.0, 35.0, 12.0)


def detector():
    amplifiers = tuple(
        Amplifier(
            name=f"{x}",
            raw=(ROWS, COLUMNS),
            source=Source(1, Box(0, 0, COLUMNS, ROWS)),
            imaging=Box(0, 0, COLUMNS, ROWS),
            detector_box=Box(x * COLUMNS, 0, COLUMNS, ROWS),
            flip_x=x == 1,
            gain=GAINS[x],
        )
        for x in (0, 1)
    )
    return Detector(0, "two", (ROWS, 2 * COLUMNS), amplifiers)


@dataclass(frozen=True)
class Case:
    """What the exposures went through. Numbers say who takes which calibration."""

    count: int
    scale: str = "none"
    bias: tuple[int, ...] | None = None
    dark: tuple[int, ...] | None = None
    flat: tuple[int, ...] | None = None
    gains: tuple[int, ...] | None = None
    electrons: bool = False
    times: tuple[float, ...] = TIMES


def planes(rng, value, sigma, units):
    """A calibration with an error of its own in each pixel, and its variance."""
    image = (value + rng.normal(0, sigma, SHAPE)).astype(np.float32)
    return Planes(image, range(ROWS), np.full(SHAPE, sigma**2, np.float32), None, {"units": units})


def choice(values, index):
    return values[0] if not any(index) else Choice(tuple(values), tuple(index))


def simulate(case, seed=1):
    """Return a band of processed exposures, the truth, and what was shared."""
    rng = np.random.default_rng(seed)
    count = case.count
    response = rng.uniform(0.6, 1.4, SHAPE)
    times = np.resize(case.times, count)
    number = {name: getattr(case, name) for name in ("bias", "dark", "flat", "gains")}
    made, shared = {}, {}
    for name, (value, sigma, units) in {
        "bias": (50.0, 5.0, "adu"),
        "dark": (RATE, 0.3, "adu/s"),
        "flat": (response, 0.01, "1"),
    }.items():
        if number[name] is not None:
            index = np.resize(number[name], count)
            made[name] = [planes(rng, value, sigma, units) for _ in range(max(index) + 1)]
            shared[name] = choice(made[name], [int(i) for i in index])
    gains = [np.array(GAINS), 1.1 * np.array(GAINS)]
    if number["gains"] is not None:
        index = [int(i) for i in np.resize(number["gains"], count)]
        shared["gains"] = choice(gains, index)
    levels = times if case.scale == "dark_time" else np.ones(count)
    frames, exposures = [], []
    for e in range(count):
        takes = {n: made[n][np.resize(number[n], count)[e]] for n in made}
        own = 1.0
        if case.electrons:
            which = 0 if number["gains"] is None else np.resize(number["gains"], count)[e]
            own = gains[which][:, None, None]
        light = TRUTH * levels[e] * (response if "flat" in takes else 1.0)
        # The truth is in electrons: another gain gives other adu for it.
        adu = light / own + rng.normal(0, NOISE, SHAPE)
        adu += 50.0 * ("bias" in takes) + RATE * times[e] * ("dark" in takes)
        frame = Frame(
            adu.astype(np.float32), range(ROWS), None, np.full(SHAPE, NOISE**2, np.float32), True
        )
        units = "adu"
        if "bias" in takes:
            subtract(frame, takes["bias"])
        known = None
        if case.electrons:
            frame.image *= np.float32(own)
            frame.variance *= np.float32(own) ** 2
            units, known = "electron", gains[which]
        if "dark" in takes:
            subtract(frame, in_units("dark", takes["dark"], f"{units}/s", known), times[e])
        if "flat" in takes:
            divide(frame, takes["flat"])
        frames.append(frame)
        exposures.append(
            Exposure(
                "X", e, f"X{e}", 20210101, e + 1, Timespan.at(e + 1), "dark",
                dark_time=float(times[e]),
            )
        )  # fmt: skip
    band = BandStack(
        np.stack([f.image for f in frames]),
        None,
        tuple(range(count)),
        tuple(exposures),
        [{}] * count,
        shared,
        range(ROWS),
        detector(),
        frames.__getitem__,
    )
    return band, "electron" if case.electrons else "adu"


CASES = {
    "bias": Case(8, bias=(0,)),
    "dark from bias": Case(8, "dark_time", bias=(0,)),
    "few": Case(3, bias=(0,)),
    "few, scaled": Case(4, "dark_time", bias=(0,)),
    "one": Case(1, bias=(0,), dark=(0,)),
    "bias and dark": Case(8, bias=(0,), dark=(0,)),
    "few, bias and dark": Case(4, bias=(0,), dark=(0,)),
    "flat": Case(8, bias=(0,), dark=(0,), flat=(0,)),
    "few, flat": Case(3, bias=(0,), dark=(0,), flat=(0,)),
    "scaled and flat": Case(8, "dark_time", bias=(0,), dark=(0,), flat=(0,)),
    "only a flat": Case(6, flat=(0,)),
    "electrons": Case(8, "dark_time", bias=(0,), dark=(0,), electrons=True),
    "few, electrons": Case(4, bias=(0,), dark=(0,), flat=(0,), electrons=True),
    "measured gains": Case(8, bias=(0,), dark=(0,), gains=(0,), electrons=True),
    "two biases": Case(8, bias=(0, 1), dark=(0,)),
    "few, two biases": Case(4, "dark_time", bias=(0, 0, 0, 1), dark=(0, 1)),
    "two flats": Case(8, bias=(0, 1), dark=(0, 0, 1), flat=(0, 0, 0, 1)),
    "few, two flats": Case(4, bias=(0,), flat=(0, 0, 1, 1)),
    "two gains": Case(8, bias=(0,), dark=(0,), flat=(0, 1), gains=(0, 0, 0, 1), electrons=True),
    "few, two gains": Case(4, bias=(0,), dark=(0,), gains=(0, 1), electrons=True),
}


@pytest.mark.parametrize("name", CASES)
def test_the_claimed_variance_is_the_scatter_about_the_truth(name):
    case = CASES[name]
    band, units = simulate(case)
    options = Combine(statistic="mean", scale=case.scale)
    out = CombineBand(options, units)(band)
    error = out["image"].astype(np.float64) - TRUTH
    for a in range(2):
        variance = out["variance"][a].astype(np.float64)
        # The claim is right in the mean; in each pixel it scatters, if it comes from scatter.
        squared = error[a] ** 2 / variance.mean()
        standard = np.std(squared) / np.sqrt(squared.size)
        claimed = np.std(variance) / variance.mean() / np.sqrt(variance.size)
        assert abs(squared.mean() - 1) < 5 * np.hypot(standard, claimed)
        assert 5 * standard < 0.06, "the test can tell"


@pytest.mark.parametrize("name", ["bias", "dark from bias", "flat", "scaled and flat"])
def test_without_it_the_claim_is_too_small(name):
    """These tests would see it missing."""
    case = CASES[name]
    band, units = simulate(case)
    options = Combine(statistic="mean", scale=case.scale)
    out = CombineBand(options, units)(band)
    scale = None if case.scale == "none" else np.resize(TIMES, case.count)
    common = common_variance(band, out["image"], scale, units)
    error = out["image"].astype(np.float64) - TRUTH
    assert np.mean(error**2) > 1.2 * np.mean(out["variance"] - common)


def test_the_formula_pixel_by_pixel():
    """By propagating each calibration's error through the mean of all exposures."""
    case = CASES["two gains"]
    band, units = simulate(case)
    image = np.full(SHAPE, TRUTH, np.float32)
    found = common_variance(band, image, None, units)
    shared, count = band.shared, case.count
    gains = [np.array(v)[:, None, None] for v in shared["gains"].values]
    flats = [p.image.astype(float) for p in shared["flat"].values]
    g = [gains[i] for i in shared["gains"].index]
    f = [flats[i] for i in shared["flat"].index]
    w = np.array([a / b / count for a, b in zip(g, f, strict=True)])
    seconds = np.array([e.dark_time for e in band.exposures])[:, None, None, None]
    terms = [(25.0, w), (0.09, w * seconds)]
    for which in (0, 1):
        takes = np.array(shared["flat"].index) == which
        terms.append((0.01**2, TRUTH / np.array(f) / count * takes[:, None, None, None]))
    # What differs between exposures is in their scatter: its part of the mean's variance.
    expected = sum(v * (w.sum(axis=0) ** 2 - count * w.var(axis=0, ddof=1)) for v, w in terms)
    assert (expected < 0.99 * sum(v * w.sum(axis=0) ** 2 for v, w in terms)).any()
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_nothing_is_common_without_variances():
    band, units = simulate(Case(6, bias=(0,)))
    plain = Planes(band.shared["bias"].image, range(ROWS), None, None, band.shared["bias"].attrs)
    band.shared["bias"] = plain
    assert common_variance(band, band.image[0], None, units) is None


def test_masked_inputs_have_their_share_of_it_too():
    """Few exposures: a pixel of which one is left out is made of three, not four."""
    band, units = simulate(CASES["few, scaled"])
    mask = np.zeros(band.image.shape, np.uint16)
    mask[1, 0] = VIGNETTED
    mask[1:, 1] = VIGNETTED
    equal = simulate(Case(4, bias=(0,)))[0]
    out = CombineBand(Combine(statistic="mean"), units)(replace(equal, mask=mask))
    np.testing.assert_array_equal(out["n_used"][:, 0, 0], [3, 1])
    # (64 + 25) / 3 has 25 / 3 of the bias; it is 25.
    np.testing.assert_allclose(out["variance"][0], 64.0 / 3 + 25.0, rtol=1e-6)
    np.testing.assert_allclose(out["variance"][1], 64.0 + 25.0, rtol=1e-6)


def test_an_exposure_that_is_left_out_gives_no_variance():
    """Many exposures, one input: its variance, not that of one behind the vignetting."""
    band, units = simulate(Case(6, bias=(0,)))
    mask = np.zeros(band.image.shape, np.uint16)
    mask[[0, 1, 3, 4, 5], 0, 0, 0] = VIGNETTED
    for i in (0, 1, 3, 4, 5):
        band.reload(i).variance[...] = 1e10
    out = CombineBand(Combine(statistic="mean"), units)(replace(band, mask=mask))
    assert out["n_good"][0, 0, 0] == 1
    assert out["variance"][0, 0, 0] == band.reload(2).variance[0, 0, 0] == 64.0 + 25.0
