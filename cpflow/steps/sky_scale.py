"""The sky over the focal plane: where detectors lie, and its level in each exposure (spec 4.10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.kernels.detection import DetectionCriteria
from cpflow.kernels.focal_plane_sky import (
    Placement,
    SuperpixelGrid,
    superpixel_grid,
)
from cpflow.stack import Failure
from cpflow.steps.options import Sky
from cpflow.steps.sky_levels import refine_levels, superpixel_weights

SUPERPIXELS = "superpixels"
SKY_LEVELS = "sky_levels"


@dataclass(frozen=True, slots=True)
class FocalPlane:
    """Superpixels over some detectors.

    `placements` are by detector id; `full_count` is how many pixels cover a superpixel; `weights`
    are those of `superpixel_weights`.
    """

    placements: Mapping[int, Placement]
    grid: SuperpixelGrid
    full_count: float
    weights: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Superpixels:
    """What one detector adds to the superpixels of an exposure.

    `sums` and `counts` have the shape of the grid. `left_out` are the pixels of the detector that
    are no sky, packed along the columns: shape (rows, bytes), in the detector frame.
    """

    sums: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    left_out: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SkyLevel:
    """The sky of an exposure: its level in all superpixels, and one number, in adu or electrons."""

    levels: npt.NDArray[np.float64]
    scale: float


def placement(detector: Detector) -> Placement:
    """Return where a detector lies, in mm; in pixels if its camera file has no pixel size."""
    size = detector.pixel_size_mm or 1.0
    reference, centre = np.array(detector.reference_pixel), np.array(detector.centre_mm)
    return Placement(detector.shape, size * np.eye(2), centre - size * reference)


def criteria(options: Sky) -> DetectionCriteria:
    """Return how objects are detected."""
    return DetectionCriteria(
        sigma=options.detection_sigma,
        threshold=options.detection_threshold,
        grow_factor=options.detection_grow,
    )


def focal_planes(detectors: Sequence[Detector], options: Sky) -> list[tuple[int, ...]]:
    """Return which detectors, by id, have a model of the sky in common.

    All, or all of one type. A detector whose place is not known has one of its own.
    """
    groups: dict[Any, list[int]] = {}
    for detector in detectors:
        key: Any = detector.type if options.by_type else None
        if not detector.pixel_size_mm > 0:
            key = (detector.id,)
        groups.setdefault(key, []).append(detector.id)
    return [tuple(group) for group in groups.values()]


def focal_plane(detectors: Sequence[Detector], options: Sky) -> FocalPlane:
    """Lay superpixels over detectors.

    Notes
    -----
    Where superpixels are more than twice as large as the focal plane, all of it falls into one, or
    too small a part of one to count. They then have its size in x and y, and as on LATISS, with
    40.7 mm, there are 3 x 3, of which 2 x 2 each see a quarter of it. So it is with detectors
    without sizes in mm.
    """
    placements = {detector.id: placement(detector) for detector in detectors}
    corners = np.concatenate([placed.corners for placed in placements.values()])
    extent = np.ptp(corners, axis=0)
    size = np.full(2, options.superpixel_mm)
    if not detectors[0].pixel_size_mm > 0 or options.superpixel_mm > 2 * extent.max():
        size = extent
    grid = superpixel_grid(placements.values(), float(size[0]), float(size[1]))
    pixel = detectors[0].pixel_size_mm or 1.0
    border = criteria(options).kernel_width // 2
    weights = superpixel_weights(placements.values(), grid, border)
    return FocalPlane(placements, grid, float(size[0] * size[1]) / pixel**2, weights)


def solve_sky(
    plane: FocalPlane,
    options: Sky,
    exposures: Sequence[Sequence[int]],
    measured: Sequence[Sequence[Mapping[str, Any]]],
) -> dict[int, SkyLevel | None]:
    """Return the sky of each exposure from the superpixels of all detectors (spec 4.10 step 2).

    Parameters
    ----------
    plane : FocalPlane
    options : Sky
    exposures : sequence of sequence of int
        Exposure ids of each detector.
    measured : sequence of sequence of mapping
        What was measured of them.

    Returns
    -------
    dict of int to SkyLevel
        None where no superpixel saw enough of the sky.
    """
    sums: dict[int, npt.NDArray[np.float64]] = {}
    counts: dict[int, npt.NDArray[np.int64]] = {}
    for ids, values in zip(exposures, measured, strict=True):
        for id_, value in zip(ids, values, strict=True):
            if any(isinstance(item, Failure) for item in value.values()):
                continue
            part: Superpixels = value[SUPERPIXELS]
            sums[id_] = part.sums + sums.get(id_, 0)
            counts[id_] = part.counts + counts.get(id_, 0)
    return {id_: _level(sums[id_], counts[id_], plane, options) for id_ in sums}


def _level(
    sums: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    plane: FocalPlane,
    options: Sky,
) -> SkyLevel | None:
    seen = (counts > 0) & (counts >= options.min_fraction * plane.full_count)
    if not seen.any():
        return None
    means = np.divide(sums, counts, where=seen, out=np.full(sums.shape, np.nan))
    levels = refine_levels(means, plane.weights, options.interpolation, options.refinements)
    if options.scale_from == "filled":
        return SkyLevel(levels, float(np.median(levels)))
    return SkyLevel(levels, float(sums[seen].sum() / counts[seen].sum()))
