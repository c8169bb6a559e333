"""What is left of an exposure when a candidate is applied to it, measured (verification 1.4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from cpflow.kernels.binning import bin_image
from cpflow.kernels.cosmic_rays import CosmicRayCriteria, find_cosmic_rays
from cpflow.kernels.masks import grow
from cpflow.kernels.planes import BAD, DETECTED, INTRP, NO_DATA, SAT, SUSPECT
from cpflow.kernels.residuals import (
    BlockScatter,
    DeviantColumn,
    PixelStatistics,
    Projection,
    block_scatter,
    deviant_column,
    pixel_statistics,
    project,
    standard_deviation,
)
from cpflow.options import Options
from cpflow.stack import Context, Frame, Planes, Stack
from cpflow.stack.geometry import assemble_array, split_array
from cpflow.steps.electronics import READOUT, check_variance, gains_of
from cpflow.steps.images import in_units
from cpflow.steps.readout import Readout
from cpflow.steps.tables import table

if TYPE_CHECKING:
    import xarray as xr

_BLOCKING = BAD | INTRP | SAT | NO_DATA
RESIDUAL = "residual"
CONSTRUCTION = "construction"
#: Longest side of the binned residual that is kept of each exposure, pixels.
_PREVIEW = 256

# A product states the variance of the values that clipping left over their number. What its own
# inputs share with it is about that; what it is in truth is larger by 1 + 2.5/N, as simulated
# clipped means of 7 to 50 normal values are within 5 %, or as here for fewer.
_CLIPPING = 2.5
_CLIPPING_OF_FEW = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.37, 5: 1.52, 6: 1.38}
# What is left of an input is not normal where few were clipped: its noise is known to this fraction
# of the candidate's variance over N.
_DOUBT = 0.5

Kind = Literal["bias", "dark", "flat", "other"]


class Residuals(Options):
    """How residuals are measured."""

    clip: float = Field(5.0, gt=0)
    iterations: int = Field(3, ge=1)
    block: int = Field(32, ge=2)
    """Side of the blocks of pixels whose means show structure; less on small amplifiers."""
    corner: int = Field(200, ge=1)
    """Side of the square at the readout corner, pixels; less on small amplifiers."""
    psf_fwhm: float = Field(3.0, gt=0)
    cosmic_ray_sigma: float = Field(6.0, gt=0)
    cosmic_ray_sum: float = Field(150.0, ge=0)
    """Least signal of a cosmic ray, in the unit of the image."""
    outlier_sigma: float = Field(8.0, gt=0)
    """What stands out by more, in several exposures, is a defect that is not masked."""
    cosmic_ray_pixels: int = Field(1_000_000, ge=1)
    """More seeds than this are not believed: the test PROCESSING fails."""


@dataclass(frozen=True, slots=True)
class AmplifierResidual:
    """What was measured of one amplifier of one exposure.

    Parameters
    ----------
    level : float
        Clipped mean in the unit of the exposure.
    pixels : PixelStatistics
        Without BAD, DETECTED and NO_DATA; electrons.
    stdev_without_rays : float
        Unclipped, without the pixels of cosmic rays too; NaN if they could not be found.
    corner : float
        Mean at the readout corner.
    structure : BlockScatter
    template : Projection
        What is left of the candidate.
    column : DeviantColumn
    saturated : float
        Fraction of pixels with SAT or SUSPECT.
    expected_variance : float
        Of a pixel, electron^2: read noise, what the subtraction of a row's level adds, Poisson
        noise, and noise of the candidate.
    expected_error : float
        Relative error of that.
    row_variance : float
        The part of it that all pixels of a row have in common.
    read_noise, nominal_read_noise : float
        From the overscan, and of the camera; electrons.
    read_noise_error : float
    candidate_level : float
        Mean of what was subtracted, or divided by.
    candidate_variance : float
        Mean variance of a pixel of it, electron^2.
    rows : int
        Rows with any good pixel.
    outliers : array of int64
        Flat places of good pixels far beyond what is expected of them.
    """

    level: float
    pixels: PixelStatistics
    stdev_without_rays: float
    corner: float
    structure: BlockScatter
    template: Projection
    column: DeviantColumn
    saturated: float
    expected_variance: float
    expected_error: float
    row_variance: float
    read_noise: float
    nominal_read_noise: float
    read_noise_error: float
    candidate_level: float
    candidate_variance: float
    rows: int
    outliers: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ExposureResidual:
    """What was measured of one exposure: its amplifiers, cosmic rays, and a small picture."""

    amplifiers: tuple[AmplifierResidual, ...]
    seeds: int
    rays: int
    preview: npt.NDArray[np.float32]


def variance_inflation(count: int) -> float:
    """Return the variance of a clipped mean of so many exposures, over the one that it states."""
    return _CLIPPING_OF_FEW.get(count, 1 + _CLIPPING / count) if count > 0 else 1.0


def construction_exposures(candidate: xr.Dataset) -> frozenset[int]:
    """Return the exposures that a candidate was made from."""
    if "exposure" not in candidate.coords:
        return frozenset()
    exposures = candidate["exposure"].values
    if "dropped" in candidate:
        exposures = exposures[~np.asarray(candidate["dropped"].values, bool)]
    return frozenset(int(exposure) for exposure in exposures)


def measure_residuals(
    residuals: Stack, candidate: Any, name: str, kind: Kind, options: Residuals
) -> Stack:
    """Measure what is left of every exposure; lazy.

    Parameters
    ----------
    residuals : Stack
        The candidate is applied to it, in electrons.
    candidate : xarray.Dataset, Choice or Delayed
    name : str
        Of the candidate among the images of the stack.
    kind : str
        How the candidate is applied: subtracted, subtracted in proportion to the dark time,
        divided by; "other" knows no template.
    options : Residuals

    Returns
    -------
    Stack
        With the measurement `RESIDUAL`.
    """
    check_variance(residuals, "finding cosmic rays")
    stack = residuals.share(CONSTRUCTION, table(candidate, construction_exposures))
    return stack.measure(RESIDUAL, MeasureResidual(options, name, kind))


@dataclass(frozen=True, slots=True)
class MeasureResidual:
    """Measure one whole exposure."""

    options: Residuals
    name: str
    kind: Kind
    wants_variance: bool = True

    def __call__(self, frame: Frame, context: Context) -> ExposureResidual:
        """Return the statistics of every amplifier."""
        detector = context.detector
        native, gains = frame.image, np.ones(len(detector.amplifiers))
        if frame.units == "adu":
            # A camera whose gain is not known is looked at as if it were 1.
            gains = np.nan_to_num(gains_of(context), nan=1.0)
            frame = _in_electrons(frame, gains)
        mask = frame.writable_mask()
        rays, seeds, n_rays = self._rays(frame, context)
        good = (mask & np.uint16(BAD | DETECTED | NO_DATA)) == 0
        good &= np.isfinite(frame.image)
        template = self._template(frame, context)
        measured = tuple(
            self._amplifier(a, frame, context, good[a], rays, template, float(gains[a]))
            for a in range(len(detector.amplifiers))
        )
        kept = np.where(good, native, np.float32(np.nan))
        image = assemble_array(detector, kept)
        return ExposureResidual(measured, seeds, n_rays, bin_image(image, preview_factor(image)))

    def _rays(
        self, frame: Frame, context: Context
    ) -> tuple[npt.NDArray[np.bool_] | None, int, int]:
        """Return the pixels of cosmic rays, amplifier by amplifier; None if there are too many."""
        options, detector = self.options, context.detector
        assert frame.variance is not None
        planes = assemble_array(detector, frame.writable_mask())
        found = find_cosmic_rays(
            assemble_array(detector, frame.image),
            assemble_array(detector, frame.variance),
            planes,
            CosmicRayCriteria(
                min_sigma=options.cosmic_ray_sigma,
                min_sum=options.cosmic_ray_sum,
                psf_fwhm=options.psf_fwhm,
                max_pixels=options.cosmic_ray_pixels,
            ),
        )
        if found.too_many:
            return None, found.seeds, 0
        # Nothing is looked for at the border of the detector and beside masked pixels, so that
        # these say nothing of rays.
        mask = found.mask | grow((planes & np.uint16(_BLOCKING)) != 0, 1)
        mask[[0, -1]] = True
        mask[:, [0, -1]] = True
        rows = range(frame.image.shape[1])
        return split_array(detector, mask, rows), found.seeds, found.rays

    def _template(self, frame: Frame, context: Context) -> Planes | None:
        if self.name not in context.shared or self.kind == "other":
            return None
        units = {"bias": "electron", "dark": "electron/s"}.get(self.kind, "1")
        planes: Planes = context.shared[self.name]
        gains = np.nan_to_num(gains_of(context), nan=1.0)
        return in_units(self.name, planes, units, gains).part(frame.rows)

    def _amplifier(
        self,
        a: int,
        frame: Frame,
        context: Context,
        good: npt.NDArray[np.bool_],
        rays: npt.NDArray[np.bool_] | None,
        template: Planes | None,
        scale: float,
    ) -> AmplifierResidual:
        options, pixels = self.options, frame.image[a]
        readout: Readout = context.measured[READOUT]
        amplifier = context.detector.amplifiers[a]
        found = pixel_statistics(pixels, good, clip=options.clip, iterations=options.iterations)
        without = math.nan
        clean = good
        if rays is not None:
            clean = good & ~rays[a]
            without = standard_deviation(pixels, clean)
        noise = found.clipped_stdev
        quiet = clean & (np.abs(pixels - found.median) <= options.clip * noise)
        corner = good[: options.corner, : options.corner]
        inside = pixels[: options.corner, : options.corner][corner]
        gain = float(np.nan_to_num(gains_of(context)[a], nan=1.0))
        read_noise = float(readout.noise[a]) * gain
        nominal = amplifier.read_noise if math.isfinite(amplifier.read_noise) else read_noise
        overscan = amplifier.serial_overscan
        fewer = max(1, overscan.width * overscan.height)
        level, variance = self._scaled(found, a, context, good, template)
        made_from = context.shared.get(CONSTRUCTION, frozenset())
        shared = context.exposure.exposure in made_from
        count = len(made_from)
        inflation = variance_inflation(count)
        variance *= inflation
        if math.isnan(nominal) and count > 1:
            # What the inputs scattered by: the stated variance is too small by 1.1 / N.
            single = variance / inflation * count / (1 - (1.1 / count if count > 3 else 0.0))
            nominal = math.sqrt(max(0.0, single - self._poisson(found, level)))
        row_variance = float(readout.level_variance[a]) * nominal**2
        own = nominal**2 + row_variance + self._poisson(found, level)
        # An exposure that is one of N inputs has a part 1/N of its own noise in the candidate.
        expected = own * (1 - 2 / count if shared else 1.0) + variance
        return AmplifierResidual(
            level=found.clipped_mean / scale,
            pixels=found,
            stdev_without_rays=without,
            corner=float(inside.mean(dtype=np.float64)) if inside.size else math.nan,
            structure=block_scatter(pixels, quiet, block_size(options.block, pixels.shape)),
            template=self._projection(frame, good, template, a, context, found, inflation, shared),
            column=deviant_column(pixels, good, noise),
            saturated=_fraction(frame.mask, a, SAT | SUSPECT),
            expected_variance=expected,
            expected_error=_DOUBT * variance / max(count, 1) / expected if expected > 0 else 0.0,
            row_variance=row_variance,
            read_noise=read_noise,
            nominal_read_noise=nominal,
            read_noise_error=read_noise / math.sqrt(2 * fewer) if overscan.width else math.nan,
            candidate_level=level,
            candidate_variance=variance,
            rows=int(good.any(axis=1).sum()),
            outliers=self._outliers(pixels, good, frame, a, found),
        )

    def _outliers(
        self,
        pixels: npt.NDArray[np.float32],
        good: npt.NDArray[np.bool_],
        frame: Frame,
        a: int,
        found: PixelStatistics,
    ) -> npt.NDArray[np.int64]:
        """Return the good pixels that stand out by their own noise: a hot one has more of it."""
        variance = np.float32(found.clipped_stdev**2)
        if frame.variance is not None:
            variance = np.fmax(frame.variance[a], variance)
        beyond = (pixels - np.float32(found.median)) ** 2 > self.options.outlier_sigma**2 * variance
        return np.flatnonzero(good & beyond)

    def _scaled(
        self,
        found: PixelStatistics,
        a: int,
        context: Context,
        good: npt.NDArray[np.bool_],
        template: Planes | None,
    ) -> tuple[float, float]:
        """Return the level of what the template did, and its variance, in electrons."""
        if template is None or not good.any():
            return 0.0, 0.0
        # Clipped: a hot pixel is no measure for the others, which the noise is of.
        mean = pixel_statistics(template.image[a], good).clipped_mean
        own = template.variance
        variance = 0.0 if own is None else pixel_statistics(own[a], good).clipped_mean
        if self.kind == "dark":
            time = context.exposure.dark_time or 0.0
            return mean * time, variance * time**2
        if self.kind == "flat":
            return mean, variance * found.clipped_mean**2 / mean**2
        return mean, variance

    def _poisson(self, found: PixelStatistics, level: float) -> float:
        """Return the mean charge of a pixel, electrons."""
        if self.kind == "dark":
            return max(0.0, level + found.clipped_mean)
        return 0.0 if self.kind == "bias" else max(0.0, found.clipped_mean)

    def _projection(
        self,
        frame: Frame,
        good: npt.NDArray[np.bool_],
        template: Planes | None,
        a: int,
        context: Context,
        found: PixelStatistics,
        inflation: float,
        shared: bool,
    ) -> Projection:
        noise = np.float32(found.clipped_stdev)
        if template is None or self.kind == "flat" or not noise > 0:
            return Projection(0.0, math.inf)
        pixels, image = frame.image[a], template.image[a]
        own = np.zeros_like(image) if template.variance is None else template.variance[a]
        if self.kind == "dark":
            # With its level: that is what tells of a wrong time.
            time = np.float32(context.exposure.dark_time or 0.0)
            image, own = image * time, own * time**2
        else:
            image = image - np.float32(np.median(image[good]))
        variance = np.full_like(pixels, noise**2)
        if frame.variance is not None:
            # A hot pixel is noisier than the others.
            np.fmax(frame.variance[a], variance, out=variance)
        # What stands out is a cosmic ray, unless the template explains it.
        kept = (np.abs(pixels) <= self.options.clip * noise) | (np.abs(pixels) <= 3 * np.abs(image))
        return project(
            pixels,
            image,
            good & kept,
            variance=variance,
            template_variance=own * np.float32(inflation),
            shared_noise=shared,
        )


def _in_electrons(frame: Frame, gains: npt.NDArray[np.float64]) -> Frame:
    factor = gains.astype(np.float32)[:, None, None]
    variance = None if frame.variance is None else frame.variance * factor**2
    return replace(frame, image=frame.image * factor, variance=variance, units="electron")


def block_size(wanted: int, shape: Sequence[int]) -> int:
    """Return the side of blocks, so that an amplifier has at least eight each way, if it can."""
    return max(2, min(wanted, min(shape) // 8))


def preview_factor(image: npt.NDArray[Any]) -> int:
    """Return the binning of the small picture of a residual."""
    return -(-int(max(image.shape)) // _PREVIEW)


def preview_shape(detector_shape: Sequence[int]) -> tuple[int, int]:
    """Return the shape of the small picture of a residual."""
    factor = -(-max(detector_shape) // _PREVIEW)
    return -(-detector_shape[0] // factor), -(-detector_shape[1] // factor)


def _fraction(mask: npt.NDArray[np.uint16] | None, a: int, planes: int) -> float:
    return 0.0 if mask is None else float(np.mean((mask[a] & np.uint16(planes)) != 0))


@dataclass(frozen=True, slots=True)
class Previews:
    """The small pictures of all exposures; NaN for one that could not be used."""

    shape: tuple[int, int]

    def __call__(
        self,
        measured: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Any],
        shared: Mapping[str, Any],
    ) -> npt.NDArray[np.float32]:
        """Return them as an array of shape (frame, y_binned, x_binned)."""
        out = np.full((len(exposures), *self.shape), np.nan, np.float32)
        for i, values in enumerate(measured):
            if values is not None:
                out[i] = values[RESIDUAL].preview
        return out
