"""`cpflow instrument new` on real cameras: filled in as asked, compared with the shipped files.

The answers are what the README of each set of frames says, and nothing but what is asked for is
filled in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import reference
from astropy.io import fits
from commands import cpflow
from filled_in import fill_in

from cpflow import Repo
from cpflow.camera import Detector
from cpflow.io.instrument import Instrument, load_instrument
from cpflow.io.raw import read_frame, scan_raw
from cpflow.repo.ingest import ingest

OUTPUTS = "types.CCD.outputs"
GAIN = "types.CCD.amplifier.gain"


@dataclass(frozen=True)
class CameraCase:
    """A set of frames, the shipped instrument file, and a person's answers."""

    directory: str
    shipped: str
    answers: dict[str, str]


EMVA = CameraCase(
    "emva1288_ccd12",
    "emva_ccd12",
    {
        OUTPUTS: "{corners: [LL]}",  # "No overscan, no trim, no date"
        GAIN: "3.5616",  # "overall gain K ... 3.5616 e-/DN"
        "headers.time.begin.0.value": "2011-01-01",  # "measured ... by Basler AG in 2011"
    },
)
MSFC = CameraCase(
    "msfc_ccd_darks",
    "msfc_ccd",
    {
        "name": "MSFC",
        # "columns 0..49 are prescan, 50..1073 light sensitive, 1074..1075 overscan"
        OUTPUTS: "{corners: [LL, LR, UL, UR], prescan_columns: 50, overscan_columns: 2}",
        GAIN: "null",
        "headers.fields.observation_type.value": "dark",
    },
)
SAAO = CameraCase("saao_ste3", "saao_ste3", {})
SBIG = CameraCase("sbig_st10_tres1", "sbig_st10", {OUTPUTS: "{corners: [LL]}"})  # "no overscan"
CASES = [EMVA, MSFC, SAAO, SBIG]

pytestmark = pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")


@pytest.fixture(scope="module")
def describe(real_data, tmp_path_factory):
    """Return the instrument that is drafted and filled in, and the files of the camera."""
    made: dict[str, tuple[Path, list[Path]]] = {}

    def describe(case: CameraCase) -> tuple[Path, list[Path]]:
        if case.directory not in made:
            files = sorted((real_data / case.directory).glob("*.fits.fz"))
            if not files:
                pytest.skip(f"no frames in {real_data / case.directory}")
            path = tmp_path_factory.mktemp(case.shipped) / "camera.yaml"
            cpflow("instrument", "new", real_data / case.directory, "-o", path)
            fill_in(path, case.answers)
            made[case.directory] = path, files
        return made[case.directory]

    return describe


def detector_of(path: Path, instrument: Instrument) -> Detector:
    scanned = scan_raw(path, instrument, checksum=False, verify_fits_checksum=False)
    if scanned.detectors:
        return scanned.detectors[0]
    return instrument.camera.detector(scanned.raws[0].detector)


def geometry(detector: Detector):
    """All that decides about pixels, whatever the outputs are called."""
    return detector.shape, [
        (
            a.raw, a.source.box, a.source.flip_x, a.source.flip_y, a.imaging, a.detector_box,
            a.serial_overscan, a.parallel_overscan, a.serial_prescan, a.flip_x, a.flip_y,
        )
        for a in detector
    ]  # fmt: skip


def number(value):
    return None if value != value else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.shipped)
