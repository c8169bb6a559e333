"""By how much points of a ramp scatter, beyond what photons explain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from cpflow.kernels.robust_weights import robust_scale

Array = npt.NDArray[np.float64]

# Signals are never known better than this, relative: sums of float64 are not.
_ROUNDING = 1e-12
# Photons, lamp and shutter, and both.
_POWERS = (0.5, 0.75, 1.0)


def mean_errors(variance: npt.ArrayLike, pixels: npt.ArrayLike) -> Array:
    """Return standard errors of mean signals.

    Parameters
    ----------
    variance : array of float, shape (points,)
        Of single pixels, adu**2.
    pixels : array of float or float
        How many each mean has. Correlations of neighbours are neglected.

    Returns
    -------
    array of float64, shape (points,)
        In adu; NaN where the variance is negative or there is no pixel.
    """
    v, n = np.broadcast_arrays(np.asarray(variance, np.float64), np.asarray(pixels, np.float64))
    errors = np.full(v.shape, np.nan)
    known = (v >= 0) & (n > 0)
    errors[known] = np.sqrt(v[known] / n[known])
    return errors


def _ranks(values: Array) -> Array:
    return np.asarray(np.argsort(np.argsort(values, kind="stable"), kind="stable"), np.float64)


def _power_law(residuals: Array, signal: Array, parameters: int) -> Array:
    """Return the law in units of which residuals have the same size at all signals.

    Ranks tell, on which outliers have no more influence than other points.
    """
    if len(residuals) <= parameters:
        return 0.0 * signal
    places = _ranks(signal)
    trends = []
    for power in _POWERS:
        sizes = _ranks(np.abs(residuals) / signal**power)
        trends.append(abs(float(np.dot(sizes - sizes.mean(), places - places.mean()))))
    shape = signal ** _POWERS[int(np.argmin(trends))]
    return np.asarray(robust_scale(residuals / shape, parameters) * shape)


def total_errors(
    residuals: Array, signal: Array, errors: Array | None, parameters: int
) -> tuple[Array, float]:
    """Add to photon noise what lamp and shutter do.

    Parameters
    ----------
    residuals : array of float64, shape (points,)
        Of the latest fit, adu.
    signal : array of float64, shape (points,)
        In adu, above 0.
    errors : array of float64, shape (points,), optional
        Of photons and read noise, adu. Without them errors are a power of the signal from 0.5
        (photons) to 1 (jitter), whichever fits better.
    parameters : int
        Of the fit.

    Returns
    -------
    errors : array of float64, shape (points,)
        Residuals in units of these have a robust standard deviation of 1, or less if the given
        errors are too large.
    jitter : float
        The part that goes with the signal, relative; 0 without given errors.

    Notes
    -----
    The mean of a million pixels is known to some 1e-5 or better, while shutters and lamps repeat to
    some 1e-4 of the signal. With photon noise alone bright points would get weights hundreds of
    times too large.
    """
    floor = _ROUNDING * signal
    if errors is None:
        return np.maximum(_power_law(residuals, signal, parameters), floor), 0.0
    base = np.maximum(errors, floor)

    def excess(jitter: float) -> float:
        return robust_scale(residuals / np.hypot(base, jitter * signal), parameters) - 1

    # Without residuals to spare there is no scatter to measure.
    if len(residuals) <= parameters or excess(0.0) <= 0:
        return base, 0.0
    most = 2 * float(np.abs(residuals / signal).max())
    jitter = float(brentq(excess, 0.0, most, xtol=1e-9, rtol=1e-3))
    return np.hypot(base, jitter * signal), jitter
