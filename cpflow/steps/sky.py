"""The sky frame of a filter: what the sky has that no model of the focal plane has (spec 4.10).

Of each exposure the sky is measured in superpixels of some cm, by all detectors together. That
model is subtracted, the rest divided by the level of the sky and binned; the frame of a detector is
the mean of these bins over all exposures, without objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import DataError, RawError
from cpflow.exposure import Exposure
from cpflow.kernels.background import bin_count, bin_statistics
from cpflow.kernels.clipped_mean import clipped_mean
from cpflow.kernels.focal_plane_sky import add_to_superpixels, sky_on_detector
from cpflow.kernels.objects import find_objects, fit_background
from cpflow.kernels.planes import bits
from cpflow.stack import Context, Failure, Frame, Stack, solve_together
from cpflow.stack.geometry import assemble_array
from cpflow.steps.electronics import check_variance
from cpflow.steps.gathered import dropped_exposures
from cpflow.steps.options import Sky
from cpflow.steps.sky_scale import (
    SKY_LEVELS,
    SUPERPIXELS,
    FocalPlane,
    SkyLevel,
    Superpixels,
    criteria,
    focal_plane,
    focal_planes,
    solve_sky,
)

if TYPE_CHECKING:
    import xarray as xr

SKY_BINS = "sky_bins"
# What objects are not looked for in, and what the background model replaces in superpixels.
_REPLACED = bits(("DETECTED", "BAD", "NO_DATA", "SAT", "UNMASKEDNAN"))
# What is never part of a superpixel or a bin.
_NO_SKY = bits(
    ("BAD", "SAT", "INTRP", "EDGE", "DETECTED_NEGATIVE", "NO_DATA", "VIGNETTED", "UNMASKEDNAN")
)
# Bins that a background has along the shorter side of a detector at least. A constant is none where
# the sky has a slope: half of it would be an object.
_COARSE, _FINE = 4, 8


def combine_sky(stacks: Mapping[int, Stack], options: Sky) -> dict[int, xr.Dataset]:
    """Combine exposures of the sky to a sky frame of each detector; lazy.

    Parameters
    ----------
    stacks : mapping of int to Stack
        By detector: exposures of one filter, signature removed, with a variance.
    options : Sky

    Returns
    -------
    dict of int to xarray.Dataset
        `sky`, its `variance` and `n_used` with dimensions (bin_y, bin_x) in the detector frame,
        and per exposure its level (`scale`). `sky` is a fraction of the level of the sky, about 0;
        its attributes `rows` and `columns` are the shape of the detector that the bins divide
        (`cpflow.kernels.background.bin_edges`), `bin_size` is about the size of a bin.

    Notes
    -----
    Spec 4.10. Pixels of objects have no part in a bin; the reference fills them from a background,
    so that a bin with half of its pixels in objects has half of its structure. Superpixels do have
    them filled: without, the mean of a superpixel would not be that of its middle on a slope.
    """
    out: dict[int, xr.Dataset] = {}
    detectors = {id_: stack.detector for id_, stack in stacks.items()}
    for ids in focal_planes(list(detectors.values()), options):
        plane = focal_plane([detectors[id_] for id_ in ids], options)
        solved = _with_levels({id_: stacks[id_] for id_ in ids}, plane, options)
        out.update({id_: _combine(stack, plane, options) for id_, stack in solved.items()})
    return out


def _with_levels(stacks: Mapping[int, Stack], plane: FocalPlane, options: Sky) -> dict[int, Stack]:
    """Let all detectors tell the sky of each exposure (steps 1 and 2)."""
    from dask.delayed import delayed

    for stack in stacks.values():
        check_variance(stack, "finding objects")
    measured = {
        id_: stack.measure(SUPERPIXELS, MeasureSuperpixels(options, plane))
        for id_, stack in stacks.items()
    }
    solution = solve_together(
        "sky",
        solve_sky,
        [plane, options, [[e.exposure for e in stack.exposures] for stack in measured.values()]],
        [
            delayed(without_masks, pure=False)(
                stack.measurements(), dask_key_name=f"sky-levels-{stack.token[:16]}"
            )
            for stack in measured.values()
        ],
    )
    return {id_: stack.share(SKY_LEVELS, solution) for id_, stack in measured.items()}


def without_masks(measured: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what the sky of exposures is solved from: not their object masks, of all detectors."""
    small = []
    for values in measured:
        found = values[SUPERPIXELS]
        if not isinstance(found, Failure):
            found = replace(found, left_out=np.empty(0, np.uint8))
        small.append({SUPERPIXELS: found})
    return small


def _combine(levelled: Stack, plane: FocalPlane, options: Sky) -> xr.Dataset:
    """Subtract the model from each exposure, bin what is left, and average it (steps 3 and 4)."""
    import xarray as xr

    stack = levelled.measure(SKY_BINS, MeasureBins(options, plane))
    rows, columns = stack.detector.shape
    sizes = dict(zip(("bin_y", "bin_x"), bins_of((rows, columns), options.bin_size), strict=True))
    product = xr.Dataset()
    for name, dtype in (("sky", "float32"), ("variance", "float32"), ("n_used", "uint16")):
        product[name] = stack.gather(
            CombineBins(options, name), ("bin_y", "bin_x"), dtype, name=name, sizes=sizes
        )
        product[name].attrs["units"] = "1"
    product["sky"].attrs.update(rows=rows, columns=columns, bin_size=options.bin_size)
    product["scale"] = stack.gather(sky_scales, ("exposure",), np.float64, name="scale")
    product["scale"].attrs["units"] = stack.units
    product["dropped"] = stack.gather(dropped_exposures, ("exposure",), np.bool_, name="dropped")
    return product.assign_coords(exposure=[e.exposure for e in stack.exposures])


