"""Dark current, response to light, and where there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cpflow.errors import RawError
from cpflow.kernels.planes import UNMASKEDNAN
from cpflow.stack import Context, Frame
from cpflow.steps.borders import flag_edges, flag_vignetted
from cpflow.steps.electronics import gains_of
from cpflow.steps.images import divide, in_units, subtract
from cpflow.steps.options import Isr


@dataclass(frozen=True, slots=True)
class CorrectLight:
    """Subtract the dark, divide by the flat, flag edges, vignetting and what is not a number."""

    options: Isr
    halo: int = 0

    def __call__(self, frame: Frame, context: Context) -> Frame:
        """Correct a trimmed frame in place."""
        options = self.options
        if options.dark:
            gains = None if frame.units == "adu" else gains_of(context)
            dark = in_units("dark", context.shared["dark"], f"{frame.units}/s", gains)
            subtract(frame, dark, dark_time(context))
        flag_edges(frame, context.detector, options)
        flag_vignetted(frame, context.detector, options.vignette)
        # An exposure without light takes no flat.
        if options.flat and "flat" in context.shared:
            divide(frame, in_units("flat", context.shared["flat"], "1", None))
        if options.nan_mask:
            unknown = ~np.isfinite(frame.image)
            if unknown.any():
                frame.writable_mask()[unknown] |= np.uint16(UNMASKEDNAN)
        return frame


def dark_time(context: Context) -> float:
    """Return the seconds of dark current (spec 2.10).

    Raises
    ------
    RawError
        If the header does not say.
    """
    time = context.exposure.dark_time
    if time is None or not np.isfinite(time):
        raise RawError(
            "it has no dark time, so its dark current is unknown",
            hint="mend DARKTIME in its header, or -c isr.dark=false",
        )
    return time
