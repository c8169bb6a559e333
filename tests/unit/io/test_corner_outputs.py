"""`image` and `outputs` of a detector type: the amplifiers that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from cpflow.camera import Box
from cpflow.errors import InstrumentError
from cpflow.io.instrument import dump_instrument, load_instrument

FILE = """
name: small
types:
  T:
    image: [12, 20]
    outputs: {outputs}
    amplifier: {{gain: 2.0}}
detectors:
  - {{id: 0, name: D, type: T}}
headers:
  time: {{begin: [DATE-OBS]}}
  fields: {{exposure: EXPID, seq_num: SEQ, observation_type: OBSTYPE}}
"""


@pytest.fixture
def load(tmp_path):
    def load(outputs, old="", new=""):
        path = tmp_path / "small.yaml"
        text = FILE.format(outputs=outputs)
        assert old in text
        path.write_text(text.replace(old, new) if old else text)
        return load_instrument(path)

    return load


@pytest.mark.parametrize(
    "corners",
    ["LL", "LR", "UL", "UR", "LL, LR", "UL, UR", "LL, UL", "LR, UR", "LL, LR, UL, UR", "UR, LL, UL, LR"],  # noqa: E501
)  # fmt: skip
def test_each_corner_reads_its_part_of_the_stored_picture(load, corners):
    """Every stored pixel, followed to its amplifier, is read in order from the corner."""
    (detector,) = load(f"[{corners}]").camera
    names = corners.split(", ")
    assert sorted(detector.amplifier_names) == sorted(names)
    y, x = np.mgrid[0:12, 0:20]
    seen = np.zeros((12, 20), int)
    for amplifier in detector:
        upper, right = amplifier.name[0] == "U", amplifier.name[1] == "R"
        box, source = amplifier.source.box, amplifier.source
        seen[box.rows, box.columns] += 1
        turned = (slice(None, None, -1 if source.flip_y else 1),
                  slice(None, None, -1 if source.flip_x else 1))  # fmt: skip
        # The pixel next to the corner of the picture is the first that is read.
        assert y[box.rows, box.columns][turned][0, 0] == (11 if upper else 0)
        assert x[box.rows, box.columns][turned][0, 0] == (19 if right else 0)
        # And the assembled picture is the stored one.
        assert amplifier.detector_box == box
        assert (amplifier.flip_x, amplifier.flip_y) == (source.flip_x, source.flip_y)
        assert amplifier.gain == 2.0
    assert (seen == 1).all()
    assert detector.shape == (12, 20)


def test_prescan_and_overscan_are_cut_off_each_output(load):
    (detector,) = load(
        "{corners: [LL, LR, UL, UR], prescan_columns: 1, overscan_columns: 3, prescan_rows: 1, "
        "overscan_rows: 2}"
    ).camera
    assert detector.shape == (6, 12)
    assert detector.raw_shape == (6, 10)
    for amplifier in detector:
        assert amplifier.serial_prescan == Box(0, 1, 1, 3)
        assert amplifier.imaging == Box(1, 1, 6, 3)
        assert amplifier.serial_overscan == Box(7, 1, 3, 3)
        assert amplifier.parallel_overscan == Box(1, 4, 6, 2)
    places = {a.name: (a.detector_box.x0, a.detector_box.y0) for a in detector}
    assert places == {"LL": (0, 0), "LR": (6, 0), "UL": (0, 3), "UR": (6, 3)}


def test_the_corner_alone_will_do(load):
    assert load("LR").camera == load("{corners: [LR]}").camera


def test_it_is_the_camera_that_is_written_out(load, tmp_path):
    instrument = load("{corners: [UL, UR], overscan_columns: 2}")
    dump_instrument(instrument, tmp_path / "dumped.yaml")
    assert "amplifiers" in (tmp_path / "dumped.yaml").read_text()
    assert load_instrument(tmp_path / "dumped.yaml").camera == instrument.camera


@pytest.mark.parametrize(
    ("outputs", "old", "new", "message"),
    [
        ("[LL, UR]", "", "", "LL, UR do not share a picture evenly"),
        ("[LL, LL]", "", "", "LL, LL do not share a picture evenly"),
        ("[LL, LR, UL]", "", "", "do not share"),
        ("[XX]", "", "", r"outputs.corners.0: .*'LL'"),
        ("{corners: []}", "", "", "outputs.corners"),
        ("{corners: [LL], overscan: 3}", "", "", "no key 'overscan' here; did you mean"),
        ("{corners: [LL], overscan_columns: 20}", "", "", "no imaging pixels are left"),
        ("{corners: [LL], overscan_columns: -1}", "", "", "outputs.overscan_columns"),
        ("[LL, LR]", "[12, 20]", "[12, 21]", "12 rows and 21 columns cannot be shared by 2 x 1"),
        ("LL", "image: [12, 20]", "pixel_size_mm: 0", "needs `image`"),
        ("LL", "image: [12, 20]", "image: 12", "needs `image`"),
        ("LL", "image: [12, 20]", "image: [12, 20]\n    shape: [12, 20]", "give it or them"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(load, outputs, old, new, message):
    with pytest.raises(InstrumentError, match=message) as caught:
        load(outputs, old, new)
    assert "small.yaml: types.T: " in str(caught.value)
