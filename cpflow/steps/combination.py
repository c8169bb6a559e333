"""Combination of exposures to one image: scale, clip, average (spec, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from cpflow.errors import ConfigurationError, ProductError, RawError
from cpflow.exposure import Exposure
from cpflow.kernels.clipped_mean import Combined, clipped_mean
from cpflow.kernels.planes import NO_DATA, VIGNETTED, bits
from cpflow.stack import BandStack, Stack
from cpflow.steps.brighter_fatter import BRIGHTER_FATTER, brighter_fatter_passes
from cpflow.steps.common_error import common_variance
from cpflow.steps.cosmic_rays import COSMIC_RAYS, cosmic_ray_pixels
from cpflow.steps.electronics import READOUT, check_variance
from cpflow.steps.focal_plane import FOCAL_PLANE, LEVEL, MeasureLevel, scale_over_focal_plane
from cpflow.steps.fringes import FRINGE_AMPLITUDE, fringe_amplitudes
from cpflow.steps.gathered import dropped_exposures
from cpflow.steps.options import Combine

if TYPE_CHECKING:
    import xarray as xr


@overload
def combine(stack: Stack, options: Combine) -> xr.Dataset: ...
@overload
def combine(stack: Mapping[int, Stack], options: Combine) -> dict[int, xr.Dataset]: ...
def combine(
    stack: Stack | Mapping[int, Stack], options: Combine
) -> xr.Dataset | dict[int, xr.Dataset]:
    """Combine the exposures of a stack, or of a stack for each detector; lazy.

    Parameters
    ----------
    stack : Stack, or mapping of int to Stack
        Processed exposures. Those of several detectors can be scaled over the focal plane.
    options : Combine

    Returns
    -------
    xarray.Dataset, or dict of int to xarray.Dataset
        `image`, `variance`, `mask`, `n_used` and `n_good` with dimensions (amp, y, x) in the
        readout frame, and per exposure its scale, read noise and overscan level. A pixel without a
        good input is NaN until the product is finished (`cpflow.steps.finish`).
    """
    from cpflow.products import mask_attributes, squared

    if isinstance(stack, Mapping):
        stacks = scale_over_focal_plane(stack) if options.scale == "focal_plane" else stack
        return {detector: combine(one, options) for detector, one in stacks.items()}
    check_scale(options, stack.exposures)
    if len(stack.exposures) < options.input_variance_below:
        check_variance(stack, f"the variance of {len(stack.exposures)} exposures")
    if options.scale == "mean":
        stack = stack.measure(LEVEL, MeasureLevel())
    elif options.scale == "focal_plane" and FOCAL_PLANE not in stack.shared:
        stack = scale_over_focal_plane({0: stack})[0]
    product = stack.reduce(
        CombineBand(options, stack.units),
        {
            "image": np.float32,
            "variance": np.float32,
            "mask": np.uint16,
            "n_used": np.uint16,
            "n_good": np.uint16,
        },
        name="combine",
    )
    units = stack.units
    if options.scale in ("mean", "focal_plane"):
        units = "1"
    elif options.scale in ("exposure_time", "dark_time"):
        units = f"{units}/s"
    product["image"].attrs["units"] = units
    product["variance"].attrs["units"] = squared(units)
    product["mask"].attrs.update(mask_attributes())
    for name in ("n_used", "n_good"):
        product[name].attrs["units"] = "1"
    product = product.assign_coords(exposure=[e.exposure for e in stack.exposures])
    product.attrs["percentiles"] = options.percentiles
    product["scale"] = stack.gather(_Scales(options), ("exposure",), np.float64, name="scale")
    product["dropped"] = stack.gather(dropped_exposures, ("exposure",), np.bool_, name="dropped")
    if stack.measured(COSMIC_RAYS):
        product["cosmic_ray_pixels"] = stack.gather(
            cosmic_ray_pixels, ("exposure",), np.int64, name="cosmic-rays"
        )
        product["cosmic_ray_pixels"].attrs["units"] = "1"
    for name, kind, measured, extract in (
        ("brighter_fatter_passes", np.int64, BRIGHTER_FATTER, brighter_fatter_passes),
        ("fringe_amplitude", np.float64, FRINGE_AMPLITUDE, fringe_amplitudes),
    ):
        if stack.measured(measured):
            product[name] = stack.gather(extract, ("exposure",), kind, name=name)
            product[name].attrs["units"] = "1" if kind is np.int64 else stack.units
    for name, field in (("read_noise", "noise"), ("overscan_level", "mean")):
        if stack.measured(READOUT):
            product[name] = stack.gather(
                _OfReadout(field, len(stack.detector.amplifiers)),
                ("exposure", "amp"),
                np.float64,
                name=name,
            )
            product[name].attrs["units"] = "adu"
    return product


def exposure_scale(
    exposure: Exposure,
    measured: Mapping[str, Any],
    shared: Mapping[str, Any],
    options: Combine,
) -> float:
    """Return what an exposure is divided by.

    Raises
    ------
    RawError
        If the header does not give the time that scales it.
    """
    if options.scale == "none":
        return 1.0
    if options.scale == "mean":
        return float(measured[LEVEL].mean)
    if options.scale == "focal_plane":
        return float(shared[FOCAL_PLANE][exposure.exposure])
    time = getattr(exposure, options.scale)
    if time is None or not np.isfinite(time) or time <= 0:
        raise RawError(
            f"its {options.scale} is {time}, so it cannot be scaled by it",
            exposure=exposure.exposure,
        )
    return float(time)


@dataclass(frozen=True, slots=True)
class CombineBand:
    """Combine the same rows of all exposures; each pixel on its own."""

    options: Combine
    units: str = "adu"
    """Of the exposures, before scaling."""

    def __call__(self, band: BandStack) -> Mapping[str, npt.NDArray[Any]]:
        """Return image, variance, mask and counts, shape (amp, rows, columns)."""
        options = self.options
        count = len(band.image)
        scale = None
        if options.scale != "none":
            scale = np.array(
                [
                    exposure_scale(exposure, measured, band.shared, options)
                    for exposure, measured in zip(band.exposures, band.measured, strict=True)
                ]
            )
        vignetted = None
        if band.mask is not None:
            vignetted = ((band.mask & np.uint16(VIGNETTED)) != 0).all(axis=0)
            if options.check_no_data:
                _check_no_data(band)
        variance = band.variance() if count < options.input_variance_below else None
        combined = self._statistic(band, scale, variance)
        averaged = None if variance is None else combined.used
        common = common_variance(band, combined.image, scale, self.units, averaged)
        if common is not None:
            combined.variance[...] += common
        if variance is None:
            _variance_of_single_inputs(band, combined, scale, bits(options.mask) | VIGNETTED)
        mask = combined.mask
        if options.censor_mask:
            mask = mask & np.uint16(bits([options.no_good_pixels]))
        if vignetted is not None and vignetted.any():
            # There is nothing to know here, and that is known: no pixel to be filled.
            combined.image[vignetted] = 0
            combined.variance[vignetted] = 0
            mask[vignetted] = np.uint16(NO_DATA | VIGNETTED)
        return {
            "image": combined.image,
            "variance": combined.variance,
            "mask": mask,
            "n_used": combined.used.astype(np.uint16, copy=False),
            "n_good": combined.good.astype(np.uint16, copy=False),
        }

    def _statistic(
        self,
        band: BandStack,
        scale: npt.NDArray[np.float64] | None,
        variance: npt.NDArray[np.float32] | None,
    ) -> Combined:
        options = self.options
        if options.statistic != "clipped_mean":
            from cpflow.kernels.stack_statistics import mean_stack, median_stack

            function = mean_stack if options.statistic == "mean" else median_stack
            return function(
                band.image,
                band.mask,
                excluded=bits(options.mask) | VIGNETTED,
                scale=scale,
                variance=variance,
                input_variance_below=options.input_variance_below,
                no_good_pixels=bits([options.no_good_pixels]),
            )
        return clipped_mean(
            band.image,
            band.mask,
            excluded=bits(options.mask) | VIGNETTED,
            scale=scale,
            variance=variance,
            input_variance_below=options.input_variance_below,
            clip=options.clip,
            iterations=options.iterations,
            no_good_pixels=bits([options.no_good_pixels]),
        )


def _check_no_data(band: BandStack) -> None:
    """Refuse pixels without data, unless vignetting explains them."""
    if band.mask is None:
        return
    unexplained = (band.mask & np.uint16(NO_DATA | VIGNETTED)) == NO_DATA
    if unexplained.any():
        which = np.flatnonzero(unexplained.any(axis=(1, 2, 3)))
        raise ProductError(
            "pixels without data (NO_DATA) in exposures "
            + ", ".join(str(band.exposures[i].exposure) for i in which),
            hint="combine.check_no_data=false lets them through",
        )


def _variance_of_single_inputs(
    band: BandStack,
    combined: Combined,
    scale: npt.NDArray[np.float64] | None,
    excluded: int,
) -> None:
    """Give pixels with one good input the variance of that input (spec 3.3, GAP).

    They are few, so their exposures are processed again only where there are any.
    """
    single = combined.good == 1
    if not single.any():
        return
    for i in range(len(band.image)):
        here = single & np.isfinite(band.image[i])
        if band.mask is not None:
            here &= (band.mask[i] & np.uint16(excluded)) == 0
        if here.any():
            plane = band.reload(i).variance
            if plane is not None:
                divisor = 1.0 if scale is None else scale[i] ** 2
                combined.variance[here] = plane[here] / divisor


@dataclass(frozen=True, slots=True)
class _Scales:
    options: Combine

    def __call__(
        self,
        values: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> npt.NDArray[np.float64]:
        return np.array(
            [
                np.nan if item is None else exposure_scale(exposure, item, shared, self.options)
                for item, exposure in zip(values, exposures, strict=True)
            ]
        )


@dataclass(frozen=True, slots=True)
class _OfReadout:
    field: str
    amplifiers: int

    def __call__(
        self,
        values: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> npt.NDArray[np.float64]:
        missing = np.full(self.amplifiers, np.nan)
        return np.array(
            [missing if item is None else getattr(item[READOUT], self.field) for item in values]
        )


def check_scale(options: Combine, exposures: Sequence[Exposure]) -> None:
    """Refuse before anything runs what cannot be scaled.

    Raises
    ------
    ConfigurationError
        Naming the exposures whose time is missing.
    """
    if options.scale in ("exposure_time", "dark_time"):
        missing = [e.exposure for e in exposures if not (getattr(e, options.scale) or 0) > 0]
        if missing:
            raise ConfigurationError(
                f"combine.scale={options.scale}, but {len(missing)} exposures have none: "
                + ", ".join(map(str, missing[:10]))
            )
