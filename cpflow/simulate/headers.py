"""Headers and names of simulated raw files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpflow.camera import Amplifier, Box, Detector
from cpflow.simulate.fits_writer import Card
from cpflow.simulate.rules import Value, identity, invert_field, invert_time, keywords_of
from cpflow.simulate.sequence import Observation
from cpflow.timespan import isoformat

if TYPE_CHECKING:
    from cpflow.io.instrument import Instrument

_COMMENTS = {
    "TIMESYS": "time scale of the dates",
    "DATE-OBS": "begin of the exposure",
    "DATE-BEG": "begin of the exposure",
    "DATE-END": "end of the exposure",
    "MJD-OBS": "[d] begin of the exposure",
    "MJD-BEG": "[d] begin of the exposure",
    "MJD-END": "[d] end of the exposure",
    "EXPTIME": "[s] shutter open",
    "DARKTIME": "[s] from clear to readout",
    "OBSID": "observation",
    "INSTRUME": "instrument",
    "SIMULATE": "the truth is beside this file",
}


# Camera codes of the Rubin observatory, the beginning of its observation ids.
_CODES = {"LATISS": "AT", "LSSTCOMCAM": "CC", "LSSTCAM": "MC"}


def observation_id(observation: Observation, instrument: Instrument) -> str:
    """Return the observatory's name of an exposure: AT_O_20210121_000001, as LATISS has it."""
    code = _CODES.get(instrument.name.upper(), "MC")
    prefix = f"{code}_O" if rubin_style(instrument) else instrument.name
    return f"{prefix}_{observation.day_obs}_{observation.seq_num:06d}"


def rubin_style(instrument: Instrument) -> bool:
    """Whether the instrument's headers are those of the Rubin observatory: it reads OBSID."""
    return "OBSID" in keywords_of(instrument.rules.table())


def file_name(
    observation: Observation, detector: Detector | None, instrument: Instrument, compress: str
) -> str:
    """Return the name of a raw file, in the observatory's style if it is Rubin's.

    `detector` is None for a file that holds all detectors.
    """
    suffix = "fits.fz" if compress == "rice" else "fits"
    if rubin_style(instrument):
        place = (detector.name if detector else "R00_S00").replace("RXX", "R00")
        return f"{observation_id(observation, instrument)}_{place}.{suffix}"
    place = f"_{detector.name}" if detector else ""
    stem = f"{instrument.name.lower()}_{observation.day_obs}{place}-{observation.seq_num:05d}"
    return f"{stem}.{suffix}"


def primary_cards(
    observation: Observation, detector: Detector | None, instrument: Instrument
) -> list[Card]:
    """Return the cards of HDU 0.

    Those that the instrument's rules read are such that they give the observation back; LATISS and
    its kin get the other cards of their real headers as well (reference 1.2).
    """
    begin, end = observation.timespan.begin or 0, observation.timespan.end or 0
    rules = instrument.rules
    cards: dict[str, Value] = {"ORIGIN": "cpflow simulate", "DATE": isoformat(end)}
    if rubin_style(instrument):
        cards |= _rubin_cards(observation, detector, instrument)
    cards |= {"INSTRUME": instrument.name, "SIMULATE": True}
    cards |= invert_time(rules.time, begin, end)
    wanted: dict[str, Value] = {
        "day_obs": observation.day_obs,
        "seq_num": observation.seq_num,
        "obs_id": observation_id(observation, instrument),
        "observation_type": observation.type,
        "exposure_time": observation.exposure_time,
        "dark_time": observation.dark_seconds,
        "physical_filter": observation.filter,
        "target_name": observation.target,
        "observation_reason": observation.reason or observation.type,
        "science_program": observation.program,
        "group": isoformat(begin),
        "has_simulated": True,
    }
    for field, value in wanted.items():
        cards |= invert_field(getattr(rules.fields, field), value)
    if detector is not None:
        cards |= invert_field(rules.detector, detector.name)
    for keyword, patterns in rules.identify.items():
        cards[keyword] = identity(instrument.name, patterns)
    return [(keyword, value, _COMMENTS.get(keyword, "")) for keyword, value in cards.items()]


