"""Fill a buffer from a place in a file."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from cpflow.errors import RawError


def pread_into(
    descriptor: int, path: str, hdu: int, buffer: npt.NDArray[np.uint8], offset: int
) -> None:
    """Fill a buffer from a file.

    Raises
    ------
    RawError
        If the file ends too early.
    """
    view = memoryview(buffer.data)
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            raise RawError(
                f"HDU {hdu}: the file ends at byte {offset + done}, {len(view) - done} bytes short",
                file=path,
                hint="it has been truncated since it was ingested: copy it again, or leave it out",
            )
        done += count
