from pathlib import Path

import pytest
from astropy.io import fits

from cpflow.io.headers import detector_of, translate
from cpflow.io.instrument import load_instrument
from cpflow.simulate.headers import file_name, image_cards, primary_cards
from cpflow.simulate.sequence import Observation

FLAT = Observation(
    day_obs=20210311, seq_num=77, type="flat", exposure_time=2.5, dark_time=2.75,
    filter="RG610~empty", target="FlatField", reason="ptc", program="BLOCK-1",
)  # fmt: skip


def as_header(cards):
    header = fits.Header()
    for keyword, value, comment in cards:
        header[keyword] = (value, comment)
    return dict(header)


@pytest.mark.parametrize("name", ["latiss", "quad"])
def test_the_instrument_s_rules_give_the_observation_back(name):
    instrument = load_instrument(name)
    detector = instrument.camera.detectors[0]
    header = as_header(primary_cards(FLAT, detector, instrument))
    path = file_name(FLAT, detector, instrument, "none")
    record = translate([header], instrument.rules, path, instrument.name)
    assert record.exposure == FLAT.id == 2021031100077
    assert (record.day_obs, record.seq_num) == (20210311, 77)
    assert record.observation_type == "flat"
    assert (record.exposure_time, record.dark_time) == (2.5, 2.75)
    assert record.physical_filter == "RG610~empty"
    assert record.target_name == "FlatField"
    assert (record.observation_reason, record.science_program) == ("ptc", "BLOCK-1")
    assert record.has_simulated
    assert record.timespan == FLAT.timespan
    if instrument.rules.detector:
        assert detector_of([header], instrument.rules, path) == detector.name


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("lsstcam", {"exposure": FLAT.id, "observation_type": "flat", "dark_time": 2.75}),
        ("saao_ste3", {"observation_type": "flat", "physical_filter": "RG610~empty"}),
        ("sbig_st10", {"observation_type": "flat", "seq_num": 77, "target_name": "FlatField"}),
        ("msfc_ccd", {"seq_num": 77}),
    ],
)
def test_other_cameras_read_back_what_their_headers_can_say(name, wanted):
    instrument = load_instrument(name)
    detector = instrument.camera.detectors[-1]
    header = as_header(primary_cards(FLAT, detector, instrument))
    path = file_name(FLAT, detector, instrument, "none")
    record = translate([header], instrument.rules, path, instrument.name)
    wanted = {"day_obs": 20210311, "exposure_time": 2.5, "timespan": FLAT.timespan} | wanted
    assert {field: getattr(record, field) for field in wanted} == wanted
    if instrument.rules.detector:
        assert detector_of([header], instrument.rules, path) == detector.name


def test_a_bias_of_latiss_passes_the_page_s_query():
    instrument = load_instrument("latiss")
    bias = Observation(day_obs=20210120, seq_num=19, type="bias")
    cards = primary_cards(bias, instrument.camera.detectors[0], instrument)
    record = translate([as_header(cards)], instrument.rules, Path("x.fits"), "LATISS")
    assert (record.observation_type, record.target_name) == ("bias", "Park position")
    assert record.exposure_time == 0
    assert 0 < record.dark_time < 0.1
    assert record.physical_filter == "empty~empty"
    assert record.timespan.begin < record.timespan.end


def test_files_of_latiss_are_named_as_at_the_observatory():
    instrument = load_instrument("latiss")
    detector = instrument.camera.detectors[0]
    bias = Observation(day_obs=20210120, seq_num=19, type="bias")
    assert file_name(bias, detector, instrument, "none") == "AT_O_20210120_000019_R00_S00.fits"
    assert file_name(bias, detector, instrument, "rice") == "AT_O_20210120_000019_R00_S00.fits.fz"


@pytest.mark.parametrize(
    ("index", "name", "extname", "detsec"),
    [
        (0, "C10", "Segment10", "[509:1,4000:2001]"),
        (8, "C07", "Segment07", "[4072:3564,1:2000]"),
    ],
)
def test_sections_of_latiss_are_those_of_2024(index, name, extname, detsec):
    instrument = load_instrument("latiss")
    detector = instrument.camera.detectors[0]
    amplifier = detector.amplifiers[index]
    assert amplifier.name == name
    names = instrument.extension_names(detector)
    header = as_header(image_cards([amplifier], detector, names))
    assert header["EXTNAME"] == extname
    assert header["DATASEC"] == "[4:512,1:2000]"
    assert header["BIASSEC"] == "[513:576,1:2000]"
    assert header["DETSEC"] == detsec
    assert header["DETSIZE"] == "[1:4072,1:4000]"