def test_the_camera_is_the_shipped_one(describe, case):
    path, files = describe(case)
    ours, shipped = load_instrument(path), load_instrument(case.shipped)
    for file in files[:: max(1, len(files) // 4)]:
        mine, theirs = detector_of(file, ours), detector_of(file, shipped)
        assert geometry(mine) == geometry(theirs)
        assert mine.id == theirs.id
        assert [a.gain for a in mine] == pytest.approx([a.gain for a in theirs], rel=1e-6)
        assert [number(a.saturation) for a in mine] == [number(a.saturation) for a in theirs]
    read_noise = {number(a.read_noise) for a in detector_of(files[0], ours)}
    # It is asked for nowhere: where no keyword has it, it is measured.
    assert read_noise == ({5.0} if case is SAAO else {None})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.shipped)
def test_all_files_go_in_and_are_what_the_shipped_file_says(describe, case, tmp_path):
    path, files = describe(case)
    shipped = load_instrument(case.shipped)
    Repo.create(tmp_path / "repo", path).close()
    with Repo(tmp_path / "repo") as repo:
        report = ingest(repo, files)
        assert report.refused == []
        assert len(report.added) == len(files)
        found = {Path(raw.path).name: exposure for exposure, raw in repo.select("")}
    assert len(found) == len(files)
    assert len({exposure.exposure for exposure in found.values()}) == len(files)
    differ = set()
    for file in files:
        theirs = scan_raw(file, shipped, checksum=False, verify_fits_checksum=False).exposure
        mine = found[file.name]
        if mine.observation_type != theirs.observation_type:
            differ.add(file.name)
        # Ticks of 25 ns are not known to be a time; milliseconds are.
        within = 0.001 if case is MSFC else 0
        assert mine.exposure_time == pytest.approx(theirs.exposure_time, abs=within)
        assert mine.timespan.begin == theirs.timespan.begin
        assert mine.day_obs == theirs.day_obs
        assert mine.target_name == theirs.target_name
        if theirs.physical_filter != "unknown":
            assert mine.physical_filter == theirs.physical_filter
    # That darks of 40 microseconds serve as biases is a choice; the draft offers it in a comment.
    choice = {"dark_00_1.fits.fz", "dark_00_2.fits.fz"} if case is EMVA else set()
    assert differ == choice
    assert ("No file is a bias. Should darks" in path.read_text()) == (case is EMVA)


def test_nothing_is_asked_of_a_camera_whose_headers_say_all(describe):
    text = describe(SAAO)[0].read_text()
    assert "TODO:" not in text
    assert "geometry: header" in text


def test_pixels_suggest_the_four_outputs_of_the_esis_cameras(real_data, tmp_path):
    cpflow("instrument", "new", real_data / "msfc_ccd_darks", "-o", tmp_path / "camera.yaml")
    text = (tmp_path / "camera.yaml").read_text()
    assert "{corners: [LL, LR, UL, UR]}   what the pixels suggest" in text


def test_check_shows_that_overscan_and_sky_of_the_saao_frame_are_where_they_are_said(describe):
    path, files = describe(SAAO)
    shown = cpflow("instrument", "check", path, *files).stdout
    (row,) = [line.split() for line in shown.split("\n") if line.startswith("0         A")]
    with fits.open(files[0]) as hdus:
        pixels = hdus[1].data
    assert float(row[2]) == np.median(pixels[:, 16:528])
    assert float(row[3]) == np.median(pixels[:, 3:13])


def test_a_dark_of_the_sbig_camera_as_it_was_described(describe, tmp_path):
    """Built by commands alone; the product is a clipped mean of the frames over their time."""
    path, files = describe(SBIG)
    root = tmp_path / "repo"
    darks = [file for file in files if file.name.endswith("d.fits.fz")]
    cpflow("init", root, "--instrument", path)
    cpflow("ingest", root, *darks)
    cpflow(
        "run", "-b", root, "-p", "dark", "-o", "u/me/darkGen", "-d", "observation_type='dark'",
        "-c", "isr.bias=false", "-c", "cosmic_rays.enabled=false",
    )  # fmt: skip
    with Repo(root) as repo:
        product = repo.get("dark", collections="u/me/darkGen", detector=0).compute()
    stack = np.stack([read_frame_of(file, path) for file in darks])
    assert product["image"].shape == stack.shape[1:]
    rows = slice(300, 340)  # the reference is slow
    mean, _, _ = reference.clipped_mean(stack[:, rows].astype(np.float32) * np.float32(1 / 60))
    np.testing.assert_allclose(product["image"].values[rows], mean, rtol=2e-7)


def read_frame_of(file: Path, instrument_file: Path):
    instrument = load_instrument(instrument_file)
    (raw,) = scan_raw(file, instrument, checksum=False).raws
    with fits.open(file) as hdus:
        pixels = np.array(hdus[1].data)
    np.testing.assert_array_equal(
        read_frame(file, raw.layout, instrument.camera.detector(0))[0], pixels
    )
    return pixels
