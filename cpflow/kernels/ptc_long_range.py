"""What covariances at large lags have in common, subtracted at all lags (spec 1.10)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def subtract_long_range(
    covariances: Array, sqrt_weights: Array, start: int = 4, degree: int = 1
) -> Array:
    """Fit a surface to the covariances at large lags and subtract it from all.

    Parameters
    ----------
    covariances, sqrt_weights : array of float64, shape (pairs, lags, lags)
        In adu squared and its inverse.
    start : int
        Lags are large if either is this or more.
    degree : int
        Highest power of each lag in the surface.

    Returns
    -------
    array of float64, shape (pairs, lags, lags)
        NaN for a pair with fewer finite covariances at large lags than the surface has terms.

    Raises
    ------
    ValueError
        If shapes differ, `degree` is negative or `start` below 1.

    Notes
    -----
    Spec 1.10: weighted least squares of the products ``i**p j**q``, p and q up to `degree`. Light
    that is not even on scales of many pixels adds such a term.
    """
    if covariances.shape != sqrt_weights.shape or covariances.ndim != 3:
        raise ValueError(f"covariances of {covariances.shape}, weights of {sqrt_weights.shape}")
    if degree < 0 or start < 1:
        raise ValueError(f"degree ({degree}) is at least 0, start ({start}) at least 1")
    lags = covariances.shape[1]
    powers = (np.arange(lags) / max(lags - 1, 1))[:, None] ** np.arange(degree + 1)
    design = np.einsum("ip,jq->ijpq", powers, powers).reshape(lags * lags, -1)
    large = np.ones((lags, lags), np.bool_)
    large[:start, :start] = False
    rest = np.full(covariances.shape, np.nan)
    for pair, (values, weights) in enumerate(zip(covariances, sqrt_weights, strict=True)):
        used = (large & np.isfinite(values) & np.isfinite(weights) & (weights > 0)).reshape(-1)
        if np.count_nonzero(used) < design.shape[1]:
            continue
        w = weights.reshape(-1)[used] / weights.max()
        solved = np.linalg.lstsq(design[used] * w[:, None], values.reshape(-1)[used] * w)[0]
        rest[pair] = values - (design @ solved).reshape(lags, lags)
    return rest
