"""Where the pixels of a FITS file lie, so that rows are read without parsing a header again.

Kinds of image:

``plain``
    An uncompressed array: rows are a `pread` away.
``rice``
    RICE_1 tiles of whole rows, integers. The table of tile descriptors and the heap are not kept,
    only where they are.
``astropy``
    Everything else (GZIP, HCOMPRESS, quantised or scaled pixels, a gzipped file): read by astropy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cpflow.errors import RawError
from cpflow.io.cards import Hdu, HeaderError
from cpflow.io.fits_file import FitsFile, open_fits

VERSION: Final = 1

_STORED: Final = {8: "u1", 16: "i2", 32: "i4", 64: "i8", -32: "f4", -64: "f8"}
# BZERO that turns a stored type into the one of the other signedness, and that type.
_OPPOSITE: Final = {
    "u1": (-(2.0**7), "i1"),
    "i2": (2.0**15, "u2"),
    "i4": (2.0**31, "u4"),
    "i8": (2.0**63, "u8"),
}
_DESCRIPTOR = re.compile(r"[01]?([PQ])B", re.IGNORECASE)
_FORMAT = re.compile(r"(\d*)([LXBIJKAEDCMPQ])", re.IGNORECASE)
_BITS: Final = dict(
    zip("LXBIJKAEDCMPQ", (8, 1, 8, 16, 32, 64, 8, 32, 64, 64, 128, 64, 128), strict=True)
)


@dataclass(frozen=True, slots=True)
class RiceTable:
    """Where the RICE_1 tiles of an image are."""

    row_bytes: int
    """Bytes in a row of the table; a row is a tile."""
    column: int
    """Offset of the descriptor (length, offset in the heap) in a row."""
    wide: bool
    """Whether a descriptor is two 64-bit numbers rather than two of 32 bits."""
    heap: int
    """Offset of the heap in the file."""
    tile_rows: int
    """Image rows in a tile; the last tile may have fewer."""
    blocksize: int


@dataclass(frozen=True, slots=True)
class HduLayout:
    """Where one image is, and what its stored numbers mean."""

    hdu: int
    kind: str
    rows: int
    columns: int
    stored: str
    """Numpy code of a stored number, without byte order (plain files are big-endian)."""
    flipped_sign: bool
    """Whether BZERO makes signed numbers unsigned, or the reverse."""
    offset: int
    """Of the first pixel, or of the table of tiles."""
    blank: int | None = None
    """Stored number that stands for no value."""
    rice: RiceTable | None = None

    @property
    def integer(self) -> str:
        """Numpy code of a pixel before blanks are looked at."""
        return _OPPOSITE[self.stored][1] if self.flipped_sign else self.stored

    @property
    def dtype(self) -> str:
        """Numpy code of a pixel; where there may be blanks, they are NaN in float32."""
        return self.integer if self.blank is None else "f4"


@dataclass(frozen=True, slots=True)
class FileLayout:
    """Where the images of a file are, by HDU."""

    size: int
    """Bytes in the file."""
    hdus: Mapping[int, HduLayout]

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping that `from_dict` reads."""
        return {
            "version": VERSION,
            "size": self.size,
            "hdus": [
                {k: v for k, v in asdict(hdu).items() if v is not None}
                for hdu in self.hdus.values()
            ],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FileLayout:
        """Rebuild what `as_dict` described.

        Raises
        ------
        RawError
            If another version of cpflow wrote it in another form.
        """
        if content.get("version") != VERSION:
            raise RawError(
                f"the layout of the file was recorded in form {content.get('version')}, "
                f"this cpflow reads form {VERSION}",
                hint="ingest the file again",
            )
        return cls(content["size"], {h["hdu"]: _hdu_from(h) for h in content["hdus"]})


def _hdu_from(content: Mapping[str, Any]) -> HduLayout:
    rice = content.get("rice")
    return HduLayout(**{**content, "rice": None if rice is None else RiceTable(**rice)})


def scan_layout(path: str | Path) -> FileLayout:
    """Find the two-dimensional images of a FITS file.

    Raises
    ------
    RawError
        If the file is missing, empty, truncated or not FITS.
    """
    return layout_of(open_fits(path))


def layout_of(file: FitsFile) -> FileLayout:
    """Return where the two-dimensional images of a file are whose headers have been parsed."""
    images = [hdu.index for hdu in file.hdus if hdu.is_image]
    return FileLayout(file.size, {index: hdu_layout(file, index) for index in images})


def hdu_layout(file: FitsFile, index: int) -> HduLayout:
    """Return where the image of one HDU is.

    Raises
    ------
    RawError
        If a keyword that the pixels hang on is not what it must be.
    """
    try:
        return _layout(file.hdus[index], file.gzipped)
    except HeaderError as error:
        raise RawError(str(error), file=file.path, hint="mend the keyword") from error


def _layout(hdu: Hdu, gzipped: bool) -> HduLayout:
    rows, columns = hdu.image_shape
    compressed = hdu.is_compressed
    bitpix = hdu.integer("ZBITPIX" if compressed else "BITPIX")
    if bitpix not in _STORED:
        raise HeaderError(f"HDU {hdu.index}: there are no pixels of BITPIX {bitpix}")
    stored = _STORED[bitpix]
    zero = hdu.number("BZERO", 0.0)
    flipped = zero != 0 and stored in _OPPOSITE and zero == _OPPOSITE[stored][0]
    exact = hdu.number("BSCALE", 1.0) == 1 and (zero == 0 or flipped)
    blank = hdu.header.get("BLANK", hdu.header.get("ZBLANK"))
    if not isinstance(blank, int) or bitpix < 0:
        blank = None
    rice = _rice(hdu, bitpix) if compressed else None
    if gzipped or not exact or (compressed and rice is None):
        kind = "astropy"
    else:
        kind = "rice" if compressed else "plain"
    if kind == "astropy" and not exact:
        # astropy hands back scaled numbers, with NaN for blanks already.
        stored, flipped, blank = "f4" if abs(bitpix) <= 16 or bitpix == -32 else "f8", False, None
    return HduLayout(
        hdu.index,
        kind,
        rows,
        columns,
        stored,
        flipped,
        hdu.offset,
        blank,
        rice if kind == "rice" else None,
    )


def _rice(hdu: Hdu, bitpix: int) -> RiceTable | None:
    """Return where RICE tiles are, or None where only astropy is sure to read them right."""
    header = hdu.header
    _, columns = hdu.image_shape
    options = {
        str(header.get(f"ZNAME{i}")): header.get(f"ZVAL{i}")
        for i in range(1, 10)
        if f"ZNAME{i}" in header
    }
    names = {str(header.get(f"TTYPE{i}", "")): i for i in range(1, hdu.integer("TFIELDS", 0) + 1)}
    plain_rice = (
        header.get("ZCMPTYPE") in ("RICE_1", "RICE_ONE")
        and bitpix in (8, 16, 32)
        and options.get("BYTEPIX", 4) == bitpix // 8
        and header.get("ZTILE1", columns) == columns
        and "COMPRESSED_DATA" in names
        # A table with these columns scales, or marks blanks, tile by tile.
        and not {"ZSCALE", "ZZERO", "ZBLANK", "NULL_PIXEL_MASK"} & set(names)
    )
    if not plain_rice:
        return None
    column = names["COMPRESSED_DATA"]
    match = _DESCRIPTOR.match(str(header.get(f"TFORM{column}")))
    before = [_width(header.get(f"TFORM{i}")) for i in range(1, column)]
    blocksize = options.get("BLOCKSIZE", 32)
    # The standard knows no other sizes of a block.
    if not isinstance(blocksize, int) or blocksize not in (16, 32):
        return None
    if match is None or None in before:
        return None
    row_bytes = hdu.integer("NAXIS1")
    heap = hdu.integer("THEAP", row_bytes * hdu.integer("NAXIS2"))
    return RiceTable(
        row_bytes=row_bytes,
        column=sum(width for width in before if width is not None),
        wide=match[1].upper() == "Q",
        heap=hdu.offset + heap,
        tile_rows=hdu.integer("ZTILE2", 1),
        blocksize=blocksize,
    )


def _width(form: object) -> int | None:
    """Return the bytes of a table column of this TFORM."""
    match = _FORMAT.match(str(form))
    if match is None:
        return None
    return -(-int(match[1] or 1) * _BITS[match[2].upper()] // 8)
