"""A FITS file on disk: its size and the headers of its HDUs, or a RawError that says why not."""

from __future__ import annotations

import gzip
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cpflow.errors import RawError
from cpflow.io.cards import Hdu, HeaderError, read_hdus

logger = logging.getLogger(__name__)

_GZIP = b"\x1f\x8b"
_TRANSFER = "copy the file again from where it came from, or leave it out"


@dataclass(frozen=True, slots=True)
class FitsFile:
    """What a first look at a FITS file gives."""

    path: str
    size: int
    """Bytes on disk."""
    hdus: tuple[Hdu, ...]
    gzipped: bool
    """Whether the whole file is inside gzip; offsets are then those of the unpacked file."""

    @property
    def first_image(self) -> Hdu | None:
        """The first HDU with a two-dimensional image."""
        return next((hdu for hdu in self.hdus if hdu.is_image), None)


@contextmanager
def raw_file(path: str | Path) -> Iterator[int]:
    """Open a file for `os.pread`.

    Raises
    ------
    RawError
        If it is not there or may not be read. Other failures of the file system stay OSError, so
        that a caller can try again.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RawError(
            "the file is not there (any more)",
            file=str(path),
            hint="put it back, or ingest it from where it is now",
        ) from error
    except PermissionError as error:
        raise RawError("the file may not be read", file=str(path), hint="mend its mode") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_fits(path: str | Path) -> FitsFile:
    """Parse the headers of all HDUs of a file.

    Raises
    ------
    RawError
        If the file is missing, a directory, empty, truncated or not FITS.
    """
    name = str(path)
    with raw_file(path) as descriptor:
        size = os.fstat(descriptor).st_size
        if size == 0:
            raise RawError("the file is empty", file=name, hint=_TRANSFER)
        try:
            if os.pread(descriptor, 2, 0) == _GZIP:
                logger.info(
                    "%s is gzipped as a whole, so every band of rows unpacks all of it: "
                    "`fpack` instead keeps it as small and much quicker to read",
                    name,
                )
                return FitsFile(name, size, _unpacked(path), True)
            hdus = read_hdus(lambda at, count: os.pread(descriptor, count, at), size)
        except HeaderError as error:
            raise RawError(str(error), file=name, hint=_TRANSFER) from error
        except IsADirectoryError as error:
            raise RawError("this is a directory", file=name, hint="name a file") from error
    return FitsFile(name, size, tuple(hdus), False)


def _unpacked(path: str | Path) -> tuple[Hdu, ...]:
    try:
        with gzip.open(path) as stream:
            content = stream.read()
    except (EOFError, gzip.BadGzipFile) as error:
        raise HeaderError(f"the file is truncated or damaged: {error}") from error
    return tuple(read_hdus(lambda at, count: content[at : at + count], len(content)))
