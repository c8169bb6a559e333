"""Widening of saturation trails and interpolation, along rows of the assembled detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.kernels.interpolate import interpolate_rows
from cpflow.kernels.masks import grow, widen_trails
from cpflow.kernels.planes import BAD, INTRP, SAT, UNMASKEDNAN
from cpflow.stack import Context, Frame
from cpflow.stack.geometry import Slab, slabs
from cpflow.steps.options import Isr


@dataclass(frozen=True, slots=True)
class Repair:
    """Widen saturation trails (spec 2.5) and interpolate over bad pixels (spec 2.13)."""

    options: Isr

    @property
    def halo(self) -> int:
        """Rows needed on each side: a saturated pixel is grown before it is interpolated."""
        return self.options.grow_saturation if self.options.interpolate else 0

    def __call__(self, frame: Frame, context: Context) -> Frame:
        """Repair the frame in place."""
        if frame.mask is not None:
            _repair(frame, context.detector, self.options)
        return frame


def _repair(frame: Frame, detector: Detector, options: Isr) -> None:
    mask = frame.writable_mask()
    planes = BAD | UNMASKEDNAN | (SAT if options.saturation_interpolation else 0)
    if not (mask & np.uint16(SAT | planes)).any():
        return
    for slab in slabs(detector, frame.rows):
        rows = slab.gather(detector, mask)
        if not (rows & np.uint16(SAT | planes)).any():
            continue
        saturated = (rows & np.uint16(SAT)) != 0
        if options.widen_saturation_trails and saturated.any():
            saturated = widen_trails(saturated)
            rows[saturated] |= np.uint16(SAT)
        if options.interpolate:
            bad = (rows & np.uint16(planes & ~SAT)) != 0
            if options.saturation_interpolation and saturated.any():
                bad |= grow(saturated, options.grow_saturation)
            _interpolate(frame, detector, slab, rows, bad)
        slab.scatter(detector, rows, mask)


def _interpolate(
    frame: Frame,
    detector: Detector,
    slab: Slab,
    rows: npt.NDArray[np.uint16],
    bad: npt.NDArray[np.bool_],
) -> None:
    """Replace bad pixels of a slab from their neighbours in the row, and say so in its mask."""
    touched = np.flatnonzero(bad.any(axis=1))
    if len(touched) == 0:
        return
    image = slab.gather(detector, frame.image)
    variance = None if frame.variance is None else slab.gather(detector, frame.variance)
    part, where = image[touched], bad[touched]
    part_variance = None if variance is None else variance[touched]
    interpolate_rows(part, part_variance, where, row_means(part, where))
    image[touched] = part
    slab.scatter(detector, image, frame.image)
    if variance is not None and part_variance is not None and frame.variance is not None:
        variance[touched] = part_variance
        slab.scatter(detector, variance, frame.variance)
    rows[bad] |= np.uint16(INTRP)
    rows[bad & ~np.isfinite(image)] |= np.uint16(UNMASKEDNAN)


def row_means(
    image: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Return the mean of each row's good pixels, what a bad run at the border is filled with.

    Spec 2.13 takes the clipped mean of the image, which a band does not know. A row without any
    good pixel gives NaN.
    """
    good = ~bad & np.isfinite(image)
    counts = good.sum(axis=1)
    sums = np.where(good, image, 0).sum(axis=1, dtype=np.float64)
    means = np.full(len(image), np.nan, np.float32)
    np.divide(sums, counts, out=means, where=counts > 0, casting="unsafe")
    return means
