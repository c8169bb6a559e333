"""Rejection of cosmic rays on each exposure (spec 4.2)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import RawError
from cpflow.exposure import Exposure
from cpflow.kernels.cosmic_rays import CosmicRayCriteria, find_cosmic_rays
from cpflow.kernels.planes import BAD, CR
from cpflow.stack import Context, Frame, Stack
from cpflow.stack.geometry import assemble_array, split_array
from cpflow.steps.options import CosmicRays

logger = logging.getLogger(__name__)

COSMIC_RAYS = "cosmic_rays"
PERSISTENT = "persistent_pixels"
# Fewer exposures cannot tell a hot pixel from two rays at one place.
_FEW = 4


@dataclass(frozen=True, slots=True)
class Rays:
    """Pixels of cosmic rays of one exposure, by readout row.

    Parameters
    ----------
    amplifier, row, column : array of int32, shape (pixel,)
        In the readout frame of the imaging boxes, ordered by row.
    """

    amplifier: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    column: npt.NDArray[np.int32]

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """One number for each pixel, the same in every exposure."""
        row, amplifier = self.row.astype(np.int64), self.amplifier.astype(np.int64)
        return np.asarray(row * 2**32 + amplifier * 2**20 + self.column, np.int64)


def reject_cosmic_rays(exposures: Stack, options: CosmicRays) -> Stack:
    """Flag cosmic rays on every exposure; lazy.

    Pixels keep their values: a combination leaves out those with the plane CR. The finder takes
    hot pixels for rays; what it flags at the same place in most exposures is none, and is not
    flagged.

    Parameters
    ----------
    exposures : Stack
        Signature removed, not yet scaled.
    options : CosmicRays

    Returns
    -------
    Stack
    """
    if not options.enabled:
        return exposures
    found = exposures.measure(COSMIC_RAYS, FindCosmicRays(options))
    return found.solve(PERSISTENT, PersistentPixels(options.persistent)).then(FlagCosmicRays())


@dataclass(frozen=True, slots=True)
class FindCosmicRays:
    """Find the cosmic rays of a whole detector."""

    options: CosmicRays
    wants_variance: bool = True

    def __call__(self, frame: Frame, context: Context) -> Rays:
        """Return the pixels of rays.

        Raises
        ------
        RawError
            If there are more seeds than are believed and the policy is not to go on.
        """
        if frame.variance is None:
            raise ValueError("cosmic rays are found with a variance plane: isr.variance=true")
        options, detector = self.options, context.detector
        found = find_cosmic_rays(
            assemble_array(detector, frame.image),
            assemble_array(detector, frame.variance),
            assemble_array(detector, frame.writable_mask()),
            CosmicRayCriteria(
                min_sigma=options.min_sigma,
                min_sum=options.min_sum,
                noise_factor=options.noise_factor,
                star_factor=options.star_factor,
                iterations=options.iterations,
                psf_fwhm=options.psf_fwhm,
                grow=options.grow,
                max_pixels=options.max_pixels,
            ),
        )
        if found.too_many:
            text = f"more than {options.max_pixels} pixels look like cosmic rays"
            if options.too_many == "fail":
                raise RawError(
                    text,
                    hint="look at it: light, or missing defects? "
                    "cosmic_rays.too_many=warn goes on without rejection on this exposure",
                )
            logger.warning("exposure %d: %s; none is rejected", context.exposure.exposure, text)
        mask = split_array(detector, found.mask, range(detector.imaging_shape[0]))
        row, amplifier, column = np.nonzero(mask.transpose(1, 0, 2))
        return Rays(amplifier.astype(np.int32), row.astype(np.int32), column.astype(np.int32))


@dataclass(frozen=True, slots=True)
class PersistentPixels:
    """Pixels that look like rays in more than a fraction of the exposures, as sorted `places`."""

    fraction: float

    def __call__(
        self,
        values: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> npt.NDArray[np.int64]:
        """Return the places; none where there are too few exposures to tell."""
        found = [item[COSMIC_RAYS].places for item in values if item is not None]
        if len(found) < _FEW:
            return np.empty(0, np.int64)
        places, counts = np.unique(np.concatenate(found), return_counts=True)
        return places[counts > self.fraction * len(found)]


@dataclass(frozen=True, slots=True)
class FlagCosmicRays:
    """Set the plane CR where a whole frame had cosmic rays, and clear BAD (spec 4.2 point 5)."""

    halo: int = 0

    def __call__(self, frame: Frame, context: Context) -> Frame:
        """Flag the pixels that lie in the rows of the frame."""
        rays: Rays = context.measured[COSMIC_RAYS]
        first, last = np.searchsorted(rays.row, (frame.rows.start, frame.rows.stop))
        here = slice(first, last)
        if frame.mask is not None:
            frame.mask &= np.uint16(0xFFFF & ~BAD)
        hit = ~np.isin(rays.places[here], context.shared[PERSISTENT])
        if hit.any():
            a, y, x = (part[here][hit] for part in (rays.amplifier, rays.row, rays.column))
            frame.writable_mask()[a, y - frame.rows.start, x] |= np.uint16(CR)
        return frame


def cosmic_ray_pixels(
    values: Sequence[Mapping[str, Any] | None],
    exposures: Sequence[Exposure],
    shared: Mapping[str, Any],
) -> npt.NDArray[np.int64]:
    """Count the pixels of rays of each exposure; -1 for one that could not be used."""
    return np.array([-1 if item is None else len(item[COSMIC_RAYS].row) for item in values])
