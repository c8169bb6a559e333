"""Drafts of instrument files from synthetic files of several styles.

Where a style says how pixels lie, the file is made from a known picture of the chip, and what the
drafted camera makes of the file must be that picture.
"""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from astropy.io import fits
from filled_in import asked_for, filled_in

from cpflow.errors import InstrumentError, NoDataError, RawError
from cpflow.io.instrument import load_instrument
from cpflow.io.instrument_survey import draft_instrument
from cpflow.io.instrument_survey.hdus import look_at
from cpflow.io.instrument_survey.pixels import pixel_evidence
from cpflow.io.raw import read_frame, scan_raw
from cpflow.timespan import from_iso, isoformat

USUAL = {
    "INSTRUME": "My Camera",
    "DATE-OBS": "2024-03-01T02:03:04.5",
    "IMAGETYP": "Bias Frame",
    "EXPTIME": 0.0,
    "GAIN": 1.7,
    "RDNOISE": 4.5,
}
LEVEL = 100
rng = np.random.default_rng(7)


def chip(rows, columns):
    """The picture that a chip has, other than any overscan."""
    return rng.integers(1000, 5000, (rows, columns)).astype(np.uint16)


def strip(rows, columns):
    return np.full((rows, columns), LEVEL, np.uint16)


@pytest.fixture
def write(tmp_path):
    """Write a file of images with their cards, in the primary HDU if there is one image."""

    def write(images, primary=USUAL, name="raw_0001.fits", compress=None):
        lone = len(images) == 1 and compress is None
        hdus = [fits.PrimaryHDU(images[0][0]) if lone else fits.PrimaryHDU()]
        if not lone:
            kind = fits.ImageHDU if compress is None else fits.CompImageHDU
            options = {} if compress is None else {"compression_type": compress}
            hdus += [kind(pixels, **options) for pixels, _ in images]
        for hdu, (_, cards) in zip(hdus[-len(images) :], images, strict=True):
            for key, value in cards.items():
                hdu.header[key] = value
        for key, value in primary.items():
            hdus[0].header[key] = value
        path = tmp_path / name
        fits.HDUList(hdus).writeto(path, overwrite=True)
        return path

    return write


@pytest.fixture
def load(tmp_path):
    """Load a draft, filled in."""

    def load(draft, **answers):
        path = tmp_path / "drafted.yaml"
        path.write_text(filled_in(draft.text, answers.get("answers", {})))
        return load_instrument(path)

    return load


def assembled(path, instrument, number=0):
    """The picture of a detector, and the pixels of each overscan, as the camera has them."""
    scanned = scan_raw(path, instrument)
    detectors = scanned.detectors or instrument.camera.detectors
    index = [d.id for d in detectors].index(number)
    (raw,) = [r for r in scanned.raws if r.detector == number]
    detector = detectors[index]
    picture = np.zeros(detector.shape, np.uint16)
    overscans = []
    for amplifier, frame in zip(detector, read_frame(path, raw.layout, detector), strict=True):
        light = frame[amplifier.imaging.rows, amplifier.imaging.columns]
        turned = light[:: -1 if amplifier.flip_y else 1, :: -1 if amplifier.flip_x else 1]
        picture[amplifier.detector_box.rows, amplifier.detector_box.columns] = turned
        for box in (amplifier.serial_overscan, amplifier.parallel_overscan):
            if not box.empty:
                overscans.append(frame[box.rows, box.columns])
                start = box.x0 >= amplifier.imaging.x1 or box.y0 >= amplifier.imaging.y1
                assert start, "overscan is read out after the imaging pixels"
    return picture, overscans


# -- one output in one HDU -------------------------------------------------------------------


@pytest.mark.parametrize("compress", [None, "RICE_1", "GZIP_1"])
@pytest.mark.parametrize("side", ["left", "right", "top"])
def test_one_hdu_with_biassec_and_trimsec_asks_for_nothing(write, load, side, compress):
    light = chip(40, 60)
    if side == "top":
        pixels = np.vstack([light, strip(8, 60)])
        cards = {"BIASSEC": "[1:60,41:48]", "TRIMSEC": "[1:60,1:40]"}
    else:
        parts = [light, strip(40, 10)]
        pixels = np.hstack(parts if side == "right" else parts[::-1])
        cards = (
            {"BIASSEC": "[61:70,1:40]", "TRIMSEC": "[ 1: 60, 1: 40]"}
            if side == "right"
            else {"BIASSEC": "[1:10,1:40]", "TRIMSEC": "[11:70,1:40]"}
        )
    path = write([(pixels, {**USUAL, **cards})], {}, compress=compress)
    draft = draft_instrument([path])
    assert draft.asked == []
    assert draft.name == "My_Camera"
    instrument = load(draft)
    assert instrument.header_geometry is not None, "the mechanism of `generic`"
    picture, (overscan,) = assembled(path, instrument)
    np.testing.assert_array_equal(picture, light)
    assert (overscan == LEVEL).all()
    (amplifier,) = scan_raw(path, instrument).detectors[0]
    assert (amplifier.gain, amplifier.read_noise, amplifier.saturation) == (1.7, 4.5, 65535)
    exposure = scan_raw(path, instrument).exposure
    assert exposure.observation_type == "bias"
    assert exposure.exposure == 20240301020304500
    assert exposure.day_obs == 20240229
    assert exposure.seq_num == 1


