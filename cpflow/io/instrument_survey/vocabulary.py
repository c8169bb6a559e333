"""The names that cameras give to things, in the order in which they are preferred."""

from __future__ import annotations

from typing import Final

NAME: Final = ("INSTRUME", "CAMERA", "CAMNAME", "DETECTOR", "DETNAM", "TELESCOP")
IDENTIFY: Final = ("INSTRUME", "CAMERA", "CAMNAME", "DETECTOR")

DETECTOR: Final = (
    "CCDNUM", "CCD_NUM", "CCDNAME", "CCD_ID", "CCDID", "CHIPID", "CHIPNAME", "CHIP", "DETNAME",
    "DETID", "DET_ID", "DETECTOR", "SENSOR", "CAM_ID", "CAMID", "CAMERA", "CHANNEL", "ARM",
)  # fmt: skip
OUTPUT_NAME: Final = ("AMPNAME", "AMPID", "AMP_ID", "AMPLNAME", "CCDAMP", "AMP", "EXTNAME")

# Sections: `trim` is what is worth keeping of `data`, `place` is where that is on the detector.
TRIM: Final = ("TRIMSEC", "TSEC")
DATA: Final = ("DATASEC", "DATSEC", "DSEC")
BIAS: Final = ("BIASSEC", "BSEC")
PLACE: Final = ("CCDSEC", "CSEC", "DETSEC")
AMPLIFIER: Final = ("AMPSEC", "ASEC")

GAIN: Final = ("EGAIN", "GAIN", "CCDGAIN", "GTGAIN", "ESO DET OUT1 CONAD")
READ_NOISE: Final = (
    "RDNOISE", "READNOIS", "RDNOIS", "RON", "ENOISE", "CCDRON", "GTRON", "ESO DET OUT1 RON",
)  # fmt: skip
SATURATION: Final = ("SATURATE", "SATLEVEL", "SATURATI", "SATURAT", "CCDSAT")
PIXEL_MICRONS: Final = ("XPIXSZ", "PIXSIZE1", "PIXSIZE", "CCDXPIXE", "XPIXELSZ")
BINNING: Final = ("CCDSUM", "XBINNING", "CCDXBIN", "BINX")

TYPE: Final = (
    "IMAGETYP", "OBSTYPE", "IMGTYPE", "OBS_TYPE", "OBS-TYPE", "IMAGETYPE", "IMTYPE", "EXPTYPE",
    "FRAMETYP", "FRAME", "DATA-TYP", "ESO DPR TYPE",
)  # fmt: skip
EXPOSURE_TIME: Final = (
    "EXPTIME", "EXPOSURE", "EXP_TIME", "EXP-TIME", "EXPOSTIM", "ITIME", "INTTIME", "TEXPOSED",
    "ELAPTIME", "ESO DET WIN1 DIT1",
)  # fmt: skip
DARK_TIME: Final = ("DARKTIME", "DARK_TIME")
FILTER: Final = (
    "FILTER", "FILTERS", "FILTNAM", "FILTNAME", "FILTERID", "FILT", "INSFILTE", "ESO INS FILT1 NAME"
)  # fmt: skip
FILTER_WHEELS: Final = (("FILTER1", "FILTER2"), ("FILT1", "FILT2"), ("WHEEL1", "WHEEL2"))
TARGET: Final = ("OBJECT", "TARGET", "TARGNAME", "OBJNAME")
PROGRAM: Final = ("PROPID", "PROPOSAL", "PROP_ID", "PROG_ID", "PROGRAM", "PROGID")
REASON: Final = ("REASON", "TESTTYPE")
RIGHT_ASCENSION: Final = ("RA_DEG", "RA-DEG", "RA_OBS", "RADEG", "RA", "OBJCTRA", "TELRA")
DECLINATION: Final = ("DEC_DEG", "DEC-DEG", "DEC_OBS", "DECDEG", "DEC", "OBJCTDEC", "TELDEC")
TEMPERATURES: Final = {
    "CCD-TEMP": "ccd_temperature", "CCDTEMP": "ccd_temperature", "CCD_TEMP": "ccd_temperature",
    "DETTEMP": "ccd_temperature", "TEMPERAT": "ccd_temperature", "CAMTEMP": "ccd_temperature",
    "SET-TEMP": "set_temperature",
}  # fmt: skip
SETTINGS: Final = {
    "READOUTM": "readout_mode", "READMODE": "readout_mode", "RDMODE": "readout_mode",
    "XBINNING": "binning_x", "YBINNING": "binning_y", "CCDSUM": "binning",
}  # fmt: skip

OBSERVATION_ID: Final = ("OBSID", "OBS_ID", "OBS-ID", "OBSERVID", "FRAMEID")
SEQUENCE: Final = (
    "SEQNUM", "SEQNO", "SEQ_NUM", "FRAMENO", "FRAMENUM", "IMGNUM", "IMAGENO", "IMAGENUM", "EXPNUM",
    "EXPNO", "EXPID", "OBSNUM", "OBSNO", "PICNUM", "PICNO", "RUNNO", "RUN", "FILENUM", "IMG_ISN",
)  # fmt: skip

DATE: Final = (
    "DATE-BEG", "DATE-OBS", "DATE_OBS", "DATEOBS", "UTC-OBS", "UTDATE", "UT-DATE", "OBSDATE",
    "DATE_BEG", "DATE-AVG",
)  # fmt: skip
TIME: Final = (
    "TIME-OBS", "UT", "UTC", "UTC-OBS", "UTSTART", "UTCSTART", "UT-OBS", "UTSHUT", "UTOPEN",
    "TIME_OBS", "TIME-BEG", "EXPSTART", "STARTTIM", "TM-START", "UTTIME", "TIME",
)  # fmt: skip
MODIFIED_JULIAN: Final = ("MJD-BEG", "MJD-OBS", "MJD_OBS", "MJDSTART", "MJD")
JULIAN: Final = ("JD", "JD-OBS", "JDSTART", "JD_UTC")
END: Final = ("DATE-END", "DATE_END")
NIGHT: Final = ("DAYOBS", "DAY_OBS", "DAY-OBS", "OBS-NITE", "OBSNITE", "NIGHT", "DTCALDAT")
LONGITUDE: Final = ("SITELONG", "LONGITUD", "LONG-OBS", "OBS-LONG", "OBSGEO-L", "GEOLON")

OBSERVATION_TYPES: Final = {
    "bias": ("bias", "zero", "offset"),
    "dark": ("dark",),
    "flat": (
        "flat", "dflat", "sflat", "skyflat", "domeflat", "dome flat", "sky flat", "twilight flat",
        "twilight", "flatfield", "flat,dome", "flat,sky", "flat,twilight",
    ),
    "science": ("science", "object", "light", "target", "sci", "standard", "std", "sky"),
}  # fmt: skip
"""What cpflow's graphs select, and the words for it, without 'frame', 'field' and letter case."""
OTHER_TYPES: Final = ("arc", "comp", "lamp", "focus", "acquisition", "test", "engtest")
"""Words that are types of their own, which no graph takes."""
