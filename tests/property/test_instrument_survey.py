"""Whatever headers say, a draft loads once it is filled in, and takes its own files."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from astropy.io import fits
from filled_in import asked_for, filled_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cpflow.errors import CpflowError
from cpflow.io.instrument import load_instrument
from cpflow.io.instrument_survey import draft_instrument
from cpflow.io.raw import scan_raw

KEYWORDS = [
    "INSTRUME", "CAMERA", "DETECTOR", "CCDNUM", "CCDNAME", "CHANNEL", "TRIMSEC", "DATASEC",
    "BIASSEC", "CCDSEC", "DETSEC", "DATASECA", "DATASECB", "BIASSECA", "AMPSEC", "GAIN", "EGAIN",
    "RDNOISE", "SATURATE", "XPIXSZ", "CCDSUM", "IMAGETYP", "OBSTYPE", "FRAME", "EXPTIME",
    "EXPOSURE", "DARKTIME", "FILTER", "FILTER1", "FILTER2", "OBJECT", "PROGRAM", "RA", "DEC",
    "CCD-TEMP", "SEQNUM", "RUN", "DATE", "DATE-OBS", "TIME-OBS", "UT", "MJD-OBS", "JD", "DATE-END",
    "TIMESYS", "DAYOBS", "SITELONG", "OBSID",
]  # fmt: skip
VALUES = [
    "", "a: b", "it's", '"', "#x", "null", "yes", "1", "007", "{a}", "{", "*",
    "100%", "\\d+", "- x", "~", "[x", "very " * 12, "2024-03-01", "2024-03-01T01:02:03", "01/02/99",
    "12:34:56", "1:2:3", "[1:20,1:10]", "[20:1,1:10]", "[1:5,1:10]", "[21:24,1:10]", "[0:3,1:2]",
    "Dark Frame", "zero", "Flat", "LIGHT", "lamp on", "UTC", 0, 1, -1, 5, 1e20, 1.5, 3.0, 59000.25,
    2459000.5, True, False,
]  # fmt: skip
SOUND = {
    "INSTRUME": "CCD", "GAIN": 1.5, "IMAGETYP": "bias", "EXPTIME": 1.0, "DATASEC": "[1:20,1:10]",
    "BIASSEC": "[21:24,1:10]",
}  # fmt: skip
cards = st.dictionaries(st.sampled_from(KEYWORDS), st.sampled_from(VALUES), max_size=8)
ANSWERS = {
    r"name": "X",
    r"geometry": "header",
    r".*\.outputs": "[LL]",
    r".*gain": "null",
    r".*overscan": "null",
    r".*begin\.0\.value": "2024-01-01",
    r".*seq_num": "{file: '(\\d+)'}",
    r".*observation_type.*": "dark",
    r".*exposure_time": "[]",
    r".*\.shape": "[10, 48]",
    r".*\.0\.place": "[0, 0]",
    r".*\.1\.place": "[24, 0]",
}

pytestmark = pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")


def write(path, header, images):
    pixels = np.arange(240, dtype=np.uint16).reshape(10, 24)
    hdus = [fits.PrimaryHDU(pixels)]
    if images > 1:
        hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(pixels) for _ in range(images))]
    for key, value in header.items():
        hdus[-1 if key.endswith("SEC") else 0].header[key] = value
    fits.HDUList(hdus).writeto(path)
    return path


def answer(key):
    (found,) = [text for pattern, text in ANSWERS.items() if re.fullmatch(pattern, key)]
    return found


@settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(common=cards, own=st.lists(cards, min_size=1, max_size=3), images=st.sampled_from([1, 1, 2]))
def test_a_draft_of_any_headers_loads_and_takes_its_files(common, own, images):
    with TemporaryDirectory() as directory:
        paths = []
        for index, header in enumerate(own):
            moment = {"DATE-OBS": f"2024-03-01T01:02:{index:02d}"}
            everything = {**SOUND, **moment, **common, **header}
            paths.append(write(Path(directory) / f"x{index}.fits", everything, images))
        draft = draft_instrument(paths)
        assert [one.key for one in draft.asked] == asked_for(draft.text)
        file = Path(directory) / "drafted.yaml"
        file.write_text(filled_in(draft.text, {k: answer(k) for k in asked_for(draft.text)}))
        instrument = load_instrument(file)
        taken = []
        for path in paths:
            try:
                scanned = scan_raw(path, instrument)
            except CpflowError:
                continue  # a header may well be nonsense; it is refused with its reason
            taken += [(scanned.exposure.exposure, raw.detector) for raw in scanned.raws]
        if "headers.fields.seq_num" not in asked_for(draft.text):
            assert len(set(taken)) == len(taken)