def test_every_value_has_a_comment_with_its_hdu_and_keyword(write):
    pixels = np.hstack([chip(20, 30), strip(20, 5)])
    cards = {**USUAL, "BIASSEC": "[31:35,1:20]", "TRIMSEC": "[1:30,1:20]", "FILTER": "R"}
    path = write([(pixels, cards)], {})
    with fits.open(path, mode="update") as hdus:
        hdus[0].header.comments["EXPTIME"] = "seconds"
    text = draft_instrument([path]).text
    lines = text.split("\n")

    def line(start):
        (found,) = [x for x in lines if x.strip().startswith(start)]
        return found

    assert line("exposure_time:").endswith("# HDU 0: 0 (seconds)")
    assert line("physical_filter:").endswith("# HDU 0: 'R'")
    assert "BIASSEC [31:35,1:20]: 5 columns at the right" in line("bias:")
    assert "GAIN 1.7" in line("gain:")
    assert any("'Bias Frame' is bias (1 file)" in x for x in lines)


def test_a_whole_image_section_is_one_output_without_overscan(write, load):
    light = chip(30, 40)
    path = write([(light, {**USUAL, "DATASEC": "[1:40,1:30]"})], {})
    draft = draft_instrument([path])
    assert draft.asked == []
    picture, overscans = assembled(path, load(draft))
    np.testing.assert_array_equal(picture, light)
    assert overscans == []


def test_columns_beside_a_section_without_biassec_are_asked_for(write, load):
    light = chip(30, 40)
    pixels = np.vstack([np.hstack([light, strip(30, 12)]), strip(6, 52)])
    path = write([(pixels, {**USUAL, "DATASEC": "[1:40,1:30]"})], {})
    draft = draft_instrument([path])
    where = "types.CCD.amplifier"
    assert asked_for(draft.text) == [f"{where}.serial_overscan", f"{where}.parallel_overscan"]
    # What the comments offer is taken as it stands.
    answers = {
        f"{where}.serial_overscan": "{x0: 40, y0: 0, width: 12, height: 30}",
        f"{where}.parallel_overscan": "{x0: 0, y0: 30, width: 40, height: 6}",
    }
    for answer in answers.values():
        assert f"#   {answer}   yes" in draft.text
    picture, overscans = assembled(path, load(draft, answers=answers))
    np.testing.assert_array_equal(picture, light)
    assert [part.shape for part in overscans] == [(30, 12), (6, 40)]
    assert all((part == LEVEL).all() for part in overscans)
    cut = load(draft, answers=dict.fromkeys(answers, "null"))
    assert assembled(path, cut)[1] == []


def test_sections_that_make_no_sense_are_said_and_asked_for(write):
    cards = {**USUAL, "BIASSEC": "[31:90,1:20]", "TRIMSEC": "[1:30,1:20]"}
    draft = draft_instrument([write([(chip(20, 35), cards)], {})])
    assert asked_for(draft.text) == ["types.CCD.outputs"]
    assert "BIASSEC [31:90,1:20] leaves the image of 35 x 20" in draft.text


# -- several outputs in one HDU --------------------------------------------------------------


