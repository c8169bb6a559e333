"""Look at raw files: which images they hold, and which keywords say what in how many of them."""

from __future__ import annotations

import gzip
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Final

from cpflow.errors import CpflowError, NoDataError
from cpflow.io.cards import CARD, Hdu, Header, Value
from cpflow.io.fits_file import FitsFile, open_fits, raw_file
from cpflow.io.headers import merge_headers
from cpflow.io.layout import hdu_layout
from cpflow.io.values import is_blank

_STRUCTURE: Final = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|TFIELDS|BSCALE|BZERO|BLANK|END|INHERIT"
    r"|(TTYPE|TFORM|TUNIT|TDIM|TNULL|ZNAXIS|ZTILE|ZNAME|ZVAL)\d+|THEAP|EXT(NAME|VER|LEVEL)"
    r"|Z(IMAGE|BITPIX|NAXIS|CMPTYPE|SIMPLE|TENSION|EXTEND|PCOUNT|GCOUNT|QUANTIZ|DITHER0|BLANK)"
    r"|Z?(HECK|DATA)SUM|CHECKSUM|COMMENT|HISTORY|"
)
_VALUE = re.compile(r"\s*(?:'(?:[^']|'')*'|[^/']*)")
_SHOWN = 3
_PREVIEW: Final = 0.1
"""Part of the pixels of the largest image that an image has at least."""


