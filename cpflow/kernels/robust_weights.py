"""Weights of residuals in robust fits, and their scale (reference 0.4)."""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
WeightFunction = Literal[
    "cauchy", "anderson", "bisquare", "box", "welsch", "huber", "logistic", "fair", "none"
]

#: Residuals in standard deviations are divided by these. With Gaussian errors the fit then has
#: 95 % of the efficiency of least squares (Holland & Welsch 1977).
TUNING: Final[dict[WeightFunction, float]] = {
    "cauchy": 2.385,
    "anderson": 1.339 * math.pi,
    "bisquare": 4.685,
    "box": 2.795,
    "welsch": 2.985,
    "huber": 1.345,
    "logistic": 1.205,
    "fair": 1.4,
    "none": 1.0,
}
_MAD_TO_SIGMA: Final = 1.482602218505602


def robust_weights(residuals: npt.ArrayLike, function: WeightFunction = "cauchy") -> Array:
    """Return the weights of squared residuals.

    Parameters
    ----------
    residuals : array of float, any shape
        In standard deviations.
    function : str
        One of `TUNING`. With z the residual over its tuning constant: cauchy ``1/(1 + z**2)``,
        anderson ``sin(pi z)/(pi z)``, bisquare ``(1 - z**2)**2``, box 1, these three 0 for z > 1;
        welsch ``exp(-z**2)``, huber ``min(1, 1/z)``, logistic ``tanh(z)/z``, fair ``1/(1 + z)``,
        none 1.

    Returns
    -------
    array of float64, shape of `residuals`

    Raises
    ------
    ValueError
        If the function is unknown.

    Notes
    -----
    Holland & Welsch, Comm. Stat. A6 (1977) 813. The reference (0.4) multiplies residuals by these
    weights, and so their squares by the squared weights, which shifts every tuning constant; its
    bisquare ``1 - z**2`` is right because of that, the others are not.
    """
    if function not in TUNING:
        raise ValueError(f"no weight function is called {function!r}: {', '.join(TUNING)}")
    z = np.abs(np.asarray(residuals, np.float64)) / TUNING[function]
    nonzero = np.where(z > 0, z, 1.0)
    match function:
        case "cauchy":
            weights = 1 / (1 + z**2)
        case "anderson":
            weights = np.where(z < 1, np.sinc(z), 0.0)
        case "bisquare":
            weights = np.where(z < 1, (1 - z**2) ** 2, 0.0)
        case "box":
            weights = np.where(z < 1, 1.0, 0.0)
        case "welsch":
            weights = np.exp(-(z**2))
        case "huber":
            weights = 1 / np.maximum(z, 1.0)
        case "logistic":
            weights = np.where(z > 0, np.tanh(z) / nonzero, 1.0)
        case "fair":
            weights = 1 / (1 + z)
        case "none":
            weights = np.ones_like(z)
    return np.asarray(weights, np.float64)


def robust_scale(residuals: Array, parameters: int = 0) -> float:
    """Return the standard deviation of Gaussian residuals from their median size.

    As many of the smallest are left out as the fit had parameters, because it brings about that
    many close to zero. NaN if none is left.
    """
    sizes = np.sort(np.abs(residuals))[parameters:]
    return _MAD_TO_SIGMA * float(np.median(sizes)) if len(sizes) else math.nan