def test_two_outputs_in_one_hdu_with_letters_behind_the_keywords(write, load):
    light = chip(32, 48)
    left, right = light[:, :24], light[:, 24:]
    pixels = np.hstack([strip(32, 4), left, right, strip(32, 4)])
    cards = {
        **USUAL,
        "DATASECA": "[5:28,1:32]", "BIASSECA": "[1:4,1:32]", "CCDSECA": "[1:24,1:32]",
        "DATASECB": "[29:52,1:32]", "BIASSECB": "[53:56,1:32]", "CCDSECB": "[25:48,1:32]",
        "GAINA": 1.5, "GAINB": 1.6, "RDNOISEA": 5.0, "RDNOISEB": 5.0,
    }  # fmt: skip
    path = write([(pixels, cards)], {})
    draft = draft_instrument([path])
    assert draft.asked == []
    instrument = load(draft)
    picture, overscans = assembled(path, instrument)
    np.testing.assert_array_equal(picture, light)
    assert len(overscans) == 2
    assert all((part == LEVEL).all() for part in overscans)
    (detector,) = instrument.camera
    assert [(a.name, a.gain, a.read_noise) for a in detector] == [("A", 1.5, 5.0), ("B", 1.6, 5.0)]


def test_four_outputs_in_one_hdu_with_two_digits(write, load):
    light = chip(40, 48)
    # As the quadrants are stored: overscan of all four in the middle.
    row = [light[:, :24], strip(40, 6), strip(40, 6), light[:, 24:]]
    pixels = np.hstack(row)
    cards = {**USUAL, "GTGAIN11": 2.0, "GTGAIN12": 2.1, "GTGAIN21": 2.2, "GTGAIN22": 2.3}
    for y, rows in (("1", "1:20"), ("2", "21:40")):
        cards |= {
            f"TSEC{y}1": f"[1:24,{rows}]", f"BSEC{y}1": f"[25:30,{rows}]",
            f"TSEC{y}2": f"[37:60,{rows}]", f"BSEC{y}2": f"[31:36,{rows}]",
        }  # fmt: skip
    cards.pop("GAIN")
    path = write([(pixels, cards)], {})
    draft = draft_instrument([path])
    assert draft.asked == []
    instrument = load(draft)
    picture, overscans = assembled(path, instrument)
    np.testing.assert_array_equal(picture, light)
    assert all((part == LEVEL).all() for part in overscans)
    (detector,) = instrument.camera
    assert [a.gain for a in detector] == [2.0, 2.1, 2.2, 2.3]
    assert [a.readout_corner for a in detector] == ["LL", "LR", "UL", "UR"]


def test_outputs_whose_sections_do_not_lie_side_by_side_are_asked_for(write):
    cards = {
        **USUAL,
        "DATASECA": "[1:24,1:32]", "BIASSECA": "[49:52,1:32]",
        "DATASECB": "[25:48,1:32]", "BIASSECB": "[53:56,1:32]",
    }  # fmt: skip
    draft = draft_instrument([write([(chip(32, 56), cards)], {})])
    assert asked_for(draft.text) == ["types.CCD.outputs"]
    said = " ".join(draft.text.replace("#", "").split())
    assert "do not lie in equal parts of the image" in said


# -- one HDU for each output -----------------------------------------------------------------


def quadrants(light, rows, columns, overscan):
    """The four corners of a picture as they are read out: each from its own corner."""
    for upper in (False, True):
        for right in (False, True):
            part = light[rows:, :] if upper else light[:rows, :]
            part = part[:, columns:] if right else part[:, :columns]
            read = part[:: -1 if upper else 1, :: -1 if right else 1]
            x = f"{2 * columns}:{columns + 1}" if right else f"1:{columns}"
            y = f"{2 * rows}:{rows + 1}" if upper else f"1:{rows}"
            yield np.hstack([read, strip(rows, overscan)]), f"[{x},{y}]"


@pytest.mark.parametrize("compress", [None, "RICE_1"])
@pytest.mark.parametrize("key", ["DETSEC", "CCDSEC"])
def test_one_hdu_for_each_output_read_from_its_corner(write, load, key, compress, warnings_of):
    light = chip(40, 60)
    images = [
        (
            pixels,
            {
                "EXTNAME": f"AMP{i}", "DATASEC": "[1:30,1:20]", "BIASSEC": "[31:36,1:20]",
                key: section, "GAIN": 1.5 + i / 10,
            },
        )
        for i, (pixels, section) in enumerate(quadrants(light, 20, 30, 6))
    ]  # fmt: skip
    path = write(images, {k: v for k, v in USUAL.items() if k != "GAIN"}, compress=compress)
    draft = draft_instrument([path])
    assert draft.asked == []
    instrument = load(draft)
    picture, overscans = assembled(path, instrument)
    np.testing.assert_array_equal(picture, light)
    assert len(overscans) == 4
    assert all((part == LEVEL).all() for part in overscans)
    (detector,) = instrument.camera
    assert detector.amplifier_names == ("AMP0", "AMP1", "AMP2", "AMP3")
    assert [a.source.hdu for a in detector] == [1, 2, 3, 4]
    assert [a.gain for a in detector] == [1.5, 1.6, 1.7, 1.8]
    assert warnings_of() == []


