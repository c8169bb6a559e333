"""Statistics of what is left of an amplifier when everything known is subtracted (verification 1).

All take pixels of one amplifier, shape (rows, columns), and which of them are good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpflow.kernels.column_medians import column_medians
from cpflow.kernels.statistics import ClippedStatistics, clipped_statistics

# By how much the variance of a template, a clipped mean, may be wrong where its clipping has been
# allowed for.
_DOUBT = 0.1

# The median absolute deviation of a normal distribution, as a standard deviation.
_MAD_TO_SIGMA = 1.482602218505602

Pixels = npt.NDArray[np.float32]
Good = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PixelStatistics:
    """Statistics of the good pixels of an amplifier (verification 1.2), in the unit of the image.

    Attributes
    ----------
    n, n_masked, n_clipped : int
        Good pixels; all others; good ones that clipping left out.
    mean, stdev : float
        Unclipped; `stdev` with n - 1.
    median : float
    clipped_mean, clipped_stdev : float
    minimum, maximum : float
    """

    n: int
    n_masked: int
    n_clipped: int
    mean: float
    stdev: float
    median: float
    clipped_mean: float
    clipped_stdev: float
    minimum: float
    maximum: float


def pixel_statistics(
    pixels: Pixels, good: Good, *, clip: float = 5.0, iterations: int = 3
) -> PixelStatistics:
    """Return the statistics of an amplifier; NaN where there are too few good pixels.

    Parameters
    ----------
    pixels : array of float32
    good : array of bool
        Pixels that count, besides being finite.
    clip : float
        In standard deviations.
    iterations : int
        Passes of clipping; each tests all pixels again.
    """
    values = pixels[good & np.isfinite(pixels)]
    if values.size < 2:
        nan = math.nan
        return PixelStatistics(
            values.size, pixels.size - values.size, 0, nan, nan, nan, nan, nan, nan, nan
        )
    clipped = clipped_statistics(values, clip=clip, iterations=iterations)
    if clipped.stdev == 0 and values.std() > 0:
        # Noise of less than a count: half of the pixels are equal, and quartiles tell nothing.
        clipped = _clipped_by_stdev(values, clip, iterations, clipped.median)
    return PixelStatistics(
        n=values.size,
        n_masked=pixels.size - values.size,
        n_clipped=clipped.n - clipped.used,
        mean=float(values.mean(dtype=np.float64)),
        stdev=float(values.std(dtype=np.float64, ddof=1)),
        median=clipped.median,
        clipped_mean=clipped.mean,
        clipped_stdev=clipped.stdev,
        minimum=float(values.min()),
        maximum=float(values.max()),
    )


def standard_deviation(pixels: Pixels, good: Good) -> float:
    """Return that of the good pixels that are finite, with n - 1; NaN for fewer than two."""
    values = pixels[good & np.isfinite(pixels)]
    return float(values.std(dtype=np.float64, ddof=1)) if values.size > 1 else math.nan


def _clipped_by_stdev(
    values: npt.NDArray[np.float32], clip: float, iterations: int, median: float
) -> ClippedStatistics:
    """Clip by the standard deviation from the start."""
    kept = values.astype(np.float64)
    for _ in range(iterations):
        near = np.abs(values - kept.mean()) <= clip * kept.std(ddof=1)
        kept = values[near].astype(np.float64)
    mean, stdev = float(kept.mean()), float(kept.std(ddof=1))
    return ClippedStatistics(mean, stdev, values.size, kept.size, median)


@dataclass(frozen=True, slots=True)
class BlockScatter:
    """Scatter of the means of square blocks of pixels.

    Attributes
    ----------
    variance : float
        Of the means, with the number of blocks less one in the denominator; NaN for fewer than two.
    blocks : int
    lines : int
        Rows of blocks that have any.
    inverse_pixels : float
        Mean over the blocks of one over their good pixels.
    """

    variance: float
    blocks: int
    lines: int
    inverse_pixels: float


def block_scatter(pixels: Pixels, good: Good, block: int) -> BlockScatter:
    """Return the scatter of block means: what noise of single pixels cannot explain is structure.

    Blocks with less than half of their pixels good are left out, as are the pixels beyond the last
    whole block.
    """
    rows, columns = (n // block for n in pixels.shape)
    shape = rows, block, columns, block
    inside = slice(rows * block), slice(columns * block)
    count = good[inside].reshape(shape).sum(axis=(1, 3))
    total = np.where(good[inside], pixels[inside], 0).reshape(shape)
    enough = count * 2 >= block * block
    blocks = int(enough.sum())
    if blocks < 2:
        return BlockScatter(math.nan, blocks, int(enough.any(axis=1).sum()), math.nan)
    means = total.sum(axis=(1, 3), dtype=np.float64)[enough] / count[enough]
    return BlockScatter(
        float(means.var(ddof=1)),
        blocks,
        int(enough.any(axis=1).sum()),
        float((1 / count[enough]).mean()),
    )


@dataclass(frozen=True, slots=True)
class Projection:
    """How much of a template is left in a residual.

    Attributes
    ----------
    amplitude : float
        1 where it was not subtracted at all, -1 where twice.
    error : float
        Of the amplitude; infinite where the template has less structure than noise.
    """

    amplitude: float
    error: float


def project(
    pixels: Pixels,
    template: Pixels,
    good: Good,
    *,
    variance: npt.NDArray[np.float32] | float,
    template_variance: npt.NDArray[np.float32] | float,
    shared_noise: bool,
) -> Projection:
    """Fit a residual by a multiple of what was subtracted, each pixel weighted by its variance.

    The template holds noise of its own, which the residual has with the other sign, except where
    the residual is of an exposure that the template was made from: then its own part of that noise
    comes back, and on the whole there is no correlation.

    Parameters
    ----------
    pixels, template : array of float32
        In the same unit.
    good : array of bool
    variance : array or float
        Of a pixel of the residual.
    template_variance : array or float
        Of a pixel of the template.
    shared_noise : bool
        Whether the template was made from this exposure too.
    """
    chosen = good & np.isfinite(pixels) & np.isfinite(template)
    f = template[chosen].astype(np.float64)
    r = pixels[chosen].astype(np.float64)
    of_pixel, of_template = (
        np.broadcast_to(np.asarray(v, np.float64), pixels.shape)[chosen]
        for v in (variance, template_variance)
    )
    if f.size < 2 or not (of_pixel > 0).all():
        return Projection(math.nan, math.nan)
    noise = of_template / of_pixel
    own = float(noise.sum())
    total = float((f * f / of_pixel).sum())
    power = total - own
    # The power that noise alone gives is uncertain by the square root of twice its squares; and
    # where most of the template is noise, the doubt about its variance is all that there is.
    if power <= max(own, 5 * math.sqrt(2 * float(noise @ noise))):
        return Projection(0.0, math.inf)
    overlap = float((f * r / of_pixel).sum()) + (0.0 if shared_noise else own)
    return Projection(overlap / power, math.hypot(math.sqrt(total), _DOUBT * own) / power)


@dataclass(frozen=True, slots=True)
class DeviantColumn:
    """The column of an amplifier that deviates most from the others.

    Attributes
    ----------
    deviation : float
        Of its median from the median of all columns, with its sign; NaN without columns.
    error : float
        What noise gives the median of that column.
    index : int
        In the readout frame; -1 without columns.
    """

    deviation: float
    error: float
    index: int


def deviant_column(pixels: Pixels, good: Good, noise: float) -> DeviantColumn:
    """Return the column that deviates most, in its standard deviations, from the median of all.

    Medians, so that a cosmic ray is no column. Columns with less than half of their pixels good
    are left out.
    """
    good = good & np.isfinite(pixels)
    count = good.sum(axis=0)
    enough = count * 2 >= pixels.shape[0]
    if enough.sum() < 3 or not noise > 0:
        return DeviantColumn(math.nan, math.nan, -1)
    columns, known, count = pixels[:, enough], good[:, enough], count[enough]
    medians = column_medians(columns, known)
    deviations = medians - np.median(medians)
    # A column that is dark in the flat that it was divided by is noisier than the others.
    own = _MAD_TO_SIGMA * column_medians(np.abs(columns - medians.astype(np.float32)), known)
    errors = np.maximum(own, noise) * math.sqrt(math.pi / 2) / np.sqrt(count)
    worst = int(np.argmax(np.abs(deviations) / errors))
    index = int(np.flatnonzero(enough)[worst])
    return DeviantColumn(float(deviations[worst]), float(errors[worst]), index)
