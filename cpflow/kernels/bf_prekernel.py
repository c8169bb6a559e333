"""The pre-kernel of the brighter-fatter effect: what its kernel has as its Laplacian (spec 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from cpflow.kernels.bf_covariances import (
    AmplifierCovariances,
    AreaPoints,
    Floats,
    subtract_white_noise,
)
from cpflow.kernels.weighted_statistics import robust_line, weighted_clipped_mean

Method = Literal["average", "quadratic", "a_matrix", "covariance_model"]


def average_points(
    points: Sequence[AreaPoints], *, clip: float, weighted: bool, absolute: bool
) -> tuple[Floats, Floats]:
    """Average the area coefficients of all pairs of all amplifiers.

    Parameters
    ----------
    points : sequence of AreaPoints
        One per amplifier.
    clip : float
        In standard deviations; 3 passes.
    weighted : bool
        Weigh by 1/error**2, else all alike as the reference does.
    absolute : bool
        Whether the errors are right by themselves; else their factor comes from the scatter.

    Returns
    -------
    a, errors : array of float64, shape (r, r)
        1/electron.
    """
    values, errors, _ = _pool(points)
    if not weighted:
        errors = np.ones_like(errors)
    found, sigma = np.full(values.shape[1:], np.nan), np.full(values.shape[1:], np.nan)
    for lag in np.ndindex(found.shape):
        result = weighted_clipped_mean(values[:, *lag], errors[:, *lag], clip=clip)
        known = absolute and weighted
        found[lag], sigma[lag] = result.mean, result.error * (1.0 if known else result.scale)
    return found, sigma


def fit_points(points: Sequence[AreaPoints], *, absolute: bool) -> tuple[Floats, Floats]:
    """Fit ``a F**2 + constant`` to the excess covariances in electrons**2.

    Parameters
    ----------
    points : sequence of AreaPoints
        One per amplifier.
    absolute : bool
        Whether the errors are right by themselves; else their factor comes from the scatter.

    Returns
    -------
    a, errors : array of float64, shape (r, r)
        1/electron; NaN for fewer than three pairs, which leave no degree of freedom.

    Notes
    -----
    Spec 3.2, step 4. The same excess is fitted for amplifiers and detectors; the reference fits
    that over F**2 for detectors, which has no slope.
    """
    values, errors, flux = _pool(points)
    squared = flux**2
    found, sigma = np.full(values.shape[1:], np.nan), np.full(values.shape[1:], np.nan)
    if len(flux) < 3:
        return found, sigma
    for lag in np.ndindex(found.shape):
        line, error, scale = robust_line(
            squared, values[:, *lag] * squared, errors[:, *lag] * squared
        )
        found[lag], sigma[lag] = line[1], error[1] * (1.0 if absolute else scale)
    return found, sigma


def modelled_area(
    amplifier: AmplifierCovariances, points: AreaPoints, side: int, flux: float
) -> Floats:
    """Take area coefficients from the covariance model at the pair nearest to a flux.

    Parameters
    ----------
    amplifier : AmplifierCovariances
    points : AreaPoints
        Of the same amplifier.
    side : int
        Lags along each axis.
    flux : float
        Electrons.

    Returns
    -------
    array of float64, shape (side, side)
        1/electron, with what the higher orders of eq. 20 add at that flux. NaN without a used pair.

    Raises
    ------
    ValueError
        If there is no model.
    """
    if amplifier.model is None:
        raise ValueError("an amplifier has no covariance model")
    if not points.used.any():
        return np.full((side, side), np.nan)
    nearest = int(np.argmin(np.where(points.used, np.abs(points.flux - flux), np.inf)))
    return np.asarray(subtract_white_noise(amplifier.model, amplifier, side)[nearest])


def combine_matrices(
    matrices: npt.NDArray[np.float64], errors: npt.NDArray[np.float64] | None, clip: float
) -> tuple[Floats, Floats]:
    """Average matrices of several amplifiers element by element.

    Parameters
    ----------
    matrices, errors : array of float64, shape (amp, r, r)
        Without errors all amplifiers count alike.
    clip : float
        In standard deviations; 3 passes.

    Returns
    -------
    a, errors : array of float64, shape (r, r)
        Of a single matrix without errors the errors are NaN.
    """
    found, sigma = np.full(matrices.shape[1:], np.nan), np.full(matrices.shape[1:], np.nan)
    given = np.ones_like(matrices) if errors is None else errors
    for lag in np.ndindex(found.shape):
        result = weighted_clipped_mean(matrices[:, *lag], given[:, *lag], clip=clip)
        found[lag] = result.mean
        sigma[lag] = result.error * (result.scale if errors is None else 1.0)
    return found, sigma


def _pool(points: Sequence[AreaPoints]) -> tuple[Floats, Floats, Floats]:
    values = np.concatenate([p.values[p.used] for p in points])
    errors = np.concatenate([p.errors[p.used] for p in points])
    return values, errors, np.concatenate([p.flux[p.used] for p in points])