@pytest.mark.parametrize("key", ["CCDSEC", "DETSEC"])
def test_detectors_of_two_outputs_each_in_one_file(write, load, key, warnings_of):
    lights = [chip(20, 48), chip(20, 48)]
    images = []
    for number, light in enumerate(lights, start=1):
        for amplifier, x in (("a", "1:24"), ("b", "25:48")):
            part = light[:, :24] if amplifier == "a" else light[:, 24:]
            cards = {
                "CCDNUM": number, "DATASEC": "[1:24,1:20]", "BIASSEC": "[25:28,1:20]",
                "EXTNAME": f"ccd{number}{amplifier}", "CCDSEC": f"[{x},1:20]",
            }  # fmt: skip
            if key == "DETSEC":  # counted over the mosaic
                y = "101:120" if number == 2 else "1:20"
                cards[key] = f"[{x},{y}]"
                del cards["CCDSEC"]
            images.append((np.hstack([part, strip(20, 4)]), cards))
    path = write(images)
    draft = draft_instrument([path])
    assert draft.asked == []
    instrument = load(draft)
    assert [(d.id, d.name) for d in instrument.camera] == [(1, "1"), (2, "2")]
    for number, light in enumerate(lights, start=1):
        np.testing.assert_array_equal(assembled(path, instrument, number)[0], light)
    assert warnings_of() == []


def test_binned_sections_of_the_detector(write, load):
    light = chip(20, 48)
    images = [
        (light[:, :24], {"DATASEC": "[1:24,1:20]", "DETSEC": "[1:48,1:40]"}),
        (light[:, 24:], {"DATASEC": "[1:24,1:20]", "DETSEC": "[49:96,1:40]"}),
    ]
    path = write(images, {**USUAL, "CCDSUM": "2 2"})
    np.testing.assert_array_equal(assembled(path, load(draft_instrument([path])))[0], light)


def test_outputs_without_a_place_are_asked_for(write, load):
    light = chip(20, 48)
    cards = {"DATASEC": "[1:24,1:20]"}
    path = write([(light[:, 24:], cards), (light[:, :24], cards)])
    draft = draft_instrument([path])
    assert asked_for(draft.text) == [
        "types.CCD.shape",
        "types.CCD.amplifiers.0.place",
        "types.CCD.amplifiers.1.place",
    ]
    answers = dict(zip(asked_for(draft.text), ("[20, 48]", "[24, 0]", "[0, 0]"), strict=True))
    np.testing.assert_array_equal(assembled(path, load(draft, answers=answers))[0], light)


def test_images_without_any_section_may_each_be_a_ccd(write, load):
    first, second = chip(20, 48), chip(20, 48)
    path = write([(first, {}), (second, {})])
    draft = draft_instrument([path])
    assert asked_for(draft.text) == ["geometry"]
    instrument = load(draft, answers={"geometry": "header"})
    np.testing.assert_array_equal(assembled(path, instrument, 0)[0], first)
    np.testing.assert_array_equal(assembled(path, instrument, 1)[0], second)


def test_outputs_of_different_sizes_are_no_detector(write):
    path = write(
        [
            (chip(20, 48), {"DATASEC": "[1:48,1:20]", "DETSEC": "[1:48,1:20]"}),
            (chip(20, 24), {"DATASEC": "[1:24,1:20]", "DETSEC": "[49:72,1:20]"}),
        ]
    )
    draft = draft_instrument([path])
    assert asked_for(draft.text) == ["geometry"]
    said = " ".join(draft.text.replace("#", "").split())
    assert "differ in size: 48 x 20 and 24 x 20" in said


def test_a_preview_beside_the_image_is_left_alone(write, load):
    light = chip(40, 60)
    pixels = np.hstack([light, strip(40, 8)])
    cards = {"BIASSEC": "[61:68,1:40]", "TRIMSEC": "[1:60,1:40]"}
    path = write([(pixels, cards), (chip(8, 12), {})])
    draft = draft_instrument([path])
    assert draft.asked == []
    picture, (overscan,) = assembled(path, load(draft))
    np.testing.assert_array_equal(picture, light)
    assert (overscan == LEVEL).all()


def test_sections_of_one_output_of_several_are_not_taken_for_the_image(write):
    cards = {**USUAL, "DATASEC": "[1:20,1:18]", "BIASSEC": "[21:24,1:18]"}
    draft = draft_instrument([write([(chip(40, 48), cards)], {})])
    assert asked_for(draft.text) == ["types.CCD.outputs"]
    said = " ".join(draft.text.replace("#", "").split())
    assert "DATASEC [1:20,1:18] is less than half of the image of 48 x 40" in said


