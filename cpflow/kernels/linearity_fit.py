"""Nonlinearity of an amplifier from its mean signals at many exposure times or charges."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cpflow.kernels.linearity_polynomial import (
    fit_polynomial_ramp,
    polynomial_correction,
    tabulate_correction,
)
from cpflow.kernels.linearity_result import LinearityFit, LinearityOptions, RampFit, no_fit
from cpflow.kernels.linearity_spline_fit import fit_spline_ramp, spline_deviation, spline_nodes
from cpflow.kernels.linearity_turnoff import Turnoff, find_turnoff
from cpflow.kernels.masks import Mask
from cpflow.kernels.robust_weights import robust_scale

__all__ = ["LinearityFit", "LinearityOptions", "fit_linearity"]

Array = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int64]


def fit_linearity(
    abscissa: npt.ArrayLike,
    ordinate: npt.ArrayLike,
    errors: npt.ArrayLike | None = None,
    options: LinearityOptions | None = None,
    *,
    usable: Mask | None = None,
    trusted: Mask | None = None,
    groups: npt.ArrayLike | None = None,
    anchor: float | None = None,
) -> LinearityFit:
    """Find the correction of the nonlinearity of an amplifier.

    Parameters
    ----------
    abscissa : array of float, shape (points,)
        Exposure time or photodiode charge.
    ordinate : array of float, shape (points,)
        Mean signal, adu.
    errors : array of float, shape (points,), optional
        Of the mean signals, adu, see `mean_errors`; without them they are taken from the scatter
        (`total_errors`).
    options : LinearityOptions, optional
    usable : array of bool, shape (points,), optional
        Points that count at all.
    trusted : array of bool, shape (points,), optional
        Points of the photon transfer curve, say: the search for the turnoff begins with them, the
        fit does not care.
    groups : array of int, shape (points,), optional
        Points of equal illumination, which share a slope (`group_exposures`); those with a negative
        number are left out.
    anchor : float, optional
        Turnoff of the photon transfer curve, adu: up to here the mean deviation of a spline is 0.
        By default the turnoff found.

    Returns
    -------
    LinearityFit

    Raises
    ------
    ValueError
        If shapes do not fit. A ramp that cannot be fitted is no error, see `LinearityFit.reason`.

    Notes
    -----
    Reference 2.3 to 2.6. A ramp determines the shape of the response; the overall slope is a
    convention, and with it the gain: for polynomials d corrected/d observed is 1 at zero signal,
    for splines the mean deviation up to `anchor` is 0. Both are 0 at 0.

    "squared" is a fit of a quadratic; the reference takes the quadratic term of a cubic, without
    whose other term it is not the best correction. All types are fitted up to the turnoff; the
    reference leaves polynomials to `max_adu`. Residuals are without the intercept in all types; the
    reference subtracts it for splines only.
    """
    options = options or LinearityOptions()
    x, y = np.asarray(abscissa, np.float64), np.asarray(ordinate, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"abscissae of shape {x.shape} do not have signals of {y.shape}")
    numbers = np.zeros(len(x), np.int64) if groups is None else np.asarray(groups, np.int64)
    sigma = None if errors is None else np.asarray(errors, np.float64)
    others = (usable, trusted, numbers, sigma)
    if any(array is not None and array.shape != x.shape for array in others):
        raise ValueError(f"masks, groups and errors have to have one entry for {len(x)} points")
    finite = np.isfinite(x) & np.isfinite(y) & (x > 0) & (numbers >= 0)
    if usable is not None:
        finite &= usable
    inside = np.where(finite, numbers, -1)
    turnoff = find_turnoff(
        x, y, inside, trusted, min_signal=options.min_turnoff_adu,
        max_signal=options.max_turnoff_adu, max_deviation=options.max_deviation,
    )  # fmt: skip
    chosen = finite & (y > max(options.min_adu, 0.0)) & (y < options.max_adu)
    if sigma is not None:
        chosen &= np.isfinite(sigma) & (sigma >= 0)
    chosen &= _before(turnoff, y, options.max_deviation)
    if options.nodes:
        chosen &= y <= options.nodes[-1]
    present = np.unique(numbers[chosen])
    nodes = np.zeros(options.values)
    if not finite.any():
        fit = no_fit(options.values, "no point is usable")
    elif math.isnan(turnoff.signal):
        fit = no_fit(options.values, "there is no turnoff: no four points are near a line")
    elif np.count_nonzero(chosen) < 2:
        fit = no_fit(options.values, "fewer than 2 points are in the range of the fit")
    else:
        part = None if sigma is None else sigma[chosen]
        group = np.searchsorted(present, numbers[chosen]).astype(np.int64)
        top = turnoff.signal if anchor is None or not math.isfinite(anchor) else anchor
        ramp = (x[chosen], y[chosen], group, part)
        if options.kind == "spline":
            fit, nodes = _fit_spline(*ramp, options, top)
        else:
            fit = _fit_polynomial(*ramp, options)
    if not fit.reason and 2 * np.count_nonzero(fit.used) < np.count_nonzero(chosen):
        fit = no_fit(options.values, "more than half of the points are off the fit")
    labels = np.unique(numbers[numbers >= 0])
    slopes = np.full(len(labels), np.nan)
    if fit.reason:
        return _failed(len(x), options, slopes, turnoff, fit.reason)
    slopes[np.isin(labels, present)] = fit.slopes
    used = np.zeros(len(x), np.bool_)
    used[chosen] = fit.used
    own = np.full(len(x), np.nan)
    own[numbers >= 0] = slopes[np.searchsorted(labels, numbers[numbers >= 0])]
    table, errors_out = None, fit.value_errors
    if options.kind == "spline":
        coefficients = np.concatenate([nodes, fit.values])
        errors_out = np.full(len(coefficients), np.nan)
        correction = -spline_deviation(y, nodes, fit.values)
    else:
        coefficients = fit.values
        correction = polynomial_correction(y, fit.values)
    if options.kind == "lookup_table":
        table = tabulate_correction(fit.values, float(y[used].max()), options.table_size)
        coefficients, errors_out = np.zeros(2), np.full(2, np.nan)
        correction = _read(table, y)
    residuals_adu = y + correction - fit.offset - own * x
    residuals = np.full(len(x), np.nan)
    np.divide(residuals_adu, y, out=residuals, where=y > 0)
    centre = np.median(residuals[used])
    return LinearityFit(
        kind=options.kind,
        coefficients=coefficients,
        coefficient_errors=errors_out,
        table=table,
        fit_range=(float(y[used].min()), float(y[used].max())),
        used=used,
        intercept=fit.offset,
        slope=float(fit.slopes.mean()),
        group_slopes=slopes,
        residuals_adu=residuals_adu,
        residuals=residuals,
        scatter=robust_scale(residuals[used] - centre),
        jitter=fit.jitter,
        chi2=fit.chi2,
        turnoff=turnoff.signal,
        max_signal=turnoff.max_signal,
        reason="",
    )


def _failed(
    points: int, options: LinearityOptions, slopes: Array, turnoff: Turnoff, reason: str
) -> LinearityFit:
    lengths = {"spline": 2 * options.values, "lookup_table": 2}
    unknown = np.full(points, np.nan)
    zeros = np.zeros(lengths.get(options.kind, options.values))
    return LinearityFit(
        "none", zeros, np.full(len(zeros), np.nan), None, (math.nan, math.nan),
        np.zeros(points, np.bool_), math.nan, math.nan, slopes, unknown, unknown, math.nan,
        math.nan, math.nan, turnoff.signal, turnoff.max_signal, reason,
    )  # fmt: skip


def _read(table: npt.NDArray[np.float32], y: Array) -> Array:
    known = np.isfinite(y)
    place = np.clip(np.trunc(np.where(known, y, 0.0)), 0, len(table) - 1).astype(np.int64)
    return np.where(known, table[place].astype(np.float64), np.nan)


def _before(turnoff: Turnoff, y: Array, tolerance: float) -> Mask:
    """Select points up to the turnoff in both signal and light: a plateau has its signal, too."""
    if turnoff.index < 0:
        return np.zeros(len(y), np.bool_)
    light = turnoff.expected / turnoff.expected[turnoff.index]
    # A group without points in the search has no line.
    return np.asarray((y <= turnoff.signal) & ~(light > 1 + tolerance))


def _fit_polynomial(
    x: Array, y: Array, group: Groups, sigma: Array | None, options: LinearityOptions
) -> RampFit:
    fit = fit_polynomial_ramp(
        x, y, group, sigma, options.polynomial_order,
        fit_offset=options.fit_offset, clip=options.clip,
    )  # fmt: skip
    if fit.reason:
        return fit
    signal = np.linspace(0.0, float(y.max()), 1000)
    if (np.diff(signal + polynomial_correction(signal, fit.values)) > 0).all():
        return fit
    return no_fit(options.values, "the correction does not rise with the signal everywhere")


def _fit_spline(
    x: Array, y: Array, group: Groups, sigma: Array | None, options: LinearityOptions, top: float
) -> tuple[RampFit, Array]:
    nodes = np.asarray(options.nodes, np.float64)
    if not options.nodes:
        try:
            nodes = spline_nodes(y, options.knots)
        except ValueError as error:
            return no_fit(options.values, str(error)), nodes
    fit = fit_spline_ramp(
        x, y, group, sigma, nodes, top, fit_offset=options.fit_offset, clip=options.clip
    )
    return fit, nodes
