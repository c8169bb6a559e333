"""A robust constant or line through the ratios of one pair of amplifiers (spec 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpflow.kernels.clip_factors import median_clip_factors
from cpflow.kernels.statistics import IQR_TO_SIGMA
from cpflow.kernels.weighted_statistics import weighted_median

Floats = npt.NDArray[np.float64]

_MOST_BINS = 20
_LEAST_IN_BIN = 8


@dataclass(frozen=True, slots=True)
class RatioFit:
    """Ratio as a function of the source's flux.

    Attributes
    ----------
    parameters : array of float64, shape (order + 1,)
        Constant, and slope with flux; NaN where there are too few ratios.
    covariance : array of float64, shape (order + 1, order + 1)
        Of the parameters; NaN without a degree of freedom.
    scatter : float
        Standard deviation of a ratio, at a flux whose square is the mean square if weighted.
    count : int
        Ratios that clipping left.
    """

    parameters: Floats
    covariance: Floats
    scatter: float
    count: int


def fit_ratios(
    ratios: Floats,
    fluxes: Floats,
    *,
    order: int = 0,
    clip: float = 2.0,
    rounds: int = 3,
    weighted: bool = True,
) -> RatioFit:
    """Fit a constant or a line to ratios, without outliers.

    Parameters
    ----------
    ratios, fluxes : array of float64, shape (n,)
    order : int
        0 or 1.
    clip : float
        What is kept lies nearer to the median, or to a line through medians of bins in flux, than
        this many standard deviations as the quartiles give them.
    rounds : int
        Each clips what is left; they end where nothing would go, or too much for a fit.
    weighted : bool
        Weigh by the square of the flux: the noise is that of the target and does not depend on the
        source, so that of a ratio goes with 1/flux.

    Returns
    -------
    RatioFit

    Raises
    ------
    ValueError
        If `order` is neither 0 nor 1, or the arrays differ in shape.

    Notes
    -----
    Ratios that are not finite, or 1 and more in size, are left out. Errors allow for the clipping,
    which on normal noise makes a mean's error 1.23 times that of all values, and for the degrees of
    freedom (`median_clip_factors`). A round that finds nothing to clip counts, since to repeat it
    would change nothing. Errors of few ratios are too small: by 14 % for 60, by a third for 20.
    """
    if order not in (0, 1):
        raise ValueError(f"crosstalk has order 0 or 1 in flux, not {order}")
    if ratios.shape != fluxes.shape or ratios.ndim != 1:
        raise ValueError(f"{ratios.shape} ratios have {fluxes.shape} fluxes")
    good = np.isfinite(ratios) & np.isfinite(fluxes) & (np.abs(ratios) < 1) & (fluxes > 0)
    r, flux = ratios[good], fluxes[good]
    for _ in range(rounds):
        if len(r) == 0:
            break
        residual = r - _centre(r, flux, order, weighted)
        if weighted:
            residual *= flux
        q25, q75 = np.percentile(residual, [25, 75])
        keep = np.abs(residual) < clip * IQR_TO_SIGMA * (q75 - q25)
        if keep.all() or keep.sum() < order + 2:
            break
        r, flux = r[keep], flux[keep]
    return _least_squares(r, flux, order, weighted, clip, rounds)


def _centre(r: Floats, flux: Floats, order: int, weighted: bool) -> Floats | float:
    """Return the median, or at each flux the line through the medians of bins."""
    weight = flux if weighted else np.ones_like(flux)
    bins = min(_MOST_BINS, len(r) // _LEAST_IN_BIN)
    if order == 0 or bins < 2 or np.ptp(flux) == 0:
        return weighted_median(r, weight)
    parts = np.array_split(np.argsort(flux, kind="stable"), bins)
    medians = np.array([weighted_median(r[part], weight[part]) for part in parts])
    precision = np.array([(weight[part] ** 2).sum() for part in parts])
    centres = np.array([np.average(flux[part], weights=weight[part] ** 2) for part in parts])
    if np.ptp(centres) == 0:
        return weighted_median(r, weight)
    middle = np.average(centres, weights=precision)
    lever = precision * (centres - middle)
    slope = (lever * medians).sum() / (lever * (centres - middle)).sum()
    level = np.average(medians, weights=precision)
    return np.asarray(level + slope * (flux - middle), np.float64)


def _least_squares(
    r: Floats, flux: Floats, order: int, weighted: bool, clip: float, rounds: int
) -> RatioFit:
    terms = order + 1
    count = len(r)
    nothing = np.full((terms, terms), np.nan)
    if count == 0 or (order == 1 and np.ptp(flux) == 0):
        return RatioFit(np.full(terms, np.nan), nothing, np.nan, count)
    weight = flux if weighted else np.ones_like(flux)
    # Around the mean flux the two parameters of a line are independent.
    middle = float(np.average(flux, weights=weight**2))
    total = float((weight**2).sum())
    level = float((weight**2 * r).sum()) / total
    from_level = np.array([[1.0, -middle], [0.0, 1.0]])[:terms, :terms]
    found, precision = np.array([level]), np.array([total])
    model = np.full(count, level)
    if order == 1:
        lever = weight**2 * (flux - middle)
        leverage = float((lever * (flux - middle)).sum())
        slope = float((lever * r).sum()) / leverage
        found, precision = np.array([level, slope]), np.array([total, leverage])
        model += slope * (flux - middle)
    if count <= terms:
        return RatioFit(np.asarray(from_level @ found), nothing, np.nan, count)
    factors = median_clip_factors(clip, rounds)
    variance = float((weight**2 * (r - model) ** 2).sum()) / (count - terms)
    covariance = from_level @ np.diag(variance / precision) @ from_level.T * factors.mean_error**2
    scatter = factors.scatter * float(np.sqrt(variance * count / total))
    return RatioFit(np.asarray(from_level @ found), np.asarray(covariance), scatter, count)
