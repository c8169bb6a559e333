"""Whether the difference of two flats is normally distributed (spec 1.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.special import kolmogorov, ndtr

# Smaller probabilities are not worth telling apart.
_LEAST_P = 1e-15


@dataclass(frozen=True, slots=True)
class Gaussianity:
    """A normal distribution fitted to a histogram, and how well it describes the values.

    Attributes
    ----------
    variance : float
        Of the fitted distribution, in the squared unit of the values; NaN without a fit.
    chi2_per_dof : float
        Of the fit to the histogram.
    p_value : float
        Of a Kolmogorov-Smirnov test of all values; 0 below 1e-15 or without a fit.
    """

    variance: float
    chi2_per_dof: float
    p_value: float


_NONE = Gaussianity(math.nan, math.nan, 0.0)


def gaussianity(
    values: npt.NDArray[np.floating], half_range: float, bins: int = 100, min_values: int = 100
) -> Gaussianity:
    """Fit a normal distribution to a histogram and test the values against it.

    Parameters
    ----------
    values : array of float, any shape
        Those that are not finite are left out (Q4).
    half_range : float
        The histogram runs from minus to plus this.
    bins : int
    min_values : int
        With fewer values there is no fit.

    Returns
    -------
    Gaussianity

    Raises
    ------
    ValueError
        If `bins` is less than 4: three parameters are fitted.

    Notes
    -----
    Spec 1.5. Bins have the weight 1/sqrt(counts), or 1 if empty. The probability is the asymptotic
    one with Stephens' correction for finite numbers; the parameters come from the same values, so
    that it is on the high side. Values that are whole numbers of adu fail for a width below about
    sqrt(number)/3 adu: the test sees their steps.
    """
    if bins < 4:
        raise ValueError(f"a normal distribution cannot be fitted to {bins} bins")
    flat = np.asarray(values, np.float64).reshape(-1)
    flat = flat[np.isfinite(flat)]
    if flat.size < max(min_values, 2) or not (half_range > 0 and flat.std() > 0):
        return _NONE
    counts, edges = np.histogram(flat, bins, (-half_range, half_range))
    if np.count_nonzero(counts) < 4:
        return _NONE
    centres = 0.5 * (edges[1:] + edges[:-1])
    weights = 1 / np.sqrt(np.maximum(counts, 1))

    def residuals(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        z = (centres - p[1] * half_range) / (p[2] * half_range)
        return np.asarray((p[0] * np.exp(-0.5 * z**2) - counts) * weights)

    start = (float(counts.max()), flat.mean() / half_range, flat.std() / half_range)
    fit = least_squares(residuals, start, method="lm")
    centre, sigma = fit.x[1] * half_range, abs(fit.x[2]) * half_range
    if not (fit.success and np.isfinite(sigma) and sigma > 0):
        return _NONE
    z = np.sort((flat - centre) / sigma)
    n = z.size
    expected = ndtr(z)
    rank = np.arange(n + 1) / n
    distance = max(float((rank[1:] - expected).max()), float((expected - rank[:-1]).max()))
    p = float(kolmogorov((math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance))
    chi2 = 2 * float(fit.cost)
    return Gaussianity(float(sigma**2), chi2 / (bins - 3), p if p >= _LEAST_P else 0.0)
