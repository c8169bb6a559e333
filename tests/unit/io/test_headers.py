from __future__ import annotations

import re
from datetime import datetime

import pytest
from astropy.time import Time

from cpflow.errors import RawError
from cpflow.exposure import Exposure
from cpflow.io.headers import detector_of, merge_headers, translate
from cpflow.io.instrument import Instrument, load_instrument
from cpflow.timespan import Timespan

# LATISS headers of four eras, as the reference describes them (1.2).
MODERN = {
    "TIMESYS": "TAI",
    "DATE-BEG": "2021-01-21T03:04:05.250",
    "DATE-END": "2021-01-21T03:04:05.300",
    "MJD-BEG": 59235.12783854167,
    "OBSID": "AT_O_20210120_000019",
    "DAYOBS": "20210120",
    "SEQNUM": 19,
    "CONTRLLR": "O",
    "OBSTYPE": "BIAS",
    "IMGTYPE": "BIAS",
    "REASON": "daily",
    "PROGRAM": "CALIB",
    "GROUPID": "2021-01-21T03:04:00.000",
    "OBJECT": "Park position",
    "INSTRUME": "LATISS",
    "EXPTIME": 0.0,
    "DARKTIME": 0.05,
    "FILTER": "RG610",
    "GRATING": "empty_1",
    "RA": None,
    "DEC": None,
}
Y2018 = {
    "DATE-OBS": "2018-09-20T17:39:14.000",
    "MJD-OBS": 58381.73557870370,
    "OBSID": "AT_O_20180920_000065",
    "IMGTYPE": "UNDEFINED",
    "GROUPID": "FLAT",
    "TESTTYPE": "FE55",
    "OBJECT": "UNDEFINED",
    "INSTRUME": "LATISS",
    "EXPTIME": 27.0,
    "DARKTIME": 27.0,
}
Y2019 = {
    "TIMESYS": "TAI",
    "DATE-BEG": "2019-12-12T22:01:30.000",
    "DATE-END": "2019-12-12T22:00:00.000",
    "MJD-BEG": 58829.91770833333,
    "OBSID": "AT_O_20191212_000012",
    "DAYOBS": "20191212",
    "SEQNUM": 12,
    "CONTRLLR": "O",
    "IMGTYPE": "OBJECT",
    "INSTRUME": "LATISS",
    "EXPTIME": 2.0,
    "DARKTIME": 2.2,
    "FILTER": "",
    "GRATING": "ronchi90lpmm",
}
Y2024 = {
    **MODERN,
    "DATE-BEG": "2024-03-05T02:00:00.000",
    "DATE-END": "2024-03-05T02:00:30.000",
    "MJD-BEG": 60374.083333333336,
    "OBSID": "AT_O_20240304_000222",
    "DAYOBS": "20240304",
    "SEQNUM": 222,
    "OBSTYPE": "SKYEXP",
    "IMGTYPE": "OBJECT",
    "OBJECT": "spec:HD1",
    "EXPTIME": 30.0,
    "DARKTIME": 30.3,
    "FILTER": "empty",
    "GRATING": "empty",
    "RA": 123.4,
    "DEC": -45.6,
    "AZSTART": 10.0,
    "ELSTART": 70.0,
}


@pytest.fixture(scope="module")
def latiss() -> Instrument:
    return load_instrument("latiss")


@pytest.fixture
def read(latiss):
    def exposure(header, path="/data/AT_O_20210120_000019-R00S00.fits", **changes) -> Exposure:
        changed = {key.replace("_", "-"): value for key, value in changes.items()}
        cards = {**header, **changed}
        kept = {key: value for key, value in cards.items() if value is not ...}
        return translate([kept], latiss.rules, path, "LATISS")

    return exposure


def tai(text: str) -> int:
    """TAI nanoseconds by astropy."""
    elapsed = Time(text, scale="tai") - Time("1970-01-01T00:00:00", scale="tai")
    return round(elapsed.to_value("us")) * 1000


def test_a_bias_of_2021(read):
    got = read(MODERN)
    assert got == Exposure(
        instrument="LATISS",
        exposure=2021012000019,
        obs_id="AT_O_20210120_000019",
        day_obs=20210120,
        seq_num=19,
        timespan=Timespan(tai("2021-01-21T03:04:05.250"), tai("2021-01-21T03:04:05.300")),
        observation_type="bias",
        physical_filter="RG610~empty",
        band="r",
        exposure_time=0.0,
        dark_time=0.05,
        observation_reason="daily",
        target_name="Park position",
        science_program="CALIB",
        group="2021-01-21T03:04:00.000",
        can_see_sky=False,
        extra={
            "SEQNAME": None,
            "SEQFILE": None,
            "SEQCKSUM": None,
            "ODP": None,
            "AP0_RC": None,
            "TEMP_SET": None,
            "CONTRLLR": "O",
        },
    )


