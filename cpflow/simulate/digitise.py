"""Analogue counts to the integers of a file."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cpflow.camera import Detector
from cpflow.options import Options

FULL_16_BIT = 65535

Counts: TypeAlias = NDArray[np.integer[Any]]
"""Pixels of a file: int32 or uint16."""


class Digitise(Options):
    """How counts become integers."""

    type: Literal["auto", "uint16", "int32"] = "auto"
    """Pixel type of the files; auto: int32 if an amplifier saturates beyond 65,535 adu."""
    maximum: int | None = None
    """Largest count of the converter; by default the largest that its bits hold (16 or 18)."""


def counts_beyond_16_bits(model: Digitise, detector: Detector) -> bool:
    """Whether the files of this detector hold int32 rather than uint16."""
    if model.type != "auto":
        return model.type == "int32"
    return any(amplifier.saturation > FULL_16_BIT for amplifier in detector)


def digitise(counts: NDArray[np.float32], wide: bool, maximum: int | None = None) -> Counts:
    """Round to the nearest count and clip to the range of the converter.

    Rounding a signal whose noise is more than half a count adds a variance of 1/12 adu^2 and
    leaves the mean (Widrow & Kollar 2008, section 5).

    Parameters
    ----------
    counts : ndarray of float32
        Analogue signal in adu, bias level included. Left as it is.
    wide : bool
        Give int32 from an 18-bit converter, otherwise uint16 from a 16-bit one.
    maximum : int, optional
        Largest count, if not all bits are used.

    Returns
    -------
    ndarray of int32 or uint16
    """
    top = maximum if maximum is not None else (2**18 - 1 if wide else FULL_16_BIT)
    rounded = np.clip(np.rint(counts), 0, top)
    return rounded.astype(np.int32) if wide else rounded.astype(np.uint16)
