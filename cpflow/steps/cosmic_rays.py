"""Rejection of cosmic rays on each exposure (spec 4.2)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import RawError
from cpflow.exposure import Exposure
from cpflow.kernels.cosmic_rays import CosmicRayCriteria, find_cosmic_rays
from cpflow.kernels.masks import grow
from cpflow.kernels.planes import BAD, CR
from cpflow.stack import Choice, Context, Frame, Stack
from cpflow.stack.geometry import assemble_array, slabs, split_array
from cpflow.steps.electronics import check_variance
from cpflow.steps.lacosmic import check_installed, lacosmic_mask
from cpflow.steps.options import CosmicRays

logger = logging.getLogger(__name__)

COSMIC_RAYS = "cosmic_rays"
FLAGGED = "cosmic_ray_flags"
# Fewer exposures cannot tell a hot pixel from two rays at one place.
_FEW = 4


@dataclass(frozen=True, slots=True)
class Rays:
    """Pixels that look like cosmic rays in one exposure.

    Parameters
    ----------
    places : array of int64, shape (pixel,)
        ``(row * amplifiers + amplifier) * columns + column`` in the readout frame of the imaging
        boxes, ascending: those of a band of rows are side by side.
    group : array of int32, shape (pixel,)
        Pixels that touch each other in the detector have the same number, from 0.
    signal : array of float32, shape (pixel,)
        Above the median of the image, in its unit; not below zero.
    """

    places: npt.NDArray[np.int64]
    group: npt.NDArray[np.int32]
    signal: npt.NDArray[np.float32]


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

    Raises
    ------
    ConfigurationError
        If the method needs a package that is not installed.
    """
    if not options.enabled:
        return exposures
    if options.method == "lacosmic":
        check_installed()
    check_variance(exposures, "finding cosmic rays")
    found = exposures.measure(COSMIC_RAYS, FindCosmicRays(options))
    return found.solve(FLAGGED, TellHotPixels(options.persistent)).then(
        FlagCosmicRays(options.grow)
    )


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
        if options.method == "lacosmic":
            mask = lacosmic_mask(frame, detector, options)
            too_many = int(np.count_nonzero(mask)) > options.max_pixels
            if too_many:
                mask[:] = False
        else:
            mask, too_many = self._by_shape(frame, detector)
        if too_many:
            text = f"more than {options.max_pixels} pixels look like cosmic rays"
            if options.too_many == "fail":
                raise RawError(
                    text,
                    hint="look at it: light, or missing defects? "
                    "cosmic_rays.too_many=warn goes on without rejection on this exposure",
                )
            logger.warning(
                "exposure %d: %s; none is rejected",
                context.exposure.exposure,
                text,
                extra={"exposure": context.exposure.exposure, "detector": detector.id},
            )
        return rays_of(detector, mask, frame.image)

    def _by_shape(self, frame: Frame, detector: Detector) -> tuple[npt.NDArray[np.bool_], bool]:
        """Return the pixels, and whether there are too many to be believed."""
        options = self.options
        assert frame.variance is not None
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
                # Grown only once hot pixels are told from rays: what grows around them is nothing.
                grow=0,
                max_pixels=options.max_pixels,
            ),
        )
        return found.mask, found.too_many


def rays_of(
    detector: Detector, mask: npt.NDArray[np.bool_], image: npt.NDArray[np.float32]
) -> Rays:
    """Return the pixels of a mask in the detector frame, with the groups that they form.

    `image` has the shape (amp, y, x) of the readout frame.
    """
    from scipy.ndimage import label

    labels, _ = label(mask, np.ones((3, 3), np.int8), output=np.int32)
    split = split_array(detector, labels, range(detector.imaging_shape[0])).transpose(1, 0, 2)
    row, amplifier, column = np.nonzero(split)
    amplifiers, _, columns = image.shape
    # A row that is bad throughout is NaN, and says nothing of the others.
    known = image[np.isfinite(image)]
    signal = image[amplifier, row, column] - (np.median(known) if known.size else 0)
    return Rays(
        (row * amplifiers + amplifier) * columns + column,
        split[row, amplifier, column] - np.int32(1),
        np.nan_to_num(np.maximum(signal, 0)),
    )


@dataclass(frozen=True, slots=True)
class TellHotPixels:
    """Tell rays from hot pixels: those are at the same place in most exposures.

    The finder takes a hot pixel for a ray, and sometimes noisy neighbours with it. A group of
    pixels is therefore no ray if half of its signal or more is where most exposures have one; of a
    track that crosses a hot pixel, the other pixels stay flagged.
    """

    fraction: float

    def __call__(
        self,
        values: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> Choice:
        """Return the places that are rays, for each exposure; with few exposures all of them."""
        found = [None if item is None else item[COSMIC_RAYS] for item in values]
        known = [rays for rays in found if rays is not None]
        size = max((int(rays.places[-1]) + 1 for rays in known if len(rays.places)), default=0)
        counts = np.zeros(size, np.uint16)
        for rays in known:
            counts[rays.places] += 1
        often = counts > self.fraction * len(known)
        if len(known) < _FEW:
            often[:] = False
        kept = tuple(
            np.empty(0, np.int64) if rays is None else _rays_among(rays, often) for rays in found
        )
        return Choice(kept, tuple(range(len(kept))))


def _rays_among(rays: Rays, often: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    if len(rays.places) == 0:
        return rays.places
    hot = often[rays.places]
    total = np.bincount(rays.group, weights=rays.signal)
    is_hot = (total > 0) & (np.bincount(rays.group, weights=rays.signal * hot) >= 0.5 * total)
    return rays.places[~hot & ~is_hot[rays.group]]


@dataclass(frozen=True, slots=True)
class FlagCosmicRays:
    """Set the plane CR around where a whole frame had rays, and clear BAD (spec 4.2)."""

    grow: int

    @property
    def halo(self) -> int:
        """Rows needed on each side: rays there grow into the frame."""
        return self.grow

    def __call__(self, frame: Frame, context: Context) -> Frame:
        """Flag the pixels that lie in the rows of the frame."""
        places: npt.NDArray[np.int64] = context.shared[FLAGGED]
        amplifiers, _, columns = frame.image.shape
        row = amplifiers * columns
        first, last = np.searchsorted(places, (frame.rows.start * row, frame.rows.stop * row))
        if frame.mask is not None:
            frame.mask &= np.uint16(0xFFFF & ~BAD)
        if last == first:
            return frame
        y, rest = np.divmod(places[first:last], row)
        a, x = np.divmod(rest, columns)
        rays = np.zeros(frame.image.shape, np.bool_)
        rays[a, y - frame.rows.start, x] = True
        mask = frame.writable_mask()
        for slab in slabs(context.detector, frame.rows):
            grown = grow(slab.gather(context.detector, rays), self.grow, "circular")
            if grown.any():
                flags = slab.gather(context.detector, mask)
                flags[grown] |= np.uint16(CR)
                slab.scatter(context.detector, flags, mask)
        return frame


def cosmic_ray_pixels(
    values: Sequence[Mapping[str, Any] | None],
    exposures: Sequence[Exposure],
    shared: Mapping[str, Any],
) -> npt.NDArray[np.int64]:
    """Count the pixels of rays of each exposure, not grown; -1 for one that was left out."""
    kept = shared[FLAGGED].values
    return np.array([-1 if item is None else len(kept[i]) for i, item in enumerate(values)])
