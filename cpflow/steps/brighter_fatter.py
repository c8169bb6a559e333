"""Brighter-fatter correction of exposures (spec 2.14)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import ProductError
from cpflow.exposure import Exposure
from cpflow.kernels.brighter_fatter import brighter_fatter_correction, converge
from cpflow.kernels.interpolate import interpolate_rows
from cpflow.kernels.masks import grow
from cpflow.kernels.planes import BAD, EDGE, NO_DATA, SAT, UNMASKEDNAN
from cpflow.kernels.statistics import clipped_statistics
from cpflow.stack import Context, Frame
from cpflow.stack.geometry import assemble_array, slabs
from cpflow.steps.electronics import gains_of
from cpflow.steps.options import Isr
from cpflow.steps.repair import row_means

logger = logging.getLogger(__name__)

BRIGHTER_FATTER = "brighter_fatter"
KERNEL = "bfk"
# Products have kernels of 17 or 21 pixels; the derivatives reach one more.
KERNEL_HALF = 10
_KERNEL_SIDE = 2 * KERNEL_HALF + 1
_DOUBTFUL = BAD | SAT | NO_DATA | UNMASKEDNAN


@dataclass(frozen=True, slots=True)
class Convergence:
    """How the iteration went: passes made, the sum of all changes in the last, and if it ended."""

    iterations: int
    change: float
    converged: bool
    level: float = 0.0
    """Mean of the good pixels, electrons, where there are bad ones."""


@dataclass(frozen=True, slots=True)
class MeasureConvergence:
    """Find how many passes the correction of a whole exposure takes."""

    options: Isr

    def __call__(self, frame: Frame, context: Context) -> Convergence:
        """Iterate on the whole detector; the result is used when bands are corrected."""
        gains = _factors(frame, context)
        electrons = frame.image * gains[:, None, None]
        image = assemble_array(context.detector, electrons)
        doubtful = _doubtful(frame)
        level = 0.0
        if doubtful is not None:
            bad = assemble_array(context.detector, doubtful)
            level = float(clipped_statistics(image, ~bad).mean)
            _bridge(image, bad, level)
        kernel = context.shared[KERNEL]
        if max(kernel.shape) > _KERNEL_SIDE or any(
            n > most for n, most in zip(kernel.shape, context.detector.shape, strict=True)
        ):
            raise ProductError(
                f"the brighter-fatter kernel has {kernel.shape[0]} x {kernel.shape[1]} pixels; as "
                f"many as the detector has, and {_KERNEL_SIDE} x {_KERNEL_SIDE}, are the most that "
                "can be applied"
            )
        found = converge(
            image,
            kernel,
            self.options.brighter_fatter_iterations,
            self.options.brighter_fatter_threshold,
            method=self.options.brighter_fatter_method,
        )
        if not found.converged:
            logger.warning(
                "exposure %d: the brighter-fatter correction still changes by %.3g electrons after "
                "%d passes",
                context.exposure.exposure,
                found.changes[-1],
                found.iterations,
                extra={"exposure": context.exposure.exposure, "detector": context.detector.id},
            )
        return Convergence(found.iterations, float(found.changes[-1]), found.converged, level)


@dataclass(frozen=True, slots=True)
class CorrectBrighterFatter:
    """Add the correction; pixels near a border keep their values (spec 2.14)."""

    options: Isr

    @property
    def halo(self) -> int:
        """Rows that the last pass draws on, if all passes are needed, and that masks grow by.

        No less than make a single row as high as a kernel.
        """
        passes = self.options.brighter_fatter_iterations
        reach = max(passes * (KERNEL_HALF + 1), 2 * KERNEL_HALF)
        return reach + self.options.brighter_fatter_grow

    def __call__(self, frame: Frame, context: Context) -> Frame:
        """Correct a trimmed frame in place."""
        kernel = context.shared[KERNEL]
        done: Convergence = context.measured[BRIGHTER_FATTER]
        gains = _factors(frame, context)[:, None, None]
        electrons = frame.image * gains
        doubtful = _doubtful(frame)
        if self.options.nan_mask:
            unknown = ~np.isfinite(frame.image)
            if unknown.any():
                frame.writable_mask()[unknown] |= np.uint16(UNMASKEDNAN)
        detector = context.detector
        correction = np.zeros_like(frame.image)
        for slab in slabs(detector, frame.rows):
            image = slab.gather(detector, electrons)
            if doubtful is not None:
                _bridge(image, slab.gather(detector, doubtful), done.level)
            added = brighter_fatter_correction(
                image,
                kernel,
                done.iterations,
                method=self.options.brighter_fatter_method,
                top_is_border=slab.y0 + slab.shape[0] == detector.shape[0],
                bottom_is_border=slab.y0 == 0,
            )
            slab.scatter(detector, added, correction)
        frame.image += correction / gains
        _flag(frame, context, kernel.shape[0] // 2, self.options.brighter_fatter_grow)
        return frame


def _flag(frame: Frame, context: Context, half: int, radius: int) -> None:
    """Set EDGE where the kernel leaves the detector, and grow what was bridged (spec 2.12)."""
    detector = context.detector
    rows, columns = detector.shape
    mask = frame.writable_mask()
    for slab in slabs(detector, frame.rows):
        part = slab.gather(detector, mask)
        y = np.arange(slab.y0, slab.y0 + slab.shape[0])
        x = np.arange(slab.x0, slab.x0 + slab.shape[1])
        part[np.minimum(y, rows - 1 - y) <= half] |= np.uint16(EDGE)
        part[:, np.minimum(x, columns - 1 - x) <= half] |= np.uint16(EDGE)
        if radius:
            for plane in (BAD, SAT, NO_DATA, UNMASKEDNAN):
                pixels = (part & np.uint16(plane)) != 0
                if pixels.any():
                    part[grow(pixels, radius)] |= np.uint16(plane)
        slab.scatter(detector, part, mask)


def _factors(frame: Frame, context: Context) -> npt.NDArray[np.float32]:
    """Return what the pixels of each amplifier are multiplied by to be electrons."""
    if frame.units == "electron":
        return np.ones(len(frame.image), np.float32)
    return gains_of(context).astype(np.float32)


def _doubtful(frame: Frame) -> npt.NDArray[np.bool_] | None:
    # What is not a number is flagged only later, and would spread by half a kernel in each pass.
    found = ~np.isfinite(frame.image)
    if frame.mask is not None:
        found |= (frame.mask & np.uint16(_DOUBTFUL)) != 0
    return found if found.any() else None


def _bridge(image: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_], level: float) -> None:
    """Interpolate bad pixels; a row without any good one gets the level of the image.

    As zero it would be a cliff, over which the correction would move charge into its neighbours.
    """
    touched = np.flatnonzero(bad.any(axis=1))
    if len(touched):
        part = image[touched]
        interpolate_rows(part, None, bad[touched], row_means(part, bad[touched]))
        fill = level if np.isfinite(level) else 0.0
        image[touched] = np.nan_to_num(part, nan=fill, posinf=fill, neginf=fill)


def brighter_fatter_passes(
    values: Sequence[Mapping[str, Any] | None],
    exposures: Sequence[Exposure],
    shared: Mapping[str, Any],
) -> npt.NDArray[np.int64]:
    """Return the passes of each exposure; negative where it did not converge, 0 where left out."""
    passes = np.zeros(len(values), np.int64)
    for i, item in enumerate(values):
        if item is not None:
            done: Convergence = item[BRIGHTER_FATTER]
            passes[i] = done.iterations if done.converged else -done.iterations
    return passes