# -- no keywords at all ----------------------------------------------------------------------


def test_without_keywords_all_that_is_needed_is_asked_for(write, load):
    light = chip(40, 60)
    path = write([(light, {})], {}, name="x.fits")
    draft = draft_instrument([path])
    fields = "headers.fields"
    assert asked_for(draft.text) == [
        "name",
        "types.CCD.outputs",
        "types.CCD.amplifier.gain",
        "headers.time.begin.0.value",
        f"{fields}.seq_num",
        f"{fields}.observation_type.value",
        f"{fields}.exposure_time",
    ]
    answers = dict(
        zip(
            asked_for(draft.text),
            ("NONE", "LL", "null", "2024-03-01", "{value: 7}", "dark", "{value: 2.5}"),
            strict=True,
        )
    )
    instrument = load(draft, answers=answers)
    np.testing.assert_array_equal(assembled(path, instrument)[0], light)
    exposure = scan_raw(path, instrument).exposure
    assert (exposure.exposure, exposure.day_obs) == (2024030100000007, 20240301)
    assert (exposure.observation_type, exposure.exposure_time) == ("dark", 2.5)


def test_an_unfinished_file_is_refused_with_every_question_and_its_line(write, tmp_path):
    draft = draft_instrument([write([(chip(40, 60), {})], {})])
    path = tmp_path / "unfinished.yaml"
    path.write_text(draft.text)
    with pytest.raises(InstrumentError) as caught:
        load_instrument(path)
    text = str(caught.value)
    assert f"{path}: {len(draft.asked)} values are still to be filled in" in text
    lines = draft.text.split("\n")
    for one in draft.asked:
        assert f"line {one.line}, {one.key}: {one.question}" in text
        assert "TODO" in lines[one.line - 1]
    assert "hint:" in text
    assert caught.value.exit_code == 2


def test_a_name_can_be_given(write):
    draft = draft_instrument([write([(chip(40, 60), {})], {})], "MINE")
    assert "name" not in asked_for(draft.text)
    assert yaml.safe_load(draft.text)["name"] == "MINE"


# -- what keywords mean ----------------------------------------------------------------------

LIGHT = {"DATASEC": "[1:40,1:30]"}


def drafted(write, *headers, names=None):
    """Draft from small files with these cards."""
    paths = [
        write(
            [
                (
                    chip(30, 40),
                    {k: v for k, v in {**USUAL, **LIGHT, **cards}.items() if v is not None},
                )
            ],
            {},
            name=names[i] if names else f"raw_{i + 1:04d}.fits",
        )
        for i, cards in enumerate(headers)
    ]
    return paths, draft_instrument(paths)


@pytest.mark.parametrize(
    ("cards", "begin"),
    [
        ({"DATE-OBS": "2024-03-01", "UT": "02:03:04"}, "2024-03-01T02:03:04"),
        ({"DATE-OBS": "2024-03-01", "TIME-OBS": "2:03:04.25"}, "2024-03-01T02:03:04.25"),
        ({"DATE-OBS": "01/03/98", "UT": "02:03:04"}, "1998-03-01T02:03:04"),
        ({"DATE-OBS": "2024/03/01", "UTC": "02:03:04"}, "2024-03-01T02:03:04"),
        ({"DATE-OBS": "2024-03-01", "MJD-OBS": 60370.5}, "2024-03-01T12:00:00"),
        # A day alone, though it comes first, is not the time of an exposure.
        ({"DATE-OBS": "2024-03-01", "MJD-OBS": 60370.0, "JD": 2460371.25}, "2024-03-01T18:00:00"),
        ({"DATE-OBS": None, "T_START": "2024-03-01T02:03:04Z"}, "2024-03-01T02:03:04"),
        ({"DATE-OBS": None, "DATE": "2024-03-01T02:03:04"}, "2024-03-01T02:03:04"),
        (
            {"DATE-OBS": None, "DATE": "2025-01-01T00:00:01", "SHUTOPEN": "2024-03-01 02:03:04"},
            "2024-03-01T02:03:04",
        ),
        ({"DATE-BEG": "2024-03-01T02:03:04", "TIMESYS": "TAI"}, "2024-03-01T02:02:27"),
    ],
)
def test_the_begin_of_an_exposure_in_many_styles(write, load, cards, begin):
    (path,), draft = drafted(write, cards)
    assert draft.asked == []
    span = scan_raw(path, load(draft)).exposure.timespan
    assert isoformat(span.begin, "utc") == isoformat(from_iso(begin, "utc"), "utc")


