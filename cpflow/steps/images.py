"""Arithmetic between exposures and image calibrations (spec 2.1, 2.10)."""

from __future__ import annotations

import numpy as np

from cpflow.errors import ProductError
from cpflow.stack import Frame, Planes


def subtract(frame: Frame, calibration: Planes, factor: float = 1.0) -> None:
    """Subtract `factor` times a calibration from a frame, in place.

    I = A - c B, V = V_A + c^2 V_B; the calibration's mask bits flow into the exposure.

    Parameters
    ----------
    frame : Frame
        Float32, trimmed.
    calibration : Planes
    factor : float
        1 for a bias, the exposure's dark time in seconds for a dark.
    """
    planes = calibration.part(frame.rows)
    frame.image -= planes.image if factor == 1.0 else np.float32(factor) * planes.image
    if frame.variance is not None and planes.variance is not None:
        frame.variance += np.float32(factor * factor) * planes.variance
    _add_mask(frame, planes)


def divide(frame: Frame, calibration: Planes) -> None:
    """Divide a frame by a calibration, in place.

    I = A / B, V = (A^2 V_B + B^2 V_A) / B^4; the calibration's mask bits flow into the exposure.

    Parameters
    ----------
    frame : Frame
        Float32, trimmed.
    calibration : Planes
    """
    planes = calibration.part(frame.rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        if frame.variance is not None:
            own = frame.variance / planes.image**2
            if planes.variance is not None:
                own += frame.image**2 * planes.variance / planes.image**4
            frame.variance = own
        frame.image /= planes.image
    _add_mask(frame, planes)


def check_units(name: str, calibration: Planes, expected: str) -> None:
    """Refuse a calibration whose unit does not fit the frame.

    Raises
    ------
    ProductError
    """
    units = calibration.attrs.get("units")
    if units != expected:
        raise ProductError(
            f"the {name} is in {units!r}, the exposures need {expected!r}",
            hint="build it with the same gain setting as the exposures",
        )


def _add_mask(frame: Frame, planes: Planes) -> None:
    if planes.mask is not None and planes.mask.any():
        frame.writable_mask()[...] |= planes.mask
