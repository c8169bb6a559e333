from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from cpflow.camera import Box, Source
from cpflow.errors import InstrumentError, UsageError
from cpflow.io.instrument import (
    Instrument,
    detector_from_geometry,
    dump_instrument,
    geometry_of,
    instrument_names,
    load_instrument,
    scaled,
)
from cpflow.share import share_directory

SHIPPED = ["emva_ccd12", "generic", "latiss", "lsstcam", "msfc_ccd", "saao_ste3", "sbig_st10"]

# Reference 1.1, table of amplifiers: name, column, row, flips, gain, read noise, in HDU order.
LATISS = """
C10 0 1 TT 1.0811 8.4
C11 1 1 TT 1.0470 8.5
C12 2 1 TT 1.0795 8.4
C13 3 1 TT 1.0810 8.6
C14 4 1 TT 1.0644 8.4
C15 5 1 TT 1.0669 8.4
C16 6 1 TT 1.0795 8.4
C17 7 1 TT 1.0560 8.0
C07 7 0 TF 1.1033 8.5
C06 6 0 TF 1.1039 10.0
C05 5 0 TF 1.1047 10.3
C04 4 0 TF 1.0840 9.7
C03 3 0 TF 1.0939 9.1
C02 2 0 TF 1.0874 9.4
C01 1 0 TF 1.0933 9.9
C00 0 0 TF 1.0972 9.1
"""

SMALL = """
name: small
types:
  T:
    shape: [4, 6]
    amplifier: {raw: [4, 5], hdu: 1, imaging: {x0: 0, y0: 0, width: 3, height: 4}}
    amplifiers:
      - {name: A, place: [0, 0]}
      - {name: B, hdu: 2, place: [3, 0], gain: 2.5}
detectors:
  - {id: 7, name: D, type: T}
headers:
  time: {begin: [DATE-OBS]}
  fields: {exposure: EXPID, seq_num: SEQ, observation_type: OBSTYPE}
"""


@pytest.fixture
def small(tmp_path):
    def load(*replacements: tuple[str, str]) -> Instrument:
        text = SMALL
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "small.yaml"
        path.write_text(text)
        return load_instrument(path)

    return load


def test_latiss_is_the_camera_of_the_reference():
    instrument = load_instrument("LATISS")
    assert instrument.name == "LATISS"
    (detector,) = instrument.camera.detectors
    assert (detector.id, detector.name) == (0, "RXX_S00")
    assert (detector.serial, detector.type) == ("ITL-3800C-068", "ITL")
    assert detector.shape == (4000, 4072)
    assert detector.pixel_size_mm == 0.010
    assert detector.reference_pixel == (2036.5, 2000.5)
    assert detector.centre_mm == (-0.515, -0.055)
    assert detector.extra["plate_scale_arcsec_per_mm"] == 9.5695
    rows = [line.split() for line in LATISS.strip().splitlines()]
    assert detector.amplifier_names == tuple(row[0] for row in rows)
    for hdu, (amplifier, row) in enumerate(zip(detector, rows, strict=True), start=1):
        _, ix, iy, flips, gain, noise = row
        assert amplifier.raw == (2048, 576)
        assert amplifier.source == Source(hdu, Box(0, 0, 576, 2048))
        assert amplifier.serial_prescan == Box(0, 0, 3, 2000)
        assert amplifier.imaging == Box(3, 0, 509, 2000)
        assert amplifier.serial_overscan == Box(512, 0, 64, 2000)
        assert amplifier.parallel_overscan == Box(3, 2000, 509, 48)
        assert amplifier.detector_box == Box(509 * int(ix), 2000 * int(iy), 509, 2000)
        assert (amplifier.flip_x, amplifier.flip_y) == (flips[0] == "T", flips[1] == "T")
        assert (amplifier.gain, amplifier.read_noise) == (float(gain), float(noise))
        assert amplifier.saturation == 142857
        assert amplifier.suspect != amplifier.suspect
        assert amplifier.linearity_type == "proportional"
        assert amplifier.readout_corner == ("UR" if iy == "1" else "LR")
    assert instrument.extension_names(detector)["C10"] == "Segment10"


