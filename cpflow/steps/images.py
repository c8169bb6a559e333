"""Arithmetic between exposures and image calibrations (spec 2.1, 2.10)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cpflow.errors import ProductError
from cpflow.kernels.planes import NO_DATA
from cpflow.stack import Frame, Planes

# What a pixel that a calibration knows nothing of claims to know (spec 2.10).
_NO_DATA_VARIANCE = np.float32(1e10)


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
    Where the calibration has no data the image becomes 0 with a variance of 1e10.

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
    if planes.mask is not None:
        nothing = (planes.mask & np.uint16(NO_DATA)) != 0
        if nothing.any():
            frame.image[nothing] = 0
            if frame.variance is not None:
                frame.variance[nothing] = _NO_DATA_VARIANCE


def in_units(
    name: str, calibration: Planes, expected: str, gains: npt.NDArray[np.float64] | None
) -> Planes:
    """Return a calibration in the unit that a frame needs.

    Parameters
    ----------
    name : str
        For the message.
    calibration : Planes
    expected : str
        As "adu/s".
    gains : array of float64, shape (amp,), or None
        Electrons per adu that the exposures are multiplied by. With them a calibration in the other
        unit is converted, which is exact.

    Raises
    ------
    ProductError
        If the unit is another one.
    """
    units = str(calibration.attrs.get("units"))
    if units == expected:
        return calibration
    if gains is not None:
        factor = None
        if units.replace("adu", "electron") == expected:
            factor = gains
        elif units == expected.replace("adu", "electron"):
            factor = 1 / gains
        if factor is not None:
            each = factor.astype(np.float32)[:, None, None]
            variance = calibration.variance
            return replace(
                calibration,
                image=calibration.image * each,
                variance=None if variance is None else variance * each**2,
            )
    raise ProductError(
        f"the {name} is in {units!r}, the exposures need {expected!r}",
        hint="build it with the same gain setting as the exposures",
    )


def _add_mask(frame: Frame, planes: Planes) -> None:
    if planes.mask is not None and planes.mask.any():
        frame.writable_mask()[...] |= planes.mask