@pytest.mark.parametrize(
    ("cards", "kind"),
    [
        ({"IMAGETYP": "Light Frame"}, "science"),
        ({"IMAGETYP": "zero"}, "bias"),
        ({"IMAGETYP": "FLAT FIELD"}, "flat"),
        ({"IMAGETYP": None, "OBSTYPE": "DFLAT"}, "flat"),
        ({"IMAGETYP": None, "FRAME": "Dark"}, "dark"),
        ({"IMAGETYP": None, "OBJECT": "bias"}, "bias"),
        ({"IMAGETYP": "arc"}, "arc"),
    ],
)
def test_the_type_of_an_exposure_in_many_words(write, load, cards, kind):
    (path,), draft = drafted(write, cards)
    assert draft.asked == []
    assert scan_raw(path, load(draft)).exposure.observation_type == kind


def test_a_word_that_is_not_known_is_asked_for(write, load):
    (path, _), draft = drafted(
        write,
        {"IMAGETYP": "Lampe an", "DATE-OBS": "2024-03-01T02:00:00"},
        {"IMAGETYP": "dark", "DATE-OBS": "2024-03-01T02:01:00"},
    )
    (key,) = asked_for(draft.text)
    assert key == "headers.fields.observation_type.0.map.lampe an"
    instrument = load(draft, answers={key: "flat"})
    assert scan_raw(path, instrument).exposure.observation_type == "flat"


def test_types_from_the_names_of_files_where_no_keyword_has_them(write, load):
    paths, draft = drafted(
        write,
        {"IMAGETYP": None, "DATE-OBS": "2024-03-01T02:00:00"},
        {"IMAGETYP": None, "DATE-OBS": "2024-03-01T02:01:00"},
        names=["Flat_R_001.fits", "zero001.fits"],
    )
    assert draft.asked == []
    instrument = load(draft)
    types = [scan_raw(path, instrument).exposure.observation_type for path in paths]
    assert types == ["flat", "bias"]


@pytest.mark.parametrize(
    ("cards", "seconds"),
    [
        ({"EXPTIME": 2.5}, 2.5),
        ({"EXPTIME": None, "EXPOSURE": 2.5}, 2.5),
        ({"EXPTIME": None, "T_EXP": (2500, "Exposure (ms)")}, 2.5),
        ({"EXPTIME": (2500.0, "[ms] exposure time")}, 2.5),
        ({"EXPTIME": None, "SHUTTER": (2.5, "integration time [s]")}, 2.5),
    ],
)
def test_the_exposure_time_and_its_unit(write, load, cards, seconds):
    (path,), draft = drafted(write, cards)
    assert draft.asked == []
    assert scan_raw(path, load(draft)).exposure.exposure_time == pytest.approx(seconds)


def test_an_exposure_time_that_cannot_be_is_refused_with_its_file(write, load):
    (path, _), draft = drafted(
        write,
        {"EXPTIME": 1e20, "DATE-OBS": "2024-03-01T02:00:00"},
        {"EXPTIME": 1.0, "DATE-OBS": "2024-03-01T02:01:00"},
    )
    with pytest.raises(RawError, match=r"exposure time of 1e\+20 s cannot be") as caught:
        scan_raw(path, load(draft))
    assert caught.value.file == str(path)


def test_a_time_in_ticks_is_asked_for(write):
    _, draft = drafted(write, {"EXPTIME": None, "T_EXP": (99, "Exposure (ticks)")})
    assert asked_for(draft.text) == ["headers.fields.exposure_time"]
    assert "T_EXP" in draft.text


@pytest.mark.parametrize(
    ("cards", "gain"),
    [
        ({"GAIN": (1.7, "e-/ADU")}, 1.7),
        ({"GAIN": (0.5, "ADU/e-")}, 2.0),
        # The setting of the amplifier, and what it comes to.
        ({"GAIN": 139, "EGAIN": 0.3}, 0.3),
        ({"GAIN": (139, "gain setting")}, None),
    ],
)
def test_the_gain_is_in_electrons_or_asked_for(write, load, cards, gain):
    (path,), draft = drafted(write, cards)
    if gain is None:
        assert asked_for(draft.text) == ["types.CCD.amplifier.gain"]
        assert "GAIN is 139" in draft.text
        return
    assert draft.asked == []
    instrument = load(draft)
    scan_raw(path, instrument)
    assert instrument.camera.detectors[0].amplifiers[0].gain == pytest.approx(gain)


