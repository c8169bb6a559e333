"""The variance plane: shot noise and read noise (spec 2.11)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Unit = Literal["adu", "electron"]


def variance_plane(
    image: npt.NDArray[np.float32],
    gain: float,
    read_noise: float,
    *,
    unit: Unit = "adu",
    read_noise_unit: Unit = "electron",
) -> npt.NDArray[np.float32]:
    """Predict the variance of each pixel from its value.

    Parameters
    ----------
    image : array of float32, any shape
        Bias-subtracted pixels, in `unit`.
    gain : float
        Electrons per adu.
    read_noise : float
        In `read_noise_unit`.
    unit : str
        ``"adu"`` or ``"electron"``.
    read_noise_unit : str
        ``"electron"`` for a camera's read noise, ``"adu"`` for one measured in the overscan.

    Returns
    -------
    array of float32
        ``I/gain + (RN/gain)**2`` in adu**2, or ``I + RN**2`` in electron**2, with the read noise RN
        in electrons. A pixel below zero has less than the read noise, even a variance below zero:
        the shot-noise term is not cut off, as in the reference, which would bias averages. A pixel
        that is not finite has no finite variance.

    Raises
    ------
    ValueError
        If the gain is not positive, the read noise negative, or a unit unknown.

    Notes
    -----
    Spec 2.11. The reference of 2021 added the square of a read noise in electrons to adu**2, wrong
    by the gain squared; here the units are right in each case.
    """
    if not gain > 0 or not np.isfinite(gain):
        raise ValueError(f"a gain has to be positive, not {gain}")
    if not read_noise >= 0:
        raise ValueError(f"a read noise has to be zero or more, not {read_noise}")
    for name in (unit, read_noise_unit):
        if name not in ("adu", "electron"):
            raise ValueError(f"units are adu or electron, not {name!r}")
    per_count = 1.0 / gain if unit == "adu" else 1.0
    if unit == read_noise_unit:
        noise = read_noise
    else:
        noise = read_noise / gain if unit == "adu" else read_noise * gain
    # One float32 multiply and add; the two constants are rounded once.
    variance = np.multiply(image, np.float32(per_count), dtype=np.float32)
    variance += np.float32(noise**2)
    return variance
