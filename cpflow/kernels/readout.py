"""From raw counts to overscan-subtracted, trimmed pixels in one pass over memory."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from cpflow.kernels.planes import SAT, SUSPECT

_SAT = np.uint16(SAT)
_SUSPECT = np.uint16(SUSPECT)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _subtract(raw, level, columns, x0, saturation, suspect, subtracted, image, mask):  # type: ignore[no-untyped-def]
    amplifiers, rows, width = image.shape
    flagged = 0
    for a in range(amplifiers):
        sat = saturation[a]
        sus = suspect[a]
        for y in range(rows):
            base = level[a, y]
            count = 0
            for x in range(width):
                value = np.float64(raw[a, y, x0 + x])
                corrected = value - base - columns[a, x]
                image[a, y, x] = np.float32(corrected)
                tested = corrected if subtracted else value
                bits = (_SAT if tested >= sat else np.uint16(0)) | (
                    _SUSPECT if tested >= sus else np.uint16(0)
                )
                mask[a, y, x] = bits
                count += bits != 0
            flagged += count
    return flagged


def subtract_overscan(
    raw: npt.NDArray[Any],
    level: npt.NDArray[np.float64],
    columns: npt.NDArray[np.float64],
    x0: int,
    saturation: npt.NDArray[np.float64],
    suspect: npt.NDArray[np.float64],
    *,
    test_subtracted: bool = False,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint16] | None]:
    """Flag saturated pixels, subtract the overscan models and trim to the imaging columns.

    Parameters
    ----------
    raw : array, shape (amp, rows, raw columns)
        Raw counts in the readout frame, adu.
    level : array of float64, shape (amp, rows)
        Serial overscan model of each row, adu.
    columns : array of float64, shape (amp, imaging columns)
        Parallel overscan model of each column, adu; zeros where there is none.
    x0 : int
        First imaging column.
    saturation, suspect : array of float64, shape (amp,)
        Levels in adu; a pixel at or above it is flagged (spec 2.1), NaN flags nothing.
    test_subtracted : bool
        Test the levels after the overscan is subtracted (ERA26) instead of before (ERA21).

    Returns
    -------
    image : array of float32, shape (amp, rows, imaging columns)
    mask : array of uint16 or None
        None where no pixel is flagged.

    Notes
    -----
    Spec 2.2 steps 1, 3, 4 and 6; 2.5; 2.6 point 6. Differences are float64, rounded once.
    """
    amplifiers, rows, _ = raw.shape
    image = np.empty((amplifiers, rows, columns.shape[1]), np.float32)
    mask = np.empty(image.shape, np.uint16)
    flagged = _subtract(raw, level, columns, x0, saturation, suspect, test_subtracted, image, mask)
    return image, mask if flagged else None
