"""Checksums of a file: SHA-256 of all of it, and the sums that FITS headers keep, in one read."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Final

import numpy as np

from cpflow.errors import RawError
from cpflow.io.cards import Hdu, Value
from cpflow.io.fits_file import FitsFile, raw_file

logger = logging.getLogger(__name__)

_CHUNK: Final = 1 << 20
_ONES: Final = 0xFFFFFFFF
_HINT: Final = "the file has been damaged: copy it again, or leave it out"


def file_checksum(path: Path) -> str:
    """Return ``sha256:<hex>`` of a file."""
    with path.open("rb") as handle:
        return f"sha256:{hashlib.file_digest(handle, 'sha256').hexdigest()}"


class _Sum:
    """Ones' complement sum of big-endian 32-bit words at a range of offsets (FITS 4.4.2.7)."""

    def __init__(self, begin: int, end: int) -> None:
        self.begin = begin
        self.end = end
        self.total = 0

    def add(self, words: np.ndarray[tuple[int], np.dtype[np.uint32]], at: int) -> None:
        """Add words that begin at offset `at`; offsets are multiples of 4."""
        first = max(self.begin - at, 0) // 4
        last = min(self.end - at, 4 * len(words)) // 4
        if first < last:
            self.total += int(words[first:last].sum(dtype=np.uint64))

    @property
    def folded(self) -> int:
        total = self.total
        while total > _ONES:
            total = (total & _ONES) + (total >> 32)
        return total


def check_file(file: FitsFile, *, sha256: bool = True, fits: bool = True) -> str:
    """Read a whole file once: return ``sha256:<hex>``, and check what its headers promise.

    Parameters
    ----------
    file : FitsFile
    sha256 : bool
        If false, an empty text is returned.
    fits : bool
        Check DATASUM and CHECKSUM of each HDU that has them.

    Raises
    ------
    RawError
        If the pixels are not those that were written.
    """
    digest = hashlib.sha256() if sha256 else None
    # Sums are over the unpacked file; gzip has its own checksum, which unpacking has verified.
    hdus = [h for h in file.hdus if _has_sum(h)] if fits and not file.gzipped else []
    if digest is None and not hdus:
        return ""
    sums = [(_Sum(h.begin, h.offset), _Sum(h.offset, h.end)) for h in hdus]
    flat = [part for pair in sums for part in pair]
    with raw_file(file.path) as descriptor:
        at = 0
        buffer = bytearray(_CHUNK)
        while count := _fill(descriptor, buffer, at):
            if digest is not None:
                digest.update(memoryview(buffer)[:count])
            if flat:
                buffer[count:] = bytes(_CHUNK - count)
                words = np.frombuffer(buffer, ">u4")
                for part in flat:
                    part.add(words, at)
            at += count
    for hdu, (header, data) in zip(hdus, sums, strict=True):
        _compare(file, hdu, header.folded, data.folded)
    return f"sha256:{digest.hexdigest()}" if digest is not None else ""


def _fill(descriptor: int, buffer: bytearray, at: int) -> int:
    """Fill a buffer as far as the file goes, so that chunks begin at multiples of 4."""
    view = memoryview(buffer)
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], at + done)
        if count == 0:
            break
        done += count
    return done


def _has_sum(hdu: Hdu) -> bool:
    return any(_given(hdu.header.get(key)) for key in ("DATASUM", "CHECKSUM"))


def _given(value: Value) -> bool:
    # An empty text, or 0 in CHECKSUM, says that there is none.
    return isinstance(value, str) and bool(value.strip()) and value.strip() != "0" * 16


def _compare(file: FitsFile, hdu: Hdu, header: int, data: int) -> None:
    promised = str(hdu.header.get("DATASUM") or "").strip()
    if promised.isdecimal() and not _equal(int(promised), data):
        raise RawError(
            f"checksum mismatch: the data of HDU {hdu.index} sum up to {data}, DATASUM says "
            f"{promised}",
            file=file.path,
            hint=_HINT,
        )
    if _given(hdu.header.get("CHECKSUM")) and not _equal(_fold(header + data), _ONES):
        if not promised.isdecimal():
            raise RawError(
                f"checksum mismatch: HDU {hdu.index} does not agree with its CHECKSUM",
                file=file.path,
                hint=_HINT,
            )
        logger.warning(
            "%s: the header of HDU %d has been edited since its CHECKSUM was written; its data "
            "are intact",
            file.path,
            hdu.index,
        )


def _fold(total: int) -> int:
    return (total & _ONES) + (total >> 32)


def _equal(one: int, other: int) -> bool:
    """Whether two ones' complement sums are equal: all ones and all zeros are the same number."""
    return one % _ONES == other % _ONES