def test_a_flat_of_2018_has_its_ids_in_the_obsid_and_its_type_in_the_group(read, warnings_of):
    got = read(Y2018)
    assert (got.exposure, got.day_obs, got.seq_num) == (2018092000065, 20180920, 65)
    assert got.observation_type == "flat"
    assert got.observation_reason == "fe55"
    assert got.physical_filter == "unknown~unknown"
    assert got.timespan.begin == tai("2018-09-20T17:39:14")
    # No DATE-END: begin plus exposure time.
    assert got.timespan.end - got.timespan.begin == 27_000_000_000
    assert not warnings_of()


def test_an_engineering_test_of_2019_and_its_distrusted_end(read, warnings_of):
    got = read(Y2019)
    assert got.observation_type == "engtest"
    assert got.physical_filter == "empty~ronchi90lpmm"
    assert got.timespan.end - got.timespan.begin == 2_000_000_000
    assert not warnings_of()


def test_a_sky_exposure_of_2024(read):
    got = read(Y2024)
    assert (got.exposure, got.observation_type) == (2024030400222, "science")
    assert got.target_name == "spec:HD1"
    assert (got.physical_filter, got.band) == ("empty~empty", "white")
    assert (got.tracking_ra, got.tracking_dec) == (123.4, -45.6)
    assert (got.azimuth, got.zenith_angle) == (10.0, 20.0)
    assert got.can_see_sky is True
    assert got.timespan == Timespan(tai("2024-03-05T02:00:00"), tai("2024-03-05T02:00:30"))


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"OBSTYPE": "SKYEXP"}, "observation_type", "science"),
        ({"OBSTYPE": "OBJECT"}, "observation_type", "science"),
        ({"OBSTYPE": "Flat"}, "observation_type", "flat"),
        ({"OBSTYPE": ..., "IMGTYPE": "DARK"}, "observation_type", "dark"),
        ({"OBSTYPE": " ", "IMGTYPE": "DARK"}, "observation_type", "dark"),
        ({"OBSTYPE": ..., "IMGTYPE": "OBJECT"}, "observation_type", "science"),
        ({"OBSTYPE": ..., "IMGTYPE": ...}, "observation_type", "bias"),
        ({"OBSTYPE": ..., "IMGTYPE": ..., "EXPTIME": 1.0}, "observation_type", "unknown"),
        ({"OBJECT": "spec:HD1"}, "target_name", "HD1"),
        ({"OBJECT": "  "}, "target_name", None),
        ({"REASON": ..., "TESTTYPE": "LAMBDA"}, "observation_reason", "lambda"),
        ({"FILTER": "empty_3", "GRATING": "  "}, "physical_filter", "empty~empty"),
        ({"FILTER": "empty3"}, "physical_filter", "empty3~empty"),
        ({"FILTER": None}, "physical_filter", "empty~empty"),
        ({"FILTER": ...}, "physical_filter", "unknown~empty"),
        ({"DAYOBS": ..., "OBSID": ...}, "day_obs", 20210120),
        ({"DAYOBS": ..., "OBSID": ..., "OBS-NITE": "2021-01-19"}, "day_obs", 20210119),
        ({"DAYOBS": ..., "OBSID": "AT_O_20210118_000019"}, "day_obs", 20210118),
        ({"SEQNUM": ...}, "seq_num", 19),
        ({"OBSID": ...}, "obs_id", "AT_O_20210120_000019-R00S00"),
        ({"SEQNUM": 99999}, "exposure", 2021012099999),
        ({"CONTRLLR": "C"}, "exposure", 3021012000019),
        ({"CONTRLLR": "H"}, "exposure", 4021012000019),
        ({"CONTRLLR": "P"}, "exposure", 5021012000019),
        ({"CONTRLLR": "Q"}, "exposure", 6021012000019),
        ({"CONTRLLR": "S"}, "exposure", 7021012000019),
        ({"CONTRLLR": "C", "DAYOBS": "20231004"}, "exposure", 3023100400019),
        ({"CONTRLLR": "C", "DAYOBS": "20231005"}, "exposure", 2023100500019),
        ({"CONTRLLR": "S", "DAYOBS": "20250417"}, "exposure", 7025041700019),
        ({"CONTRLLR": "S", "DAYOBS": "20250418"}, "exposure", 2025041800019),
        ({"CONTRLLR": "H", "DAYOBS": "20250418"}, "exposure", 4025041800019),
        ({"CONTRLLR": ...}, "exposure", 2021012000019),
        ({"SIMULATE": True}, "has_simulated", True),
        ({"EXPTIME": ...}, "exposure_time", None),
        ({"EXPTIME": ..., "DARKTIME": ...}, "dark_time", None),
        ({"EXPTIME": "0.0"}, "exposure_time", 0.0),
        ({"SHUTTIME": 7.0}, "exposure_time", 0.0),
    ],
)
def test_rules_of_latiss(changes, field, value, latiss):
    header = {k: v for k, v in {**MODERN, **changes}.items() if v is not ...}
    path = "/data/AT_O_20210120_000019-R00S00.fits.fz"
    got = translate([header], latiss.rules, path, "LATISS")
    assert getattr(got, field) == value


