"""Independent, simple, slow implementations to compare with: whole frames, float64, numpy."""

from __future__ import annotations

import numpy as np


def clipped_mean(stack, good=None, k=3.0, passes=3):
    """Spec 3.3 for a stack (exposure, ...): mean, variance of the mean, survivors."""
    x = np.where(np.ones(stack.shape, bool) if good is None else good, stack, np.nan)
    x = x.astype(np.float64)
    x[~np.isfinite(x)] = np.nan
    n = np.sum(np.isfinite(x), axis=0)
    with np.errstate(all="ignore"):
        centre = np.full(x.shape[1:], np.nan)
        width = np.full(x.shape[1:], np.nan)
        # The one of numpy that knows NaN takes pixel after pixel: only those that have one.
        whole = n == len(x)
        for which, percentile in (
            (whole, np.percentile),
            ((n > 0) & ~whole, np.nanpercentile),
        ):
            if which.any():
                q25, centre[which], q75 = percentile(x[:, which], [25, 50, 75], axis=0)
                width[which] = k * 0.741301109252802 * (q75 - q25)
        for turn in range(passes):
            keep = np.abs(x - centre) <= width
            m = keep.sum(axis=0)
            mean = np.where(keep, x, 0).sum(axis=0) / m
            deviation = np.where(keep, x - mean, 0)
            variance = (deviation**2).sum(axis=0) / (m - 1)
            if turn < passes - 1:
                centre = mean
                width = np.where(n == 1, width, k * np.sqrt(variance))
    return mean, variance / m, m


def integer_median(values):
    """Tie-aware median of integers (spec 3.3)."""
    values = np.sort(np.asarray(values))
    n = len(values)
    v = values[int(0.5 * (n - 1))]
    below, equal = np.sum(values < v), np.sum(values == v)
    return v - 0.5 + (0.5 * n - below) / equal


def median_per_row(overscan, k=3.0, most=1000.0, masked=None, cap=True, integer=True):
    """Overscan level of each row (spec 2.6); row sigmas above twice their median are cut to it."""
    overscan = np.asarray(overscan)
    bad = np.zeros(overscan.shape, bool) if masked is None else masked.copy()
    middle = np.median(overscan[~bad])
    bad |= np.abs(overscan - middle) > most
    q25, q50, q75 = np.percentile(overscan, [25, 50, 75], axis=1)
    sigma = 0.74 * (q75 - q25)
    typical = np.median(sigma)
    if cap:
        sigma = np.where(sigma > 2 * typical, typical, sigma)
    bad |= np.abs(overscan - q50[:, None]) > k * sigma[:, None]
    median = integer_median if integer else np.median
    return np.array(
        [median(row[~b]) if (~b).any() else np.nan for row, b in zip(overscan, bad, strict=True)]
    )
