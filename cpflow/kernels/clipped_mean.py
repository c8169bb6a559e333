"""The clipped mean of a stack of exposures, pixel by pixel (spec 3.3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cpflow.kernels.planes import BAD
from cpflow.kernels.stacking import Combined, combine_stack

__all__ = ["FEW_EXPOSURES", "Combined", "clipped_mean"]

#: Below this many exposures the output variance comes from the input variances (spec 3.1, strict).
FEW_EXPOSURES = 5


def clipped_mean(
    stack: npt.ArrayLike,
    mask: npt.NDArray[np.uint16] | None = None,
    *,
    excluded: int = 0,
    scale: npt.ArrayLike | None = None,
    variance: npt.ArrayLike | None = None,
    clip: float = 3.0,
    iterations: int = 3,
    no_good_pixels: int = BAD,
    input_variance_below: int = FEW_EXPOSURES,
) -> Combined:
    """Combine a stack of exposures by a clipped mean.

    Parameters
    ----------
    stack : array, shape (exposures, ...)
        Pixels, any unit. C-contiguous float32 is used as it is; anything else is converted, which
        costs a copy.
    mask : array of uint16, shape (exposures, ...), optional
        Mask planes of each pixel (`cpflow.kernels.planes`).
    excluded : int
        Bits that keep a pixel out of the mean. Values that are not finite are always kept out.
    scale : array, shape (exposures,), optional
        What each exposure is divided by: its pixels are multiplied by ``float32(1/scale)`` and its
        variance by ``1/scale**2`` (spec 2.1). With a scale per amplifier, combine each amplifier
        by itself.
    variance : array, shape (exposures, ...), optional
        Variance of each pixel, in the unit of the stack squared. Used where there are few exposures
        or only one good pixel.
    clip : float
        Half-width of the kept interval in standard deviations.
    iterations : int
        Passes; always as many, there is no test for convergence. 0 is the plain mean.
    no_good_pixels : int
        Mask of a pixel without any good input.
    input_variance_below : int
        With fewer exposures than this, and `variance` given, the output variance is the sum of the
        survivors' variances over m**2. Otherwise it is the survivors' sample variance over m.

    Returns
    -------
    Combined

    Raises
    ------
    ValueError
        If there is no exposure, more than 65535, an array of another shape than the stack, a scale
        that is zero or not finite, or a `clip` or `iterations` below zero.

    Notes
    -----
    Spec 3.3. Pass 1 keeps the values within ``clip * 0.7413 * (q75 - q25)`` of the median, later
    ones those within ``clip`` standard deviations of the previous mean; every pass tests all good
    values again, inclusively. Values are float32 and sums float64.

    Where the rule leaves a single value, its interval has no width and it stays by itself; its
    variance is its input variance, or NaN if that is not given. Every pixel is computed in a fixed
    order of its own sorted values, so the same pixels give the same bits in any chunk, thread or
    order of exposures. The GIL is released, and beside the result only a few hundred pixels of the
    stack are copied at a time.
    """
    return combine_stack(
        stack,
        mask,
        excluded=excluded,
        scale=scale,
        variance=variance,
        clip=clip,
        iterations=iterations,
        median=False,
        no_good_pixels=no_good_pixels,
        input_variance_below=input_variance_below,
    )