@pytest.mark.parametrize(
    ("keys", "begin"),
    [
        (("MJD-BEG", "DATE-BEG", "MJD-OBS", "DATE-OBS"), "2021-01-21T03:04:05.250"),
        (("DATE-BEG", "MJD-OBS", "DATE-OBS"), "2021-02-01T00:00:00"),
        (("MJD-OBS", "DATE-OBS"), "2021-03-01T12:00:00"),
        (("DATE-OBS",), "2021-04-01T00:00:01"),
    ],
)
def test_begin_is_the_first_defined_of_four(keys, begin, latiss):
    header = {k: v for k, v in MODERN.items() if k not in ("MJD-BEG", "DATE-BEG", "DATE-END")}
    given = {
        "MJD-BEG": 59235.12783854167,
        "DATE-BEG": "2021-02-01T00:00:00.000",
        "MJD-OBS": 59274.5,
        "DATE-OBS": "2021-04-01T00:00:01",
    }
    header |= {key: given[key] for key in keys}
    got = translate([header], latiss.rules, "x.fits", "LATISS")
    assert got.timespan == Timespan.at(tai(begin))


def test_the_time_scale_of_the_header_counts(read):
    utc = read(MODERN, TIMESYS="UTC", MJD_BEG=...)
    assert utc.timespan.begin == tai("2021-01-21T03:04:05.250") + 37_000_000_000
    assert read(MODERN, TIMESYS="UT", MJD_BEG=...).timespan == utc.timespan
    assert read(MODERN, TIMESYS=..., MJD_BEG=...).timespan.begin == tai("2021-01-21T03:04:05.250")
    with pytest.raises(RawError, match="'local'"):
        read(MODERN, TIMESYS="LOCAL")


def test_an_instantaneous_exposure_is_a_nanosecond_long(read):
    got = read(MODERN, DATE_END=...)
    assert got.timespan == Timespan.at(tai("2021-01-21T03:04:05.250"))


def test_an_end_before_the_begin_is_mended_with_a_warning(read, warnings_of):
    got = read(MODERN, DATE_END="2021-01-21T03:00:00")
    assert got.timespan == Timespan.at(tai("2021-01-21T03:04:05.250"))
    assert len(warnings_of()) == 1
    assert "ends" in warnings_of()[0]
    assert "AT_O_20210120_000019-R00S00.fits" in warnings_of()[0]


@pytest.mark.parametrize("dark", [..., 1.0])
def test_a_dark_time_that_is_missing_or_too_short_is_the_exposure_time(dark, read, warnings_of):
    got = read(MODERN, EXPTIME=3.0, DARKTIME=dark)
    assert got.dark_time == 3.0
    assert len(warnings_of()) == 1
    assert "dark time" in warnings_of()[0]


