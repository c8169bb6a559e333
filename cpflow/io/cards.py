"""FITS headers as mappings, parsed fast enough to look at every HDU of every file.

Differences from astropy, on purpose: a value that is neither text, number nor logical (such as an
unquoted ``NaN``) comes back as its text, so that whoever needs a number can name the keyword and
refuse it; nothing is repaired, nothing warns.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

BLOCK: Final = 2880
CARD: Final = 80

Value = str | int | float | bool | None
"""None: the keyword is there, but without a value."""
Header = dict[str, Value]
Read = Callable[[int, int], bytes]
"""``read(offset, count)`` returns up to `count` bytes."""

_STRING = re.compile(r"\s*'((?:[^']|'')*)'")
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][+-]?\d+)?", re.ASCII)
_HIERARCH = re.compile(r"HIERARCH\s+([^=]*?)\s*=(.*)")


class HeaderError(ValueError):
    """Bytes that are not a FITS header."""


@dataclass(frozen=True, slots=True)
class Hdu:
    """One HDU of a file: its header, and where its data are."""

    index: int
    header: Header
    begin: int
    """Offset of the header."""
    offset: int
    """Offset of the data."""
    size: int
    """Bytes of data, without padding."""

    @property
    def end(self) -> int:
        """Offset of the next HDU."""
        return self.offset + _padded(self.size)

    @property
    def is_image(self) -> bool:
        """Whether it holds a two-dimensional image, compressed or not."""
        if self.is_compressed:
            return self.header.get("ZNAXIS") == 2
        if self.header.get("XTENSION", "IMAGE") != "IMAGE":
            return False
        return self.header.get("NAXIS") == 2 and self.size > 0

    @property
    def is_compressed(self) -> bool:
        """Whether it holds a tile-compressed image."""
        return self.header.get("ZIMAGE") is True

    @property
    def image_shape(self) -> tuple[int, int]:
        """(rows, columns) of its image; `read_hdus` has made sure that they are numbers."""
        prefix = "ZNAXIS" if self.is_compressed else "NAXIS"
        return self.integer(f"{prefix}2"), self.integer(f"{prefix}1")

    @property
    def name(self) -> str:
        """Its EXTNAME, or an empty text."""
        return str(self.header.get("EXTNAME") or "")

    def integer(self, key: str, default: int | None = None) -> int:
        """Return a whole number that the structure of the file hangs on."""
        value = self.header.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise HeaderError(f"HDU {self.index}: {key} is {value!r}, not a whole number")
        return value

    def number(self, key: str, default: float) -> float:
        """Return a number that the meaning of the pixels hangs on."""
        value = self.header.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise HeaderError(f"HDU {self.index}: {key} is {value!r}, not a number")
        return float(value)


def read_hdus(read: Read, size: int) -> list[Hdu]:
    """Parse the headers of all HDUs of a file.

    Parameters
    ----------
    read : callable
        ``read(offset, count)`` returns up to `count` bytes of the file.
    size : int
        Bytes in the file.

    Raises
    ------
    HeaderError
        If the file is not FITS, or ends inside an HDU.
    """
    hdus: list[Hdu] = []
    begin = 0
    while begin < size:
        block = read(begin, 4 * BLOCK)
        if not block.startswith(b"XTENSION" if hdus else b"SIMPLE  "):
            if hdus:
                break  # what follows the last HDU is nobody's business (FITS 3.6)
            raise HeaderError("this is not a FITS file: it does not begin with SIMPLE")
        text = bytearray(block)
        while (end := _end_of_header(text)) is None:
            more = read(begin + len(text), 16 * BLOCK)
            if not more:
                raise HeaderError(f"the file ends inside the header of HDU {len(hdus)}")
            text += more
        header = parse_header(bytes(text[:end]))
        hdu = _hdu(len(hdus), header, begin, begin + _padded(end + CARD))
        if hdu.offset + hdu.size > size:
            raise HeaderError(
                f"the file is truncated: HDU {hdu.index} needs {hdu.offset + hdu.size} bytes, "
                f"the file has {size}"
            )
        if hdu.is_image and min(hdu.image_shape) < 1:
            raise HeaderError(f"HDU {hdu.index}: an image of {hdu.image_shape} rows and columns")
        hdus.append(hdu)
        begin = hdu.end
    return hdus


def _hdu(index: int, header: Header, begin: int, offset: int) -> Hdu:
    bare = Hdu(index, header, begin, offset, 0)
    axes = bare.integer("NAXIS")
    size = 0
    if axes > 0:
        count = 1
        for axis in range(1, axes + 1):
            count *= bare.integer(f"NAXIS{axis}")
        groups = bare.integer("GCOUNT", 1) * (bare.integer("PCOUNT", 0) + count)
        size = abs(bare.integer("BITPIX")) // 8 * groups
    return Hdu(index, header, begin, offset, size)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _end_of_header(text: bytearray) -> int | None:
    """Return where the END card begins; cards start at multiples of 80."""
    at = text.find(b"END     ")
    while at >= 0 and at % CARD:
        at = text.find(b"END     ", at + 1)
    return at if at >= 0 else None


def parse_header(block: bytes) -> Header:
    """Parse the cards before END; of a keyword given twice the first holds."""
    text = block.decode("latin-1")
    header: Header = {}
    last = ""
    for at in range(0, len(text), CARD):
        card = text[at : at + CARD]
        keyword = card[:8].rstrip()
        if card[8:10] == "= ":
            last = keyword
            header.setdefault(keyword, parse_value(card[10:]))
        elif keyword == "CONTINUE":
            _continue(header, last, card[8:])
        elif keyword == "HIERARCH":
            match = _HIERARCH.match(card)
            if match:
                last = match[1].upper()
                header.setdefault(last, parse_value(match[2]))
    return header


def _continue(header: Header, keyword: str, rest: str) -> None:
    value, more = header.get(keyword), parse_value(rest)
    if isinstance(value, str) and value.endswith("&") and isinstance(more, str):
        header[keyword] = value[:-1] + more


def parse_value(text: str) -> Value:
    """Parse the value field of a card; a comment after it is ignored."""
    match = _STRING.match(text)
    if match:
        return match[1].replace("''", "'").rstrip()
    bare = text.partition("/")[0].strip()
    if not bare:
        return None
    if bare in ("T", "F"):
        return bare == "T"
    if _INTEGER.fullmatch(bare):
        return int(bare)
    if _FLOAT.fullmatch(bare):
        return float(bare.upper().replace("D", "E"))
    return bare