@dataclass(slots=True)
class Look:
    """One raw file."""

    path: str
    file: FitsFile
    images: tuple[Hdu, ...]
    header: Header
    """Of the primary HDU and the first image, as an instrument's rules see it by default."""
    _comments: dict[int, dict[str, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name without the directory."""
        return Path(self.path).name

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of each image."""
        return tuple(hdu.image_shape for hdu in self.images)

    @property
    def dtype(self) -> str:
        """Numpy code of its pixels."""
        return hdu_layout(self.file, self.images[0].index).dtype

    def value(self, key: str) -> Value:
        """Return a value of the merged header; None if it is not there or blank."""
        value = self.header.get(key)
        return None if is_blank(value) else value

    def hdu_of(self, key: str) -> int:
        """Return the HDU whose header gives a keyword of the merged header."""
        first = self.images[0]
        return first.index if key in first.header else 0

    def comment(self, key: str, hdu: int | None = None) -> str:
        """Return what stands behind the slash of a keyword."""
        index = self.hdu_of(key) if hdu is None else hdu
        if index not in self._comments:
            self._comments[index] = _card_comments(_header_bytes(self, index))
        return self._comments[index].get(key, "")


@dataclass(frozen=True, slots=True)
class Survey:
    """Files of one camera."""

    looks: tuple[Look, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    """Files that were not taken, and why."""

    @property
    def first(self) -> Look:
        """The file that comments are written from."""
        return self.looks[0]

    def values(self, key: str) -> list[Value]:
        """Return the value of a keyword in each file; None where it is not there or blank."""
        return [look.value(key) for look in self.looks]

    def has(self, key: str) -> bool:
        """Whether some file says something in a keyword."""
        return any(look.value(key) is not None for look in self.looks)

    def always(self, key: str) -> bool:
        """Whether every file says something in a keyword."""
        return all(look.value(key) is not None for look in self.looks)

    def varies(self, key: str) -> bool:
        """Whether files differ in a keyword."""
        return len(set(self.values(key))) > 1

    def keywords(self) -> list[str]:
        """Return the keywords that say something, without those of the structure of a file."""
        found = dict.fromkeys(
            key
            for look in self.looks
            for key in look.header
            if look.value(key) is not None and not _STRUCTURE.fullmatch(key)
        )
        return list(found)

    def comment(self, key: str) -> str:
        """Return the comment of a keyword in the first file that has it."""
        return next((look.comment(key) for look in self.looks if key in look.header), "")

    def said(self, key: str) -> str:
        """Return where a keyword is and what it holds, for a comment."""
        having = [look for look in self.looks if look.value(key) is not None]
        if not having:
            return key
        where = f"HDU {having[0].hdu_of(key)}"
        values = list(dict.fromkeys(shown(look.value(key)) for look in having))
        listed = ", ".join(values[:_SHOWN]) + (", ..." if len(values) > _SHOWN else "")
        remark = having[0].comment(key)
        few = "" if len(having) == len(self.looks) else f", in {counted(len(having), 'file')}"
        return f"{where}: {listed}{few}" + (f" ({remark})" if remark else "")


def shown(value: Value) -> str:
    """Return a value of a header as a comment shows it."""
    text = f"{value:.9g}" if isinstance(value, float) else str(value).strip()
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    text = text if len(text) <= 40 else f"{text[:37]}..."
    return f"'{text}'" if isinstance(value, str) else text


def counted(number: int, thing: str) -> str:
    """Return a number with what it counts: 1 file, 2 files."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def survey(paths: Iterable[str | Path]) -> Survey:
    """Look at files; those that are not like most of them are left out.

    Raises
    ------
    NoDataError
        If none of them is a FITS file with an image.
    """
    looks: list[Look] = []
    left_out: list[tuple[str, str]] = []
    for path in paths:
        try:
            looks.append(look_at(path))
        except CpflowError as error:
            left_out.append((str(path), error.message))
    if not looks:
        reasons = "".join(f"\n  {path}: {reason}" for path, reason in left_out[:10])
        raise NoDataError(f"there is no raw file to look at{reasons}", hint="name raw FITS files")
    kinds = [(look.shapes, look.dtype) for look in looks]
    common, _ = Counter(kinds).most_common(1)[0]
    taken = []
    for look, kind in zip(looks, kinds, strict=True):
        if kind == common:
            taken.append(look)
            continue
        mine, most = pictures(look.shapes), pictures(common[0])
        if look.shapes == common[0]:
            mine, most = f"pixels are {_type_words(look.dtype)}", _type_words(common[1])
        left_out.append((look.path, f"{mine}, most files have {most}"))
    return Survey(tuple(taken), tuple(left_out))


def look_at(path: str | Path) -> Look:
    """Look at one file.

    Raises
    ------
    RawError
        If it is not FITS, or damaged.
    NoDataError
        If it holds no two-dimensional image.
    """
    file = open_fits(path)
    found = [hdu for hdu in file.hdus if hdu.is_image]
    largest = max((prod(hdu.image_shape) for hdu in found), default=0)
    # A small picture beside a large one is there to be looked at.
    images = tuple(hdu for hdu in found if prod(hdu.image_shape) >= _PREVIEW * largest)
    if not images:
        axes = [hdu.header.get("ZNAXIS", hdu.header.get("NAXIS")) for hdu in file.hdus]
        raise NoDataError(f"it holds no image of two axes (NAXIS of its HDUs: {axes})")
    header = merge_headers([hdu.header for hdu in file.hdus], ("primary", "image"))
    return Look(str(path), file, images, header)


def pictures(shapes: Sequence[tuple[int, int]]) -> str:
    """Return the sizes of images in words, columns first."""
    counts = Counter(shapes)
    parts = [
        f"{columns} x {rows}" if count == 1 else f"{count} images of {columns} x {rows}"
        for (rows, columns), count in counts.items()
    ]
    return " and ".join(parts)


def pixel_words(look: Look) -> str:
    """Return type and compression of a file's pixels in words."""
    hdu = look.images[0]
    compressed = f", {hdu.header.get('ZCMPTYPE')}" if hdu.is_compressed else ""
    return f"{_type_words(look.dtype)}{compressed}{', gzip' if look.file.gzipped else ''}"


def _type_words(dtype: str) -> str:
    words = {"u": "unsigned", "i": "signed", "f": "floating point"}[dtype[0]]
    return f"{8 * int(dtype[1:])}-bit {words}"


def _header_bytes(look: Look, index: int) -> bytes:
    hdu = look.file.hdus[index]
    if look.file.gzipped:
        with gzip.open(look.path) as stream:
            stream.seek(hdu.begin)
            return stream.read(hdu.offset - hdu.begin)
    with raw_file(look.path) as descriptor:
        return os.pread(descriptor, hdu.offset - hdu.begin, hdu.begin)


def _card_comments(block: bytes) -> dict[str, str]:
    text = block.decode("latin-1")
    comments: dict[str, str] = {}
    for at in range(0, len(text), CARD):
        card = text[at : at + CARD]
        if card[8:10] == "= ":
            value = _VALUE.match(card[10:])
            rest = card[10 + (value.end() if value else 0) :].strip()
            remark = " ".join(rest.removeprefix("/").split())
            comments.setdefault(card[:8].rstrip(), remark)
    return comments
