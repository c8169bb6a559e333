"""What one pair of flats tells about the noise of an amplifier (spec 1.3 to 1.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpflow.kernels.masks import Mask
from cpflow.kernels.ptc_covariance import LagCovariances, lag_covariances
from cpflow.kernels.ptc_gain import GainCorrection, pair_gain
from cpflow.kernels.ptc_gaussianity import Gaussianity, gaussianity
from cpflow.kernels.statistics import ClippedStatistics, clipped_statistics
from cpflow.kernels.truncation import clipped_stdev_of_normal

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairOptions:
    """How a pair of flats is measured.

    Attributes
    ----------
    max_lag : int
        Covariances at lags 0 to ``max_lag - 1`` in each direction.
    clip : float
        Pixels whose difference is this many standard deviations from 0 do not count.
    iterations : int
        Of the clipped statistics.
    min_pixels : int
        With fewer, the pair is bad.
    gain_correction : {"NONE", "SIMPLE", "FULL"}
        Of the pair's own gain.
    histogram : bool
        Whether to test the difference for normality.
    histogram_bins : int
    histogram_range : float
        Half width of the histogram in units of the square root of the mean in adu.
    histogram_min_values : int
        With fewer pixels there is no test.
    """

    max_lag: int = 10
    clip: float = 5.5
    iterations: int = 3
    min_pixels: int = 10_000
    gain_correction: GainCorrection = "FULL"
    histogram: bool = False
    histogram_bins: int = 100
    histogram_range: float = 8.0
    histogram_min_values: int = 100

    def __post_init__(self) -> None:
        if self.max_lag < 1 or self.iterations < 1 or self.min_pixels < 2 or not self.clip > 0:
            raise ValueError(
                f"max_lag ({self.max_lag}), iterations ({self.iterations}) and clip ({self.clip}) "
                f"have to be positive, min_pixels ({self.min_pixels}) 2 or more"
            )


@dataclass(frozen=True, slots=True)
class PairMeasurement:
    """Mean, variance and covariances of a pair of flats.

    Attributes
    ----------
    mean : float
        Mean of the two signals in adu.
    delta : float
        Second minus first, in adu.
    variance : float
        Of one exposure in adu squared: half that of the difference, corrected for clipping.
    row_mean_variance : float
        Clipped variance of the row means of the difference in adu squared; not halved.
    covariances : array of float64, shape (max_lag, max_lag)
        Of one exposure in adu squared, ``[lag in x, lag in y]``. x runs along rows.
    sqrt_weights : array of float64, shape (max_lag, max_lag)
        One over the standard errors of the covariances, in 1/adu squared.
    pixels : array of int64, shape (max_lag, max_lag)
        Pairs of pixels of each covariance.
    n_pixels : int
        Pixels that are good and finite in both exposures.
    gain : float
        From this pair alone, in electron/adu.
    histogram_variance, histogram_chi2, p_value : float
        See `cpflow.kernels.ptc_gaussianity`. The variance is that of the difference, not halved.
        NaN, NaN and 1 if that was not asked for.
    good : bool
        Whether the pair can be used. If not, floats are NaN and p_value is 0.
    reason : str
        Why not.
    """

    mean: float
    delta: float
    variance: float
    row_mean_variance: float
    covariances: Array
    sqrt_weights: Array
    pixels: npt.NDArray[np.int64]
    n_pixels: int
    gain: float
    histogram_variance: float
    histogram_chi2: float
    p_value: float
    good: bool
    reason: str


def measure_pair(
    first: npt.NDArray[np.float32],
    second: npt.NDArray[np.float32],
    good: Mask | None = None,
    read_noises: tuple[float, float] = (math.nan, math.nan),
    options: PairOptions | None = None,
) -> PairMeasurement:
    """Measure a pair of flats in one amplifier.

    Parameters
    ----------
    first, second : array of float32, shape (rows, columns)
        The same region of two flats in adu. Readout order or not: flips do not matter, since lags
        are absolute values; rows have to be rows.
    good : array of bool, shape (rows, columns), optional
        Pixels that are good in both exposures. The numbers of good pixels in each may differ.
    read_noises : (float, float)
        Of the two exposures in adu; NaN if unknown. The gain uses the mean of those known.
    options : PairOptions, optional

    Returns
    -------
    PairMeasurement

    Raises
    ------
    ValueError
        If shapes differ, or the region is smaller than the lags.

    Notes
    -----
    Spec 1.3 to 1.5, with these corrections. Q1: both means have to be above 0. Q2: all rows count.
    Q3, Q4: see `pair_gain` and `gaussianity`. The gain and the histogram are of the difference
    with equal illumination, ``(mu2 I1 - mu1 I2)/mu``, since a difference of 0.3 % makes a gain
    12 % too low at 30,000 electrons; and the gain leaves out clipped pixels, since one cosmic ray
    of 50,000 electrons in a million pixels makes it 5 % too low.
    """
    options = options or PairOptions()
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"a pair of images of shapes {first.shape} and {second.shape}")
    if good is not None and good.shape != first.shape:
        raise ValueError(f"images of {first.shape} with a mask of {good.shape}")
    usable = np.isfinite(first) & np.isfinite(second)
    if good is not None:
        usable &= good
    n_pixels = int(np.count_nonzero(usable))
    if n_pixels < options.min_pixels:
        return _bad(options, n_pixels, f"{n_pixels} good pixels of {options.min_pixels} needed")
    mu1, mu2 = (
        clipped_statistics(image, usable, options.clip, options.iterations).mean
        for image in (first, second)
    )
    if not (mu1 > 0 and mu2 > 0):
        return _bad(options, n_pixels, f"means of {mu1:.6g} and {mu2:.6g} adu")
    mean = 0.5 * (mu1 + mu2)
    difference = (mu2 / mean) * first.astype(np.float64)
    # In float64: a product of float32 would round to some 0.001 adu.
    difference -= (mu1 / mean) * second.astype(np.float64)
    clipped = clipped_statistics(difference, usable, options.clip, options.iterations)
    if not clipped.stdev > 0:
        return _bad(options, n_pixels, "the two exposures do not differ")
    weight = usable & (np.abs(difference) <= clipped.mean + options.clip * clipped.stdev)
    kept = int(np.count_nonzero(weight))
    if kept < options.min_pixels:
        reason = f"{kept} pixels of {options.min_pixels} needed are left after clipping"
        return _bad(options, n_pixels, reason)
    lags = lag_covariances(difference, weight, options.max_lag)
    if not (lags.pixels > 0).all():
        return _bad(options, n_pixels, "a lag without a single pair of pixels")
    covariances, sqrt_weights = _per_exposure(lags, options.clip)
    histogram = Gaussianity(math.nan, math.nan, 1.0)
    if options.histogram:
        half_range = options.histogram_range * math.sqrt(mean)
        histogram = gaussianity(
            difference[usable], half_range, options.histogram_bins, options.histogram_min_values
        )
    known = [noise for noise in read_noises if not math.isnan(noise)]
    noise = sum(known) / len(known) if known else math.nan
    ratio = _squares_over_sums(first, second, difference, weight, mu1, mu2)
    return PairMeasurement(
        mean=mean,
        delta=mu2 - mu1,
        variance=0.5 * clipped.stdev**2 * _clip_correction(options.clip),
        row_mean_variance=_row_means(difference, usable, options).stdev ** 2,
        covariances=covariances,
        sqrt_weights=sqrt_weights,
        pixels=lags.pixels,
        n_pixels=n_pixels,
        gain=pair_gain(ratio, mean, noise, options.gain_correction),
        histogram_variance=histogram.variance,
        histogram_chi2=histogram.chi2_per_dof,
        p_value=histogram.p_value,
        good=True,
        reason="",
    )


def _clip_correction(clip: float) -> float:
    """Return what a clipped variance of normal values has to be multiplied by (spec 0.3)."""
    return clipped_stdev_of_normal(clip, 1) ** -2


def _per_exposure(lags: LagCovariances, clip: float) -> tuple[Array, Array]:
    covariances = 0.5 * lags.values
    error2 = covariances[0, 0] ** 2 / lags.pixels
    error2[0, 0] *= 2
    correction = np.full(covariances.shape, _clip_correction(clip) ** 2)
    correction[0, 0] = _clip_correction(clip)
    with np.errstate(divide="ignore"):
        return covariances * correction, np.nan_to_num(1 / np.sqrt(error2))


def _row_means(difference: Array, usable: Mask, options: PairOptions) -> ClippedStatistics:
    counts = np.count_nonzero(usable, axis=1)
    sums = np.sum(difference, axis=1, where=usable)
    means = sums[counts > 0] / counts[counts > 0]
    return clipped_statistics(means, None, options.clip, options.iterations)


def _squares_over_sums(
    first: npt.NDArray[np.float32],
    second: npt.NDArray[np.float32],
    difference: Array,
    weight: Mask,
    mu1: float,
    mu2: float,
) -> float:
    """Return the mean of ``(I1 - I2)**2 / (I1 + I2)`` of both flats scaled to the same mean."""
    mean = 0.5 * (mu1 + mu2)
    sums = (mean / mu1) * first[weight].astype(np.float64)
    sums += (mean / mu2) * second[weight].astype(np.float64)
    squares = difference[weight] ** 2
    # Scaling by mean/mu1 and mean/mu2 makes Poisson variances too large by this factor, and those
    # of the symmetric difference too small by it.
    squares /= mu1 * mu2 / mean**2
    positive = sums > 0
    return float(np.mean(squares[positive] / sums[positive])) if positive.any() else math.nan


def _bad(options: PairOptions, n_pixels: int, reason: str) -> PairMeasurement:
    nan = math.nan
    matrix = np.full((options.max_lag, options.max_lag), nan)
    nothing = np.zeros(matrix.shape, np.int64)
    return PairMeasurement(
        nan, nan, nan, nan, matrix, matrix.copy(), nothing, n_pixels, nan, nan, nan, 0.0, False,
        reason,
    )  # fmt: skip