def test_a_sound_dark_time_is_kept_quietly(read, warnings_of):
    assert read(MODERN, EXPTIME=3.0, DARKTIME=3.25).dark_time == 3.25
    assert not warnings_of()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EXPTIME": "NaN"}, "EXPTIME: nan is not a finite number"),
        ({"EXPTIME": "inf"}, "EXPTIME: inf is not a finite"),
        ({"EXPTIME": "long"}, "EXPTIME: 'long' is not a number"),
        ({"EXPTIME": ""}, "EXPTIME is blank"),
        ({"EXPTIME": None}, "EXPTIME is blank"),
        ({"EXPTIME": True}, "EXPTIME: True is not a number"),
        ({"EXPTIME": -1.0}, "EXPTIME is -1.0, a negative time"),
        ({"DARKTIME": "nan"}, "DARKTIME: nan"),
        ({"DARKTIME": " "}, "DARKTIME is blank"),
        ({"SEQNUM": "nineteen"}, "SEQNUM: 'nineteen' is not a number"),
        ({"SEQNUM": 19.5}, "19.5 is not a whole number"),
        ({"SEQNUM": "", "OBSID": ...}, "SEQNUM is blank"),
        ({"SEQNUM": ..., "OBSID": ...}, "SEQNUM or OBSID"),
        ({"SEQNUM": 100000}, "no exposure from .*seq_num 100000"),
        ({"SEQNUM": -1}, "SEQNUM gives -1, out of range"),
        ({"DAYOBS": "20211399"}, "20211399, not a day"),
        ({"DAYOBS": "today"}, "today"),
        ({"MJD-BEG": "soon"}, "MJD-BEG: .*'soon'"),
        ({"MJD-BEG": 1e300}, "MJD-BEG"),
        ({"MJD-BEG": ..., "DATE-BEG": "21/01/21"}, "DATE-BEG: '21/01/21' is not a date"),
        ({"MJD-BEG": ..., "DATE-BEG": ...}, "no begin time .*MJD-BEG or DATE-BEG or MJD-OBS"),
        ({"MJD-BEG": ..., "DATE-BEG": " "}, "DATE-BEG is blank"),
        ({"DATE-END": "never"}, "DATE-END: 'never' is not a date"),
        ({"INSTRUME": "LSSTCam"}, "INSTRUME is 'LSSTCam': this is not a file of LATISS"),
        ({"SIMULATE": "perhaps"}, "'perhaps' is neither true nor false"),
    ],
)
def test_a_faulty_header_is_refused_with_file_keyword_and_remedy(changes, message, latiss):
    header = {k: v for k, v in {**MODERN, **changes}.items() if v is not ...}
    with pytest.raises(RawError, match=message) as caught:
        translate([header], latiss.rules, "/data/broken.fits", "LATISS")
    assert caught.value.file == "/data/broken.fits"
    assert caught.value.hint


def test_the_exposure_is_named_once_it_is_known(read):
    with pytest.raises(RawError) as caught:
        read(MODERN, EXPTIME="NaN")
    assert caught.value.exposure == 2021012000019


def test_a_bad_pointing_is_left_out_with_a_warning(read, warnings_of):
    got = read(MODERN, RA="NaN", DEC=12.0)
    assert (got.tracking_ra, got.tracking_dec) == (None, 12.0)
    assert "tracking_ra" in warnings_of()[0]


def test_headers_are_merged_later_wins():
    headers = [
        {"A": 1, "B": 1, "NAXIS": 0},
        {"A": 2, "NAXIS": 2, "C": 3},
        {"EXTNAME": "reb_cond", "B": 9},
    ]
    assert merge_headers(headers, ["primary"])["A"] == 1
    assert merge_headers(headers, ["primary", "image"])["A"] == 2
    merged = merge_headers(headers, ["primary", "REB_COND", "ABSENT"])
    assert (merged["A"], merged["B"]) == (1, 9)
    assert "C" not in merged


def test_reb_cond_wins_over_the_primary_header(latiss):
    headers = [MODERN, {"EXTNAME": "Segment10"}, {"EXTNAME": "REB_COND", "TEMP_SET": -120.5}]
    got = translate(headers, latiss.rules, "x.fits", "LATISS")
    assert got.extra["TEMP_SET"] == -120.5


def test_exposure_ids_of_the_page_come_back(read):
    """Ids of biases on the page, from the headers that such exposures have."""
    for wanted in (2021012000020, 2021012700842, 2021060900049):
        day, seq = divmod(wanted, 100_000)
        assert read(MODERN, DAYOBS=str(day), SEQNUM=seq).exposure == wanted


def test_ids_of_the_emva_set_are_unique_and_named_after_what_was_measured(real_data):
    instrument = load_instrument("emva_ccd12")
    ids = set()
    from astropy.io import fits

    for path in sorted((real_data / "emva1288_ccd12").glob("*.fz")):
        header = dict(fits.getheader(path, 1))
        got = translate([header], instrument.rules, path, instrument.name)
        ids.add(got.exposure)
        kind, level, repeat = re.match(r"(flat|dark)_(\w+)_(\d+)", path.name).groups()
        number = 50 if level == "stack" else int(level)
        expected = "bias" if (kind, number) == ("dark", 0) else kind
        assert got.observation_type == expected
        assert (got.extra["level"], got.extra["repeat"]) == (number, int(repeat))
        assert got.obs_id == f"{kind}_{level}_{repeat}"
        assert got.dark_time == got.exposure_time > 0
    assert len(ids) == 120