def bins_of(shape: tuple[int, int], bin_size: int) -> tuple[int, int]:
    """Return how many bins of about a size a sky frame has along y and x."""
    rows, columns = (bin_count(n, bin_size, "nearest") for n in shape)
    return rows, columns


def _at_most(bin_size: int, shape: tuple[int, int], bins: int) -> int:
    return min(bin_size, -(-min(shape) // bins))


@dataclass(frozen=True, slots=True)
class MeasureSuperpixels:
    """Find the objects of a whole detector, and measure its sky in superpixels (step 1)."""

    options: Sky
    plane: FocalPlane
    wants_variance: bool = True

    def __call__(self, frame: Frame, context: Context) -> Superpixels:
        """Return sums and counts, in the unit of the frame, and what is no sky.

        Raises
        ------
        RawError
            If nothing of the sky is seen.
        """
        if frame.variance is None:
            raise ValueError("objects are found with a variance plane: isr.variance=true")
        options, detector = self.options, context.detector
        image = assemble_array(detector, frame.image)
        mask = assemble_array(detector, frame.writable_mask())
        known = (mask & np.uint16(_REPLACED)) == 0
        try:
            found = find_objects(
                image,
                assemble_array(detector, frame.variance),
                known,
                criteria(options),
                bin_size=_at_most(options.background_bin_size, image.shape, _COARSE),
                model="SPLINE",
                iterations=options.detection_iterations,
            ).detections
            sky = known & ~found.mask & ~found.edge
            size = _at_most(options.replacement_bin_size, image.shape, _FINE)
            background = fit_background(image, sky, bin_size=size, model="SPLINE")
        except ValueError as error:
            raise RawError(
                f"its sky cannot be told from objects: {error}",
                hint="leave it out of the query, or --drop-bad 1",
            ) from error
        sums, counts = add_to_superpixels(
            np.where(known & ~found.mask, image, background),
            self.plane.placements[detector.id],
            self.plane.grid,
            ((mask & np.uint16(_NO_SKY)) == 0) & ~found.edge,
            clip=options.clip,
            iterations=options.iterations,
        )
        no_sky = ((mask & np.uint16(_NO_SKY)) != 0) | ~sky
        return Superpixels(sums, counts, np.packbits(no_sky, axis=-1))


@dataclass(frozen=True, slots=True)
class MeasureBins:
    """Subtract the model of the focal plane from a whole detector, and bin the rest (step 3)."""

    options: Sky
    plane: FocalPlane

    def __call__(self, frame: Frame, context: Context) -> npt.NDArray[np.float32]:
        """Return the bins as fractions of the level of the sky; NaN where objects leave too little.

        Raises
        ------
        RawError
            If the exposure has no level to divide by.
        """
        options, detector = self.options, context.detector
        level: SkyLevel | None = context.shared[SKY_LEVELS].get(context.exposure.exposure)
        if level is None or not level.scale > 0:
            seen = "too little of it is seen" if level is None else f"it is {level.scale:.4g}"
            raise RawError(
                f"the level of its sky cannot be told: {seen}",
                hint="leave it out of the query, or --drop-bad 1",
            )
        placed = self.plane.placements[detector.id]
        image = assemble_array(detector, frame.image)
        image -= sky_on_detector(
            level.levels,
            self.plane.grid,
            placed,
            binning=options.binning,
            kind=options.interpolation,
        )
        image *= np.float32(1 / level.scale)
        found: Superpixels = context.measured[SUPERPIXELS]
        sky = np.unpackbits(found.left_out, axis=-1, count=detector.shape[1]) == 0
        binned = bin_statistics(
            image,
            bins_of(detector.shape, options.bin_size),
            sky,
            clip=options.clip,
            iterations=options.iterations,
        )
        sizes = np.diff(binned.y_edges)[:, None] * np.diff(binned.x_edges)
        few = binned.counts < options.bin_fraction * sizes
        return np.where(few, np.nan, binned.values).astype(np.float32)


@dataclass(frozen=True, slots=True)
class CombineBins:
    """Average the bins of all exposures (step 4), and return one variable of the result."""

    options: Sky
    name: str

    def __call__(
        self,
        values: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> npt.NDArray[Any]:
        """Return the mean, its variance or the number of exposures, shape (bin_y, bin_x).

        A bin that no exposure has takes the median of the others. So does the variance of one that
        only one exposure has; with a single exposure it is NaN.

        Raises
        ------
        DataError
            If no exposure has any bin.
        """
        stack = np.stack([item[SKY_BINS] for item in values if item is not None])
        combined = clipped_mean(stack, clip=self.options.clip, iterations=self.options.iterations)
        if self.name == "n_used":
            return combined.used.astype(np.uint16)
        plane = combined.image if self.name == "sky" else combined.variance
        known = np.isfinite(plane)
        if self.name == "sky" and not known.any():
            raise DataError("objects leave nothing of the sky in any exposure")
        if known.any():
            plane[~known] = np.median(plane[known])
        return plane


def sky_scales(
    values: Sequence[Mapping[str, Any] | None],
    exposures: Sequence[Exposure],
    shared: Mapping[str, Any],
) -> npt.NDArray[np.float64]:
    """Return the level of the sky in each exposure; NaN for one that was left out."""
    levels = shared[SKY_LEVELS]
    return np.array(
        [
            np.nan if item is None else levels[exposure.exposure].scale
            for item, exposure in zip(values, exposures, strict=True)
        ]
    )