def _rubin_cards(
    observation: Observation, detector: Detector | None, instrument: Instrument
) -> dict[str, Value]:
    begin, end = observation.timespan.begin or 0, observation.timespan.end or 0
    code = _CODES.get(instrument.name.upper(), "MC")
    raft, _, slot = (detector.name if detector else "R00_S00").replace("RXX", "R00").partition("_")
    return {
        "OBSID": observation_id(observation, instrument),
        "GROUPID": isoformat(begin),
        "OBSTYPE": observation.type.upper(),
        "IMGTYPE": observation.type.upper(),
        "REASON": observation.reason or observation.type,
        "TESTTYPE": observation.type.upper(),
        "PROGRAM": observation.program,
        "OBJECT": observation.target,
        "TELESCOP": "LSST AuxTelescope" if code == "AT" else "Simonyi Survey Telescope",
        "OBSERVER": "cpflow",
        "CONTRLLR": "O",
        "CAMCODE": code,
        "DAYOBS": str(observation.day_obs),
        "SEQNUM": observation.seq_num,
        "SHUTTIME": observation.exposure_time,
        "MJD-END": end / 86_400e9 + 40_587,
        "RAFTBAY": raft,
        "CCDSLOT": slot,
        "LSST_NUM": detector.serial if detector else "",
        "SEQNAME": instrument.name.lower(),
        "SEQFILE": "FP_ITL_2s_ir2_v1.seq",
        "SEQCKSUM": "2552520002",
        "TEMP_SET": -94.15,
    }


def image_cards(
    amplifiers: list[Amplifier], detector: Detector, names: dict[str, str]
) -> list[Card]:
    """Return the cards of an HDU with pixels; sections are those of its first amplifier.

    Unlike those of LATISS in 2021, the sections are right (reference 1.1). `names` gives the
    EXTNAME of an amplifier; without one it is the amplifier's name.
    """
    amplifier = amplifiers[0]
    rows, columns = detector.shape
    data = _section(_stored(amplifier, amplifier.imaging))
    cards: list[Card] = [
        ("DETSIZE", f"[1:{columns},1:{rows}]", "size of the detector"),
        ("DATASEC", data, "pixels of the image"),
        ("CCDSUM", "1 1", "binning"),
        ("GAIN", amplifier.gain, "[electron/adu]"),
    ]
    if len(amplifiers) == 1:
        if amplifier.source.hdu > 0:
            cards.insert(0, ("EXTNAME", names.get(amplifier.name, amplifier.name), "amplifier"))
        cards.append(("DETSEC", _detector_section(amplifier), "place in the detector"))
    if not amplifier.serial_overscan.empty:
        bias = _section(_stored(amplifier, amplifier.serial_overscan))
        cards.append(("BIASSEC", bias, "pixels of the serial overscan"))
    return cards


def _stored(amplifier: Amplifier, box: Box) -> Box:
    """Return where a box of the readout frame lies in the pixels of the HDU."""
    rows, columns = amplifier.raw
    source = amplifier.source
    x0 = columns - box.x1 if source.flip_x else box.x0
    y0 = rows - box.y1 if source.flip_y else box.y0
    return Box(source.box.x0 + x0, source.box.y0 + y0, box.width, box.height)


def _section(box: Box) -> str:
    return f"[{box.x0 + 1}:{box.x1},{box.y0 + 1}:{box.y1}]"


def _detector_section(amplifier: Amplifier) -> str:
    """Detector pixels in the order in which the HDU stores them: reversed where it is flipped."""
    place = amplifier.detector_box
    x = f"{place.x0 + 1}:{place.x1}", f"{place.x1}:{place.x0 + 1}"
    y = f"{place.y0 + 1}:{place.y1}", f"{place.y1}:{place.y0 + 1}"
    flip_x = amplifier.flip_x != amplifier.source.flip_x
    flip_y = amplifier.flip_y != amplifier.source.flip_y
    return f"[{x[flip_x]},{y[flip_y]}]"