def test_nights_and_numbers_of_the_sbig_frames(real_data):
    instrument = load_instrument("sbig_st10")
    from astropy.io import fits

    seen = {}
    for path in sorted((real_data / "sbig_st10_tres1").glob("*.fz")):
        header = dict(fits.getheader(path, 1))
        got = translate([header], instrument.rules, path, instrument.name)
        begin = datetime.fromisoformat(header["DATE-OBS"])
        assert got.exposure == int(begin.strftime("%Y%m%d%H%M%S") + "000")
        assert got.day_obs == 20120616
        assert got.seq_num == int(re.search(r"-(\d+)", path.name)[1])
        seen[got.observation_type] = seen.get(got.observation_type, 0) + 1
        assert got.physical_filter == ("none" if got.observation_type == "dark" else "Filter 2")
        utc = Time(header["DATE-OBS"], scale="utc").tai
        assert got.timespan.begin == tai(utc.isot)
    assert seen == {"dark": 10, "science": 6}


def test_cameras_without_standard_keywords(real_data):
    instrument = load_instrument("msfc_ccd")
    from astropy.io import fits

    for number in (1, 3):
        path = real_data / "msfc_ccd_darks" / f"ESIS{number}_00099.fits.fz"
        headers = [dict(fits.getheader(path, 1))]
        assert detector_of(headers, instrument.rules, path) == f"ESIS{number}"
        got = translate(headers, instrument.rules, path, instrument.name)
        assert got.exposure == int(f"20190930180431646{number}")
        assert got.exposure_time == pytest.approx(10.0, abs=1e-4)
        assert got.seq_num == 99


def test_the_saao_frame_joins_date_and_time(real_data):
    instrument = load_instrument("saao_ste3")
    from astropy.io import fits

    path = real_data / "saao_ste3" / "a8280271.fits.fz"
    got = translate([dict(fits.getheader(path, 1))], instrument.rules, path, instrument.name)
    assert got.timespan.begin == tai(Time("2013-07-13T00:57:33", scale="utc").tai.isot)
    assert (got.observation_type, got.target_name) == ("science", "rf0420")
    assert (got.day_obs, got.seq_num) == (20130712, 271)
    assert got.tracking_ra == 331.0334


def test_a_detector_that_the_header_does_not_name_is_missing():
    instrument = load_instrument("msfc_ccd")
    with pytest.raises(RawError, match=r"no detector .*CAM_ID"):
        detector_of([{"NAXIS": 2}], instrument.rules, "x.fits")
    lsstcam = load_instrument("lsstcam")
    assert detector_of([{"RAFTBAY": "R22", "CCDSLOT": "S11"}], lsstcam.rules, "x") == "R22_S11"


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"IMAGETYP": "Bias Frame"}, "bias"),
        ({"IMAGETYP": "zero"}, "bias"),
        ({"IMAGETYP": "Dark Frame"}, "dark"),
        ({"IMAGETYP": "Flat Field"}, "flat"),
        ({"IMAGETYP": "Light Frame"}, "science"),
        ({"IMAGETYP": "object"}, "science"),
        ({"OBSTYPE": "ZERO"}, "bias"),
        ({"EXPTIME": 0}, "bias"),
        ({}, "unknown"),
    ],
)
def test_the_generic_instrument_knows_the_usual_words(cards, expected):
    rules = load_instrument("generic").rules
    header = {"DATE-OBS": "2020-01-01T10:00:00.125", **cards}
    got = translate([header], rules, "/d/frame-0042b.fits.fz", "generic")
    assert got.observation_type == expected
    assert got.exposure == 20200101100000125
    assert (got.seq_num, got.day_obs, got.obs_id) == (42, 20200101, "frame-0042b")


@pytest.mark.parametrize(
    ("cards", "begin"),
    [
        ({"DATE-OBS": "2020-01-01", "TIME-OBS": "10:00:00"}, "2020-01-01T10:00:00"),
        ({"DATE-OBS": "2020-01-01", "UT": "10:00:00.5"}, "2020-01-01T10:00:00.5"),
        ({"DATE-OBS": "2020-01-01", "MJD-OBS": 58849.25}, "2020-01-01T06:00:00"),
        ({"DATE-OBS": "2020-01-01"}, "2020-01-01T00:00:00"),
        ({"JD": 2458849.75}, "2020-01-01T06:00:00"),
    ],
)
def test_the_generic_instrument_finds_old_styles_of_time(cards, begin):
    rules = load_instrument("generic").rules
    got = translate([cards], rules, "a.fits", "generic")
    assert got.timespan.begin == tai(Time(begin, scale="utc").tai.isot)