def test_a_gain_that_is_not_in_a_header_with_sections_is_a_number_there(write, load):
    pixels = np.hstack([chip(20, 30), strip(20, 5)])
    cards = {**USUAL, "BIASSEC": "[31:35,1:20]", "TRIMSEC": "[1:30,1:20]"}
    cards.pop("GAIN")
    path = write([(pixels, cards)], {})
    draft = draft_instrument([path])
    assert asked_for(draft.text) == ["header_geometry.gain"]
    for answer, gain in (("1.25", 1.25), ("null", 1.0)):
        instrument = load(draft, answers={"header_geometry.gain": answer})
        (amplifier,) = scan_raw(path, instrument).detectors[0]
        assert amplifier.gain == gain


def test_a_filter_that_darks_lack(write, load):
    paths, draft = drafted(
        write,
        {"IMAGETYP": "dark", "DATE-OBS": "2024-03-01T02:00:00"},
        {"IMAGETYP": "light", "FILTER": "R", "DATE-OBS": "2024-03-01T02:01:00"},
    )
    instrument = load(draft)
    filters = [scan_raw(path, instrument).exposure.physical_filter for path in paths]
    assert filters == ["none", "R"]


def test_two_filter_wheels_are_joined(write, load):
    (path,), draft = drafted(write, {"FILTER1": "R", "FILTER2": "ND"})
    assert scan_raw(path, load(draft)).exposure.physical_filter == "R~ND"


def test_a_file_of_another_camera_is_refused(write, load):
    (path,), draft = drafted(write, {"INSTRUME": "CCD (1+1) v2.0"})
    instrument = load(draft)
    assert scan_raw(path, instrument).exposure.instrument == draft.name
    (other,), _ = drafted(write, {"INSTRUME": "CCD (1+1) v2x0"})
    with pytest.raises(RawError, match="not a file of"):
        scan_raw(other, instrument)


# -- what tells exposures apart --------------------------------------------------------------


def ids(paths, instrument):
    return [scan_raw(path, instrument).exposure.exposure for path in paths]


def test_where_time_does_not_tell_exposures_apart_numbers_do(write, load):
    headers = [
        {"IMAGETYP": kind, "DATE-OBS": "2024-03-01", "RUNNO": 3, "SEQNUM": number}
        for kind in ("dark", "flat")
        for number in (1, 2, 3)
    ]
    names = [f"{h['IMAGETYP']}{h['SEQNUM']}.fits" for h in headers]
    paths, draft = drafted(write, *headers, names=names)
    assert draft.asked == []
    found = ids(paths, load(draft))
    assert len(set(found)) == 6
    assert all(str(one).startswith("20240301") for one in found)


def test_numbers_in_the_names_of_files_tell_apart_too(write, load):
    headers = [{"DATE-OBS": "2024-03-01"}] * 3
    paths, draft = drafted(write, *headers, names=["a1.fits", "a2.fits", "a10.fits"])
    instrument = load(draft)
    assert len(set(ids(paths, instrument))) == 3
    # Only biases were seen; a dark with the same number is another exposure.
    (dark,), _ = drafted(write, {"DATE-OBS": "2024-03-01", "IMAGETYP": "dark"}, names=["d1.fits"])
    assert ids([dark], instrument)[0] not in ids(paths, instrument)


def test_a_copy_of_a_file_is_named_and_changes_nothing(write, load):
    headers = [{"DATE-OBS": f"2024-03-01T02:0{i}:00"} for i in (1, 2, 3, 4, 5, 5)]
    paths, draft = drafted(write, *headers, names=[f"{name}.fits" for name in "abcdef"])
    assert draft.asked == []
    assert "f.fits has the time of e.fits: only one of them will go in." in draft.text
    assert ids(paths[:1], load(draft)) == [20240301020100000]


def test_files_that_nothing_tells_apart_are_asked_about(write):
    _, draft = drafted(write, *[{"DATE-OBS": "2024-03-01"}] * 2, names=["x.fits", "y.fits"])
    assert asked_for(draft.text) == ["headers.fields.seq_num"]