def test_lsstcam_has_189_science_detectors_of_two_vendors():
    camera = load_instrument("lsstcam").camera
    assert [d.id for d in camera] == list(range(189))
    assert camera.detector(94).name == "R22_S11"
    assert camera.detector(94).centre_mm == (0.0, 0.0)
    assert (camera.detector(0).name, camera.detector(188).name) == ("R01_S00", "R43_S22")
    kinds = {d.name[:3]: d.type for d in camera}
    assert {r for r, kind in kinds.items() if kind == "ITL"} == {
        *("R01", "R02", "R03", "R10", "R20", "R41", "R42", "R43")
    }
    assert sorted(kinds.values()).count("E2V") == 13
    e2v = camera.detector(94)
    assert e2v.shape == (4004, 4096)
    assert e2v.raw_shape == (2048, 576)
    assert e2v.amplifiers[0].imaging == Box(10, 0, 512, 2002)
    assert {a.readout_corner for a in e2v if a.name[1] == "0"} == {"LL"}
    assert {a.readout_corner for a in e2v if a.name[1] == "1"} == {"UR"}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_instrument_is_rebuilt_from_its_definition(name):
    instrument = load_instrument(name)
    stored = json.loads(json.dumps(instrument.definition))
    rebuilt = Instrument.from_definition(stored, instrument.source)
    assert rebuilt == instrument
    assert rebuilt.definition == instrument.definition
    assert "rules" not in repr(instrument)


@pytest.mark.parametrize("name", SHIPPED)
def test_an_instrument_survives_yaml_and_pickle(name, tmp_path):
    instrument = load_instrument(name)
    dump_instrument(instrument, tmp_path / "written.yaml")
    read = load_instrument(tmp_path / "written.yaml")
    assert read.definition == instrument.definition
    assert read.camera == instrument.camera
    assert pickle.loads(pickle.dumps(instrument)).definition == instrument.definition


def test_names_are_found_in_any_letter_case_and_listed():
    assert load_instrument("Latiss").definition == load_instrument("LATISS").definition
    assert set(SHIPPED) <= set(instrument_names())
    files = {p.stem for p in (share_directory("configs") / "instruments").glob("*.yaml")}
    assert files <= set(instrument_names())


@pytest.mark.parametrize("directory", ["configs/instruments", "instruments"])
def test_the_search_path_comes_first(directory, tmp_path, monkeypatch):
    target = tmp_path / directory
    target.mkdir(parents=True)
    (target / "latiss.yaml").write_text(SMALL)
    (target / "own.yaml").write_text(SMALL)
    monkeypatch.setenv("CPFLOW_PATH", f"/nowhere:{tmp_path}")
    assert load_instrument("latiss").name == "small"
    assert "own" in instrument_names()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InstrumentError, match="no instrument 'nope'") as caught:
        load_instrument("nope")
    assert "latiss" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InstrumentError, match=r"gone.yaml: No such file"):
        load_instrument(tmp_path / "gone.yaml")


def test_amplifiers_take_what_their_entry_lacks_from_the_template(small):
    first, second = small().camera.detector(7)
    assert (first.source.hdu, second.source.hdu) == (1, 2)
    assert (first.gain, second.gain) == (1.0, 2.5)


def test_a_detector_may_have_values_of_its_own(small):
    loaded = small(("type: T}", "type: T, gain: {B: 3.0}, read_noise: 4.0, saturation: 60000}"))
    first, second = loaded.camera.detector(7)
    assert (first.gain, second.gain) == (1.0, 3.0)
    assert (first.read_noise, second.read_noise) == (4.0, 4.0)
    assert second.saturation == 60000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gain: 2.5", "gian: 2.5", r"types.T.amplifiers.1: there is no key 'gian'.*'gain'"),
        ("gain: 2.5", "gain: -1", r"types.T.amplifiers.1.gain: .*greater than 0"),
        ("gain: 2.5", "gain: .nan", r"types.T.amplifiers.1.gain"),
        (
            "gain: 2.5",
            "imaging: yes",
            r"types.T.amplifiers.1.imaging: keys with values are wanted here, as \{x0: ",
        ),
        ("gain: 2.5", "flip: z", r"types.T.amplifiers.1.flip"),
        ("name: B, ", "", r"types.T.amplifiers.1 has no 'name'"),
        ("name: B", "name: A", "two amplifiers have the same name"),
        ("place: [3, 0]", "place: [2, 0]", "overlap"),
        ("shape: [4, 6]", "shape: [4, 7]", "cover 24 of 28 pixels"),
        ("type: T}", "type: U}", "detectors.0.type: there is no detector type 'U'"),
        ("type: T}", "type: T, gain: {C: 1}}", "detectors.0.gain: there is no amplifier 'C'"),
        ("name: small", "name: 3 bad", "name"),
        ("name: small", "name: small\nname: other", "'name' is given twice"),
        ("name: small", "name: [", "not YAML"),
        ("name: small", "nmae: small", "no key 'nmae'.*did you mean 'name'"),
        ("name: small", "name: small\ngeometry: header", "takes no `types`"),
        ("  - {id: 7, name: D, type: T}", "  []", "needs `types` and `detectors`"),
        ("name: small", "name: small\nheader_geometry: {}", "is for `geometry: header`"),
        (
            "  - {id: 7, name: D, type: T}",
            "  - {id: 7, name: D, type: T}\n  - {id: 7, name: E, type: T}",
            "detectors.1 and detectors.0 are both 7",
        ),
        ("exposure: EXPID, ", "", r"headers.fields.exposure"),
        ("exposure: EXPID", "exposre: EXPID", r"no key 'exposre'.*did you mean 'exposure'"),
        ("seq_num: SEQ", "seq_num: {key: SEQ, field: day_obs}", "exactly one of"),
    ],
)
def test_a_faulty_file_is_refused_with_file_key_and_reason(small, old, new, message):
    with pytest.raises(InstrumentError, match=message) as caught:
        small((old, new))
    assert "small.yaml" in str(caught.value)


