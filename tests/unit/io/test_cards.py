from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from cpflow.io.cards import HeaderError, parse_header, parse_value, read_hdus


def hdus_of(content: bytes):
    return read_hdus(lambda at, count: content[at : at + count], len(content))


def written(hdus) -> bytes:
    stream = io.BytesIO()
    fits.HDUList(hdus).writeto(stream)
    return stream.getvalue()


def same_as_astropy(content: bytes, path_or_stream) -> int:
    compared = 0
    with fits.open(path_or_stream, disable_image_compression=True) as theirs:
        ours = hdus_of(content)
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            info = other.fileinfo()
            assert (mine.begin, mine.offset) == (info["hdrLoc"], info["datLoc"])
            assert mine.end == info["datLoc"] + info["datSpan"]
            for card in other.header.cards:
                if card.keyword in ("COMMENT", "HISTORY", ""):
                    continue
                value = None if isinstance(card.value, fits.card.Undefined) else card.value
                got = mine.header[card.keyword.upper()]
                assert got == value
                assert type(got) is type(value)
                compared += 1
    return compared


def test_headers_of_real_files_are_those_that_astropy_reads(real_data):
    compared = sum(
        same_as_astropy(path.read_bytes(), path) for path in sorted(real_data.rglob("*.fz"))
    )
    assert compared > 5000


def test_awkward_cards_are_read_as_astropy_reads_them():
    header = fits.Header()
    header["TEXT"] = ("it's / not a comment", "a comment / with a slash")
    header["EMPTY"] = ""
    header["BLANKS"] = "   "
    header["UNDEF"] = None
    header["TRUE"] = (True, "logical")
    header["BIG"] = 2**40
    header["NEGATIVE"] = -7
    header["TINY"] = -1.5e-300
    header["LONG"] = "x" * 150 + " & 'quoted' " + "y" * 90
    header["HIERARCH ESO DET CHIP NAME"] = "CCD-44"
    header["HIERARCH lower case"] = 3.5
    header["COMMENT"] = "NOT = 'A CARD'"
    header["DATE-OBS"] = "2021-01-20"
    content = written([fits.PrimaryHDU(np.zeros((3, 5), np.int16), header)])
    assert same_as_astropy(content, io.BytesIO(content)) >= 12


@given(
    st.one_of(
        st.integers(-(2**63), 2**63),
        st.booleans(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
    )
)
def test_a_value_survives_being_written(value):
    card = fits.Card("KEY", value)
    expected = value.rstrip() if isinstance(value, str) else fits.Card.fromstring(card.image).value
    header = parse_header("".join(card.image).encode())
    assert header["KEY"] == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (" 1.5D3 / double", 1500.0),
        (" 12", 12),
        (" .5", 0.5),
        (" 3.", 3.0),
        (" T", True),
        ("", None),
        (" / only a comment", None),
        (" NaN", "NaN"),
        (" (1.0, 2.0)", "(1.0, 2.0)"),
        (" 'open", "'open"),
    ],
)
def test_values_that_astropy_would_not_write(text, value):
    assert parse_value(text) == value


def test_of_a_keyword_given_twice_the_first_holds():
    cards = "".join(f"{text:<80}" for text in ("KEY     = 1", "KEY     = 2"))
    assert parse_header(cards.encode()) == {"KEY": 1}


def test_a_file_that_is_not_fits_is_refused():
    with pytest.raises(HeaderError, match="not a FITS file"):
        hdus_of(b"\x89PNG" + bytes(4000))


@pytest.mark.parametrize("keep", [2000, 2880 + 10, 2880 * 2 - 1])
def test_a_truncated_file_is_refused(keep):
    content = written([fits.PrimaryHDU(np.zeros((60, 60), np.int32))])
    with pytest.raises(HeaderError, match=r"truncated|ends inside"):
        hdus_of(content[:keep])


def test_missing_padding_and_trailing_bytes_do_no_harm():
    content = written([fits.PrimaryHDU(np.zeros((10, 10), np.int32))])
    assert len(hdus_of(content[: 2880 + 400])) == 1
    assert len(hdus_of(content + b"junk" * 1000)) == 1


def test_a_structural_keyword_that_is_no_number_is_refused():
    content = written([fits.PrimaryHDU(np.zeros((4, 4), np.int32))])
    broken = content.replace(b"NAXIS1  =                    4", b"NAXIS1  =                  4.5")
    with pytest.raises(HeaderError, match="NAXIS1"):
        hdus_of(broken)