@pytest.mark.parametrize("shared", [True, False])
def test_files_of_several_detectors(write, load, shared):
    headers = [
        {"CCDNAME": name, "DATE-OBS": f"2024-03-01T02:0{minute}:00", "EXPTIME": seconds}
        for minute in (1, 2)
        for name, seconds in (("north", 2.0), ("south", 2.0 if shared else 2.001))
    ]
    paths, draft = drafted(write, *headers)
    assert draft.asked == []
    instrument = load(draft)
    assert [(d.id, d.name) for d in instrument.camera] == [(0, "north"), (1, "south")]
    scanned = [scan_raw(path, instrument) for path in paths]
    assert [s.raws[0].detector for s in scanned] == [0, 1, 0, 1]
    exposures = [s.exposure for s in scanned]
    assert len({e.exposure for e in exposures}) == (2 if shared else 4)
    if shared:
        # All that is said of an exposure is the same in its files, its name too.
        assert exposures[0].obs_id == exposures[1].obs_id


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        ((2, 1, 12), (2, 1, 12)),
        ((1.0, 2.0), (1, 2)),
        (("ccd10", "ccd9"), (10, 9)),
        (("blue", "red"), (0, 1)),
        (("7", "north", "0"), (7, 1, 0)),
        (("a1", "b1"), (0, 1)),
    ],
)
def test_detectors_have_the_numbers_that_they_are_called_by(write, load, names, ids):
    headers = [
        {"CCD_ID": name, "DATE-OBS": f"2024-03-01T02:{index:02d}:00"}
        for index, name in enumerate(names)
    ]
    paths, draft = drafted(write, *headers)
    instrument = load(draft)
    assert tuple(scan_raw(path, instrument).raws[0].detector for path in paths) == ids


def test_a_night_east_of_greenwich_is_one_day(write, load):
    headers = [
        {"DATE-OBS": f"2024-03-{day:02d}T{hour:02d}:30:00"}
        for day in (1, 2)
        for hour in range(9, 20)
    ]
    paths, draft = drafted(write, *headers)
    instrument = load(draft)
    days = [scan_raw(path, instrument).exposure.day_obs for path in paths]
    assert days == [20240301] * 11 + [20240302] * 11


# -- files that are left out -----------------------------------------------------------------


def test_files_that_are_not_like_the_others_are_left_out(write, tmp_path):
    paths, _ = drafted(write, {}, {"DATE-OBS": "2024-03-01T05:00:00"})
    small = write([(chip(10, 12), USUAL)], {}, name="small.fits")
    master = write([(chip(30, 40).astype("f4"), {**USUAL, **LIGHT})], {}, name="master.fits")
    text = tmp_path / "notes.fits"
    text.write_text("not FITS")
    table = tmp_path / "table.fits"
    fits.HDUList([fits.PrimaryHDU()]).writeto(table)
    draft = draft_instrument([*paths, small, master, text, table])
    assert [path for path, _ in draft.left_out] == [*map(str, (text, table, small, master))]
    reasons = [reason for _, reason in draft.left_out]
    assert "not a FITS file" in reasons[0]
    assert "no image of two axes" in reasons[1]
    assert "12 x 10, most files have 40 x 30" in reasons[2]
    assert "32-bit floating point, most files have 16-bit unsigned" in reasons[3]
    with pytest.raises(NoDataError, match="not a FITS file"):
        draft_instrument([text])


# -- pixels ----------------------------------------------------------------------------------


def test_pixels_show_steps_between_outputs_and_strips_without_light(write):
    image = rng.normal(1000, 5, (200, 300)) + np.linspace(0, 30, 300)
    image[:, 150:] += 60
    image[100:] -= 40
    image[20, 30] = 60000
    evidence = pixel_evidence(look_at(write([(image.astype(np.uint16), USUAL)])))
    assert evidence.corners == ("LL", "LR", "UL", "UR")
    assert evidence.step_x == pytest.approx(60, abs=10)
    assert evidence.counts == {}
    lit = rng.normal(3000, 20, (200, 300))
    lit[:, :16] = rng.normal(500, 5, (200, 16))
    lit[:, -8:] = rng.normal(500, 5, (200, 8))
    lit[-10:] = rng.normal(500, 5, (10, 300))
    evidence = pixel_evidence(look_at(write([(lit.astype(np.uint16), USUAL)])))
    assert evidence.corners == ("LL",)
    assert evidence.counts == {"prescan_columns": 16, "overscan_columns": 8, "overscan_rows": 10}


def test_noise_and_a_gradient_show_nothing(write):
    y, x = np.mgrid[0:200, 0:300]
    image = rng.poisson(2000 - 0.01 * ((y - 90) ** 2 + (x - 140) ** 2))
    evidence = pixel_evidence(look_at(write([(image.astype(np.uint16), USUAL)])))
    assert (evidence.corners, evidence.counts) == (("LL",), {})
    assert "no step" in evidence.words()
