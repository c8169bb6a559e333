"""Unclipped combinations of a stack: mean and median (spec 3.2)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cpflow.kernels.clipped_mean import FEW_EXPOSURES
from cpflow.kernels.planes import BAD
from cpflow.kernels.stacking import Combined, combine_stack


def mean_stack(
    stack: npt.ArrayLike,
    mask: npt.NDArray[np.uint16] | None = None,
    *,
    excluded: int = 0,
    scale: npt.ArrayLike | None = None,
    variance: npt.ArrayLike | None = None,
    no_good_pixels: int = BAD,
    input_variance_below: int = FEW_EXPOSURES,
) -> Combined:
    """Combine a stack of exposures by a plain mean.

    Parameters
    ----------
    stack, mask, excluded, scale, variance, no_good_pixels, input_variance_below
        As `cpflow.kernels.clipped_mean.clipped_mean`.

    Returns
    -------
    Combined
        `used` equals `good`.

    Raises
    ------
    ValueError
        As `cpflow.kernels.clipped_mean.clipped_mean`.

    Notes
    -----
    Spec 3.2. Of two flats with weights w and 1 - w, scale by 1/(2*w) and 1/(2*(1 - w)).
    """
    return combine_stack(
        stack,
        mask,
        excluded=excluded,
        scale=scale,
        variance=variance,
        clip=0.0,
        iterations=0,
        median=False,
        no_good_pixels=no_good_pixels,
        input_variance_below=input_variance_below,
    )


def median_stack(
    stack: npt.ArrayLike,
    mask: npt.NDArray[np.uint16] | None = None,
    *,
    excluded: int = 0,
    scale: npt.ArrayLike | None = None,
    variance: npt.ArrayLike | None = None,
    no_good_pixels: int = BAD,
    input_variance_below: int = FEW_EXPOSURES,
) -> Combined:
    """Combine a stack of exposures by the median of each pixel.

    Parameters
    ----------
    stack, mask, excluded, scale, variance, no_good_pixels, input_variance_below
        As `cpflow.kernels.clipped_mean.clipped_mean`.

    Returns
    -------
    Combined
        `used` equals `good`. The variance of a median of more than two values is pi/2 times that
        of their mean, as it is for many normal ones; the spread of the values is taken from their
        quartiles, as robust as the median.

    Raises
    ------
    ValueError
        As `cpflow.kernels.clipped_mean.clipped_mean`.
    """
    return combine_stack(
        stack,
        mask,
        excluded=excluded,
        scale=scale,
        variance=variance,
        clip=0.0,
        iterations=0,
        median=True,
        no_good_pixels=no_good_pixels,
        input_variance_below=input_variance_below,
    )