def test_a_file_that_is_not_a_mapping_is_refused(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n- 2\n")
    with pytest.raises(InstrumentError, match="mapping"):
        load_instrument(path)


def test_overlays_and_thresholds_are_kept_as_given(small):
    extra = "name: small\noverlays: {'*': {a.b: 1}, bias: {c.d: [x]}}\nthresholds: {noise: 5.0}"
    loaded = small(("name: small", extra))
    assert loaded.overlays == {"*": {"a.b": 1}, "bias": {"c.d": ["x"]}}
    assert loaded.thresholds == {"noise": 5.0}


@pytest.mark.parametrize("factor", [2, 8, 16, 100])
def test_a_scaled_latiss_has_the_structure_of_the_real_one(factor, tmp_path):
    instrument = load_instrument("latiss")
    small = scaled(instrument, factor)
    assert small.name == "LATISS"
    real, detector = instrument.camera.detectors[0], small.camera.detectors[0]
    width, height = round(509 / factor), round(2000 / factor)
    assert detector.shape == (2 * height, 8 * width)
    for one, other in zip(real, detector, strict=True):
        assert other.imaging == Box(3, 0, width, height)
        assert other.serial_prescan == Box(0, 0, 3, height)
        assert other.serial_overscan == Box(3 + width, 0, max(16, round(64 / factor)), height)
        assert other.parallel_overscan == Box(3, height, width, max(16, round(48 / factor)))
        assert other.raw == (other.parallel_overscan.y1, other.serial_overscan.x1)
        assert other.source.box == Box(0, 0, other.raw[1], other.raw[0])
        assert (one.name, one.gain, one.flip_x, one.flip_y) == (
            other.name,
            other.gain,
            other.flip_x,
            other.flip_y,
        )
    dump_instrument(small, tmp_path / "scaled.yaml")
    assert load_instrument(tmp_path / "scaled.yaml").camera == small.camera


def test_outputs_in_one_image_are_scaled_on_their_grid():
    detector = scaled(load_instrument("msfc_ccd"), 4).camera.detectors[0]
    rows, columns = detector.raw_shape
    assert (rows, columns) == (130, 50 + 256 + 2)
    assert [a.source.box for a in detector] == [
        Box(0, 0, columns, rows),
        Box(columns, 0, columns, rows),
        Box(0, rows, columns, rows),
        Box(columns, rows, columns, rows),
    ]


def test_what_cannot_be_scaled_is_said(small):
    with pytest.raises(InstrumentError, match="header gives its geometry"):
        scaled(load_instrument("generic"), 2)
    with pytest.raises(UsageError, match="by 0"):
        scaled(load_instrument("latiss"), 0)
    odd = small(("name: A, ", "name: A, stored_at: [1, 0], "))
    with pytest.raises(InstrumentError, match="not on a grid"):
        scaled(odd, 2)


def test_a_detector_survives_as_json():
    for name in ("latiss", "msfc_ccd", "saao_ste3"):
        for detector in load_instrument(name).camera:
            stored = json.dumps(geometry_of(detector), allow_nan=False)
            assert detector_from_geometry(json.loads(stored)) == detector


def test_names_are_listed_without_loading_pydantic():
    code = (
        "import sys, cpflow.io.instrument as i; i.instrument_names(); "
        "print([m for m in ('pydantic', 'yaml', 'astropy', 'numpy') if m in sys.modules])"
    )
    root = Path(__file__).parents[3]
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
