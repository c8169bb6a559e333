"""How two images of the same thing differ: by how much, where, and how surely."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpflow.kernels.statistics import clipped_statistics

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class ImageDifference:
    """New less old, over the pixels that both have.

    Attributes
    ----------
    mean, error : float
        Clipped mean, and its error from the variances.
    rms : float
        Clipped standard deviation.
    chi2 : float
        Sum of squares about the clipped mean over the sum of variances, of pixels within five
        standard deviations; 1 if nothing changed.
    chi2_error : float
        What sampling leaves of that.
    pixels : int
    beyond : int
        Pixels more than five standard deviations from the clipped mean.
    gained, lost : int
        Pixels that only the new image, or only the old one, masks.
    """

    mean: float
    error: float
    rms: float
    chi2: float
    chi2_error: float
    pixels: int
    beyond: int
    gained: int
    lost: int


def compare_images(
    new: Floats,
    old: Floats,
    variance: Floats,
    new_masked: npt.NDArray[np.bool_],
    old_masked: npt.NDArray[np.bool_],
    *,
    relative: bool = False,
) -> ImageDifference:
    """Compare two images of an amplifier.

    Parameters
    ----------
    new, old : array of float, shape (rows, columns)
    variance : array of float, same shape
        Of the difference: the sum of both.
    new_masked, old_masked : array of bool, same shape
    relative : bool
        Differences over the old image, as of flats.

    Returns
    -------
    ImageDifference
    """
    good = ~new_masked & ~old_masked & np.isfinite(new) & np.isfinite(old) & (variance > 0)
    gained = int((new_masked & ~old_masked).sum())
    lost = int((old_masked & ~new_masked).sum())
    if relative:
        good &= old != 0
    count = int(good.sum())
    if count < 2:
        nan = math.nan
        return ImageDifference(nan, nan, nan, nan, nan, count, 0, gained, lost)
    difference = new[good].astype(np.float64) - old[good]
    spread = variance[good].astype(np.float64)
    if relative:
        difference /= old[good]
        spread /= np.square(old[good], dtype=np.float64)
    clipped = clipped_statistics(difference, clip=5.0, iterations=3)
    left = difference - clipped.mean
    # The variance of few values is a rough one: that of a pixel by itself makes too much of pixels
    # where it is small by chance, and a ratio of sums does not.
    usual = clipped_statistics(spread, clip=5.0, iterations=3).mean
    pulls = left / np.sqrt(np.maximum(spread, usual))
    quiet = np.abs(pulls) <= 5
    return ImageDifference(
        clipped.mean,
        float(np.sqrt(spread.mean() / count)),
        clipped.stdev,
        float(np.sum(left[quiet] ** 2) / np.sum(spread[quiet])),
        math.sqrt(2 / count),
        count,
        int((np.abs(pulls) > 5).sum()),
        gained,
        lost,
    )
