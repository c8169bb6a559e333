"""Verification of darks and flats: sound ones pass, each fault is found by the test for it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import reference
from astropy.io import fits
from spoiled import imaging, spoil

from cpflow import Repo
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, dark_sequence, simulate
from cpflow.simulate.cosmic_rays import CosmicRays
from cpflow.simulate.dark import Dark
from cpflow.simulate.flatfield import FlatField
from cpflow.stack.geometry import to_detector_frame
from cpflow.verify.summary import failure_names

AMP, OTHER = "C04", "C12"
BUILT = 8
COUNT = 12
RAW = "LATISS/raw/all"
DARK_TIME = 100.0


@dataclass(frozen=True)
class Frames:
    biases: tuple[Path, ...]
    darks: tuple[Path, ...]
    flats: tuple[Path, ...]
    directory: Path


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    here = tmp_path_factory.mktemp("frames")
    camera = scaled(load_instrument("latiss"), 16)
    truth = Truth(dark=Dark(), cosmic_rays=CosmicRays(), flat=FlatField(lamp_scatter=0.05))
    flats = Sequence(
        tuple(
            Observation(
                day_obs=20210122, seq_num=1 + i, type="flat", exposure_time=10.0, lamp=2500.0,
                filter="RG610~empty", target="flat",
            )
            for i in range(COUNT)
        ),
        truth=truth,
    )  # fmt: skip
    dump_instrument(camera, here / "instrument.yaml")
    made = [
        simulate(here / "raws", camera, sequence, truth=truth).paths
        for sequence in (
            bias_sequence(12, truth=truth),
            dark_sequence(COUNT, exposure_time=DARK_TIME, truth=truth),
            flats,
        )
    ]
    return Frames(*made, here)


def own(frames, directory):
    """The same frames in files that a test may damage."""
    shutil.copytree(frames.directory / "raws", directory / "raws")
    moved = [
        tuple(directory / "raws" / path.name for path in paths)
        for paths in (frames.biases, frames.darks, frames.flats)
    ]
    return Frames(*moved, frames.directory)


def opened(frames, directory):
    Repo.create(directory / "repo", frames.directory / "instrument.yaml").close()
    repo = Repo(directory / "repo")
    assert not repo.ingest(frames.biases[0].parent).refused
    return repo


def build(repo, kind):
    """A bias and a dark of all frames but the last, and a flat; or of `kind` of the first."""
    repo.plan("bias", "", inputs=RAW).run(output_run="bias")
    darks = repo.exposures("observation_type='dark'")
    repo.plan("dark", darks[:BUILT], inputs=f"bias,{RAW}").run(output_run="dark")
    if kind == "flat":
        flats = repo.exposures("observation_type='flat'")
        repo.plan("flat", flats[:BUILT], inputs=f"dark,bias,{RAW}").run(output_run="flat")
        return flats
    return darks


def verify(repo, kind, exposures, **config):
    run = repo.plan(
        f"verify/{kind}", exposures, inputs=f"{kind},dark,bias,{RAW}", config=config
    ).run()
    return run.product.compute(), run.datasets[0].provenance["summary"]


def names(table):
    columns = {n: table[n].values for n in ("exposure", "amp", "test", "severity", "verdict")}
    return failure_names(columns)


@pytest.mark.parametrize("kind", ["dark", "flat"])
def test_a_sound_one_passes_and_its_statistics_are_those_of_numpy(kind, frames, tmp_path):
    with opened(frames, tmp_path) as repo:
        exposures = build(repo, kind)
        table, summary = verify(repo, kind, exposures)
        assert names(table) == []
        assert summary["verdict"] == "pass"
        detector = repo.detector("LATISS", 0)
        product = {
            name: repo.get(
                name, collections=name, detector=0,
                **({"physical_filter": "RG610~empty"} if name == "flat" else {}),
            )["image"].values
            for name in ("bias", "dark", kind)
        }  # fmt: skip
        path = frames.darks[-1] if kind == "dark" else frames.flats[-1]
        of = table.isel(row=np.flatnonzero(table["exposure"].values == exposures[-1].exposure))
        for amplifier in detector.amplifiers:
            pixels = residual(path, amplifier, product, exposures[-1].dark_time)
            kept = pixels[np.abs(pixels - np.median(pixels)) < 5 * 1.4826 * mad(pixels)]
            rows = of.isel(row=np.flatnonzero(of["amp"].values == amplifier.name))
            value = dict(zip(rows["statistic"].values, rows["value"].values, strict=True))
            # Clipped at five sigma about the mean or the median: a cosmic ray more or less.
            assert value["noise"] == pytest.approx(kept.std() * amplifier.gain, rel=0.01)
            level = value["LEVEL"] if kind == "dark" else value["level"] * amplifier.gain
            assert level == pytest.approx(
                kept.mean() * amplifier.gain, abs=0.02 * kept.std() * amplifier.gain
            )


def mad(pixels):
    return np.median(np.abs(pixels - np.median(pixels)))


def residual(path, amplifier, product, dark_time):
    """An amplifier of an exposure, corrected with numpy; adu."""
    with fits.open(path) as hdus:
        raw = hdus[amplifier.source.hdu].data
    overscan = raw[amplifier.serial_overscan.rows, amplifier.serial_overscan.columns]
    pixels = raw[amplifier.imaging.rows, amplifier.imaging.columns]
    pixels = pixels - reference.median_per_row(overscan)[:, None]
    box = amplifier.detector_box
    pixels = to_detector_frame(amplifier, pixels) - product["bias"][box.rows, box.columns]
    pixels = pixels - dark_time * product["dark"][box.rows, box.columns]
    if "flat" in product:
        pixels = pixels / product["flat"][box.rows, box.columns]
    return pixels


def leak(arrays, detector):
    """Light over one amplifier, stronger at its end."""
    pixels = imaging(arrays, detector, AMP)
    pixels += np.linspace(0, 60, pixels.shape[0])[:, None]


def dead(arrays, detector):
    arrays[AMP][...] = 11500


def hot_column(arrays, detector):
    imaging(arrays, detector, AMP)[:, 11] += 40


def wrong_gain(arrays, detector):
    arrays[AMP] -= 11000
    arrays[AMP] *= 1.05
    arrays[AMP] += 11000


def swapped(arrays, detector):
    first, second = imaging(arrays, detector, AMP), imaging(arrays, detector, OTHER)
    levels = [
        np.median(arrays[a.name][a.serial_overscan.rows, a.serial_overscan.columns])
        for a in detector.amplifiers
        if a.name in (AMP, OTHER)
    ]
    by_name = dict(
        zip([a.name for a in detector.amplifiers if a.name in (AMP, OTHER)], levels, strict=True)
    )
    kept = first.copy()
    first[...] = second - by_name[OTHER] + by_name[AMP]
    second[...] = kept - by_name[AMP] + by_name[OTHER]


def saturated(arrays, detector):
    imaging(arrays, detector, AMP)[:20] = 65535


def other_filter(arrays, detector):
    """Another colour of light: the whole detector is brighter to one side, by 3 %."""
    for amplifier in detector.amplifiers:
        level = np.median(
            arrays[amplifier.name][
                amplifier.serial_overscan.rows, amplifier.serial_overscan.columns
            ]
        )
        pixels = imaging(arrays, detector, amplifier.name)
        slope = np.linspace(0.97, 1.03, pixels.shape[0])[:, None]
        pixels[...] = (pixels - level) * slope + level


DARK_FAULTS = {
    "LEVEL": (leak, {}, {AMP}),
    "STRUCTURE": (leak, {}, {AMP}),
    "ALIVE": (dead, {}, {AMP}),
    "COLUMN": (hot_column, {}, {AMP}),
}
FLAT_FAULTS = {
    "RESPONSE": (wrong_gain, {}, {AMP}),
    "SATURATED": (saturated, {"isr.saturation_level": 60000.0}, None),
    "ALIVE": (dead, {}, None),
    "COLUMN": (lambda a, d: imaging(a, d, AMP)[:, 11].__imul__(0.95), {}, {AMP}),
    "FLATNESS": (other_filter, {}, None),
}


@pytest.mark.parametrize("test", DARK_FAULTS)
def test_a_fault_of_a_dark_is_found(test, frames, tmp_path):
    fault(frames, tmp_path, "dark", test, *DARK_FAULTS[test])


@pytest.mark.parametrize("test", FLAT_FAULTS)
def test_a_fault_of_a_flat_is_found(test, frames, tmp_path):
    fault(frames, tmp_path, "flat", test, *FLAT_FAULTS[test])


def fault(frames, tmp_path, kind, test, change, config, amplifiers):
    """The last frames are spoilt, which the product was not made from."""
    mine = own(frames, tmp_path)
    with opened(frames, tmp_path / "geometry") as sound:
        detector = sound.detector("LATISS", 0)
    for path in (mine.darks if kind == "dark" else mine.flats)[BUILT:]:
        spoil(path, detector, change)
    with opened(mine, tmp_path) as repo:
        exposures = build(repo, kind)
        table, summary = verify(repo, kind, exposures, **config)
    assert summary["verdict"] == "fail"
    assert test in summary["failed_tests"]
    failed = names(table)
    late = {e.exposure for e in exposures[BUILT:]}
    assert {int(name.split()[0]) for name in failed if name.split()[0].isdigit()} <= late
    if amplifiers is not None:
        assert {name.split()[-2] for name in failed} == amplifiers


def test_swapped_amplifiers_are_found_in_a_flat(frames, tmp_path):
    mine = own(frames, tmp_path)
    with opened(frames, tmp_path / "geometry") as sound:
        detector = sound.detector("LATISS", 0)
    for path in mine.flats[BUILT:]:
        spoil(path, detector, swapped)
    with opened(mine, tmp_path) as repo:
        exposures = build(repo, "flat")
        table, summary = verify(repo, "flat", exposures)
    assert summary["verdict"] == "fail"
    # What one gains the other loses; the pattern of pixels is another one as well.
    assert {"NOISE", "RESPONSE", "FLATNESS"} & set(summary["failed_tests"])
    assert {name.split()[-2] for name in names(table)} >= {AMP, OTHER}


def test_a_wrong_dark_time_is_found(frames, tmp_path):
    mine = own(frames, tmp_path)
    with fits.open(mine.darks[-1], mode="update") as hdus:
        # Five times as long as it was: too much is subtracted.
        hdus[0].header["DARKTIME"] = 5 * DARK_TIME
    with opened(mine, tmp_path) as repo:
        exposures = build(repo, "dark")
        table, summary = verify(repo, "dark", exposures)
    failed = names(table)
    assert "LEVEL" in summary["failed_tests"]
    assert {name.split()[0] for name in failed} == {str(exposures[-1].exposure)}
    level = table["value"].values[(table["test"].values == "LEVEL")]
    of = table["exposure"].values[(table["test"].values == "LEVEL")]
    # 400 seconds of 0.03 electrons a second.
    assert np.median(level[of == exposures[-1].exposure]) == pytest.approx(-12, rel=0.3)


def test_a_light_leak_in_the_inputs_is_found_in_the_dark_itself(frames, tmp_path):
    mine = own(frames, tmp_path)
    with opened(frames, tmp_path / "geometry") as sound:
        detector = sound.detector("LATISS", 0)
    for path in mine.darks:
        spoil(path, detector, leak)
    with opened(mine, tmp_path) as repo:
        exposures = build(repo, "dark")
        table, summary = verify(repo, "dark", exposures)
    assert set(summary["failed_tests"]) == {"GRADIENT"}
    assert names(table) == [f"{AMP} GRADIENT"]


def test_half_of_the_inputs_of_another_filter_are_found(frames, tmp_path):
    mine = own(frames, tmp_path)
    with opened(frames, tmp_path / "geometry") as sound:
        detector = sound.detector("LATISS", 0)
    for path in mine.flats[::2]:
        spoil(path, detector, other_filter)
    with opened(mine, tmp_path) as repo:
        exposures = build(repo, "flat")
        _, summary = verify(repo, "flat", exposures)
    assert summary["verdict"] == "fail"
    assert "FLATNESS" in summary["failed_tests"]
