"""Cosmic rays in one exposure: pixels much sharper than a star could be (spec 4.2).

A pixel is a seed if it stands out from the mean of two opposite neighbours by its noise, and by
more than the image of a star would. Seeds that touch are one ray; its pixels are set to the
background, and with them out of the way the fainter pixels around it are looked at again. Every
decision is in float64 and in a fixed order, so a frame gives the same mask each time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cpflow.kernels.interpolate import interpolate_rows
from cpflow.kernels.masks import Mask, grow
from cpflow.kernels.planes import BAD, INTRP, NO_DATA, SAT
from cpflow.kernels.ray_pixels import bright_groups, join, seeds
from cpflow.kernels.selection import quantiles
from cpflow.kernels.statistics import clipped_statistics

_FWHM_TO_SIGMA = 2 * math.sqrt(2 * math.log(2))


@dataclass(frozen=True, slots=True)
class CosmicRayCriteria:
    """What makes a pixel a cosmic ray. The defaults are those of the reference today.

    Attributes
    ----------
    min_sigma : float
        Least height of a seed above two of its neighbours, in standard deviations of its noise.
    min_sum : float
        Least sum of a ray's seeds above the background, in the unit of the image.
    noise_factor : float
        By how many standard deviations the comparison with a star gives a star the benefit
        (the reference's `cond3_fac`).
    star_factor : float
        Sharpness of a ray relative to a star's (`cond3_fac2`).
    iterations : int
        Rounds in which fainter pixels may join the rays.
    psf_fwhm : float
        Full width at half maximum of a star, in pixels.
    grow : int
        Radius in pixels by which the mask grows in the end, circular.
    max_pixels : int
        More seeds than this are not believed.
    """

    min_sigma: float = 6.0
    min_sum: float = 150.0
    noise_factor: float = 2.0
    star_factor: float = 0.35
    iterations: int = 6
    psf_fwhm: float = 3.0
    grow: int = 2
    max_pixels: int = 1_000_000

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not (self.min_sigma > 0 and self.psf_fwhm > 0 and self.star_factor > 0):
            raise ValueError("min_sigma, star_factor and psf_fwhm have to be positive")
        if min(self.noise_factor, self.iterations, self.grow, self.max_pixels) < 0:
            raise ValueError(
                "noise_factor, iterations, grow and max_pixels have to be zero or more"
            )


#: The values of 2021 (spec 4.2).
CRITERIA_2021: Final = CosmicRayCriteria(
    noise_factor=2.5, star_factor=0.6, iterations=3, max_pixels=10_000
)


@dataclass(frozen=True, slots=True)
class CosmicRays:
    """Cosmic rays of one exposure.

    Attributes
    ----------
    mask : array of bool, shape (rows, columns)
        Pixels of rays, grown; nothing if there are too many.
    rays : int
        Groups of touching seeds that are bright enough.
    pixels : int
        Their pixels, with those that joined, before the mask grew.
    seeds : int
        Seeds; one more than `CosmicRayCriteria.max_pixels` where the search broke off.
    too_many : bool
        Whether it did. The caller decides whether that is a warning, the loss of the exposure or
        an error.
    """

    mask: Mask
    rays: int
    pixels: int
    seeds: int
    too_many: bool


def find_cosmic_rays(
    image: npt.NDArray[np.float32],
    variance: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint16],
    criteria: CosmicRayCriteria | None = None,
    *,
    interpolated: int = BAD | SAT,
    blocking: int = BAD | INTRP | SAT | NO_DATA,
) -> CosmicRays:
    """Find the cosmic rays of one exposure.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
        A whole detector, bias subtracted, in any unit. It is not changed.
    variance : array of float32, shape (rows, columns)
        In the unit of the image squared; where it is negative or NaN nothing is found.
    mask : array of uint16, shape (rows, columns)
        Mask planes (`cpflow.kernels.planes`).
    criteria : CosmicRayCriteria, optional
    interpolated : int
        Planes whose pixels are first interpolated along the rows, in a copy. No seed is one of
        these pixels or touches one.
    blocking : int
        Planes whose pixels are no seeds; beside an INTRP pixel there is none either.

    Returns
    -------
    CosmicRays

    Raises
    ------
    ValueError
        If the arrays differ in shape, are not two-dimensional, or not of these types.

    Notes
    -----
    Spec 4.2, with these differences. The variance is taken as it is: the reference multiplies it by
    the gain, in whatever unit the image is. Pixels of a ray are set to the background, the median
    of the image, without noise. Too many seeds are reported, not raised.
    """
    chosen = CosmicRayCriteria() if criteria is None else criteria
    if image.ndim != 2 or variance.shape != image.shape or mask.shape != image.shape:
        raise ValueError(
            f"image, variance and mask of {image.shape}, {variance.shape} and {mask.shape} pixels"
        )
    if image.dtype != np.float32 or variance.dtype != np.float32 or mask.dtype != np.uint16:
        raise ValueError("image and variance have to be float32, the mask uint16")
    work = np.array(image, order="C")
    noise = np.ascontiguousarray(variance)
    planes = np.ascontiguousarray(mask)
    bad = (planes & np.uint16(interpolated)) != 0
    if bad.any():
        noise = noise.copy() if noise is variance else noise
        interpolate_rows(work, noise, bad, clipped_statistics(image).mean)
    level = float(quantiles(work, None, (0.5,))[1][0])
    # A star's value at distance d from its peak, relative to it: exp(-d**2 / (2 sigma**2)).
    fall = math.exp(-0.5 * (_FWHM_TO_SIGMA / chosen.psf_fwhm) ** 2)
    axis, diagonal = chosen.star_factor * fall, chosen.star_factor * fall**2
    limits = np.array([chosen.min_sigma, chosen.noise_factor, axis, diagonal])
    found = seeds(
        work,
        noise,
        planes,
        np.uint16(blocking | interpolated),
        np.uint16(INTRP | interpolated),
        level,
        limits,
        chosen.max_pixels,
    )
    flags = np.zeros(image.shape, np.bool_)
    if len(found) > chosen.max_pixels:
        return CosmicRays(flags, 0, 0, len(found), True)
    pixels = bright_groups(work, found, level, chosen.min_sum)
    rays = len(np.unique(pixels[:, 0]))
    flags[pixels[:, 1], pixels[:, 2]] = True
    work[flags] = level
    limits[:2] = chosen.min_sigma / 2, 0.0
    for _ in range(chosen.iterations):
        pixels = pixels[np.lexsort(pixels.T[::-1])]
        joined = join(work, noise, flags, pixels, level, limits)
        # Nothing has changed: another round would find nothing either.
        if len(joined) == 0:
            break
        pixels = np.concatenate([pixels, joined])
    return CosmicRays(grow(flags, chosen.grow, "circular"), rays, len(pixels), len(found), False)
