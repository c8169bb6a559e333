"""Linearity error of a camera as the standard EMVA 1288 has it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpflow.kernels.masks import Mask

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EmvaLinearity:
    """A straight line through a photon series, and how far off the points are.

    Attributes
    ----------
    minimum, maximum : float
        The most negative and the most positive deviation, LE_min and LE_max, in percent.
    mean_absolute : float
        Mean size of the deviations, LE of release 4.0, in percent.
    offset, slope : float
        Of the line, in adu and adu per unit of exposure.
    deviations : array of float64, shape (points,)
        ``100 (signal - line)/line``, in percent, of all points.
    used : array of bool, shape (points,)
        Those between the limits. Without two of them all else is NaN.
    """

    minimum: float
    maximum: float
    mean_absolute: float
    offset: float
    slope: float
    deviations: Array
    used: Mask


def emva_linearity(
    exposure: npt.ArrayLike,
    signal: npt.ArrayLike,
    saturation: float,
    *,
    low: float = 0.05,
    high: float = 0.95,
) -> EmvaLinearity:
    """Compute the linearity error of EMVA 1288.

    Parameters
    ----------
    exposure : array of float, shape (points,)
        Exposure time, photons per pixel, or anything else that is proportional to the light.
    signal : array of float, shape (points,)
        Mean of the flats less mean of the darks, adu.
    saturation : float
        Signal of the point where the variance is largest, less the dark, adu.
    low, high : float
        Parts of the saturation between which points count, inclusively.

    Returns
    -------
    EmvaLinearity

    Raises
    ------
    ValueError
        If shapes do not fit, or saturation and limits are not positive and in order.

    Notes
    -----
    EMVA 1288 releases 3.1 and 4.0, section "Linearity": the line minimises the squares of relative
    deviations, each residual over its signal. Release 3.1 states the extreme deviations, 4.0 their
    mean size.
    """
    h, y = np.asarray(exposure, np.float64), np.asarray(signal, np.float64)
    if h.ndim != 1 or h.shape != y.shape:
        raise ValueError(f"exposures of shape {h.shape} do not have signals of {y.shape}")
    if not (np.isfinite(saturation) and saturation > 0 and 0 < low < high):
        raise ValueError(f"no points between {low} and {high} of a saturation of {saturation} adu")
    used = np.isfinite(h) & (y >= low * saturation) & (y <= high * saturation)
    deviations = np.full(len(y), np.nan)
    if len(np.unique(h[used])) < 2:
        return EmvaLinearity(math.nan, math.nan, math.nan, math.nan, math.nan, deviations, used)
    unit = float(np.abs(h[used]).max())
    # Dividing equations by the signal makes their residuals relative deviations.
    design = np.stack([1 / y[used], h[used] / unit / y[used]], axis=1)
    offset, rise = np.linalg.lstsq(design, np.ones(len(design)), rcond=None)[0]
    line = offset + rise * (h / unit)
    np.divide(100 * (y - line), line, out=deviations, where=line != 0)
    inside = deviations[used]
    return EmvaLinearity(
        float(inside.min()),
        float(inside.max()),
        float(np.abs(inside).mean()),
        float(offset),
        float(rise / unit),
        deviations,
        used,
    )
