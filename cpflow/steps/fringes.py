"""Fringes in exposures: how strong they are, and their subtraction (spec 2.10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import RawError
from cpflow.exposure import Exposure
from cpflow.kernels.fringe import measure_fringes
from cpflow.kernels.planes import BAD, NO_DATA, SAT, UNMASKEDNAN
from cpflow.stack import Context, Frame, Planes
from cpflow.stack.geometry import assemble_array
from cpflow.steps.images import in_units

FRINGE = "fringe"
FRINGE_AMPLITUDE = "fringe_amplitude"
_UNUSABLE = BAD | SAT | NO_DATA | UNMASKEDNAN


@dataclass(frozen=True, slots=True)
class MeasureFringe:
    """Measure how strong the fringes of the filter are in a whole exposure."""

    def __call__(self, frame: Frame, context: Context) -> float:
        """Return the factor of the fringe frame, in the units of the exposure.

        Raises
        ------
        RawError
            If too few pixels are usable to tell.
        """
        if FRINGE not in context.shared:
            return 0.0
        planes: Planes = in_units(FRINGE, context.shared[FRINGE], "1", None)
        detector = context.detector
        usable = None
        if frame.mask is not None:
            usable = assemble_array(detector, (frame.mask & np.uint16(_UNUSABLE)) == 0)
        found = measure_fringes(
            assemble_array(detector, frame.image),
            [assemble_array(detector, planes.image)],
            context.exposure.exposure,
            usable,
        )
        amplitude = float(found.amplitudes[0])
        if not np.isfinite(amplitude):
            raise RawError(
                "too few pixels are usable to tell how strong its fringes are",
                hint="-c isr.fringe=false",
            )
        return amplitude


@dataclass(frozen=True, slots=True)
class SubtractFringe:
    """Subtract the fringe frame times the amplitude of the exposure."""

    halo: int = 0

    def __call__(self, frame: Frame, context: Context) -> Frame:
        """Correct a frame in place."""
        amplitude = context.measured[FRINGE_AMPLITUDE]
        if amplitude == 0:
            return frame
        planes: Planes = context.shared[FRINGE].part(frame.rows)
        frame.image -= np.float32(amplitude) * planes.image
        return frame


def fringe_amplitudes(
    values: Sequence[Mapping[str, Any] | None],
    exposures: Sequence[Exposure],
    shared: Mapping[str, Any],
) -> npt.NDArray[np.float64]:
    """Return the amplitude of each exposure; NaN for one that was left out."""
    return np.array([np.nan if item is None else item[FRINGE_AMPLITUDE] for item in values])
