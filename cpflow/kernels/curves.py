"""Smooth curves through the levels of overscan rows (spec 2.6)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.interpolate import Akima1DInterpolator, CubicSpline

_SERIES = {
    "POLY": np.polynomial.Polynomial,
    "CHEB": np.polynomial.Chebyshev,
    "LEG": np.polynomial.Legendre,
}

# A spline needs this many knots; with fewer the level is a constant.
_KNOTS = 5


def _abscissa(rows: int) -> npt.NDArray[np.float64]:
    """Map rows to -1 and on; the last stays one step short of +1, as in the reference."""
    return np.asarray(2.0 * np.arange(rows) / rows - 1.0)


def fit_polynomial(
    kind: str, degree: int, level: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Fit a polynomial by unweighted least squares.

    Parameters
    ----------
    kind : str
        ``"POLY"``, ``"CHEB"`` or ``"LEG"``: the basis, which matters to rounding only.
    degree : int
        Lowered where there are too few rows for it.
    level : array of float64, shape (rows,)
        NaN is left out.

    Returns
    -------
    array of float64, shape (rows,)
        The polynomial at each row.
    """
    t = _abscissa(len(level))
    known = np.isfinite(level)
    degree = min(degree, int(known.sum()) - 1)
    # Least squares on [-1, 1] as it is: t needs no further mapping to be well conditioned.
    fitted = _SERIES[kind].fit(t[known], level[known], degree, domain=[-1, 1])
    return np.asarray(fitted(t), np.float64)


def fit_spline(
    kind: str, bins: int, level: npt.NDArray[np.float64], used: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Interpolate the means of equal bins of rows by a spline.

    Parameters
    ----------
    kind : str
        ``"NATURAL_SPLINE"``, ``"CUBIC_SPLINE"`` (the same curve) or ``"AKIMA_SPLINE"``.
    bins : int
        0 counts as 1. A knot is the mean row and the mean level of the used rows of a bin.
    level : array of float64, shape (rows,)
    used : array of bool, shape (rows,)
        Rows that count; their levels have to be finite.

    Returns
    -------
    array of float64, shape (rows,)
        The curve at each row, continued as a parabola outside the knots. With fewer than 5 knots
        the first knot's level, or 0 without any.
    """
    t = _abscissa(len(level))
    counts, edges = np.histogram(t[used], max(bins, 1), (t[0], t[-1]))
    filled = counts > 0
    sums = (np.histogram(t[used], edges, weights=w[used])[0] for w in (t, level))
    x, y = (total[filled] / counts[filled] for total in sums)
    if len(x) < _KNOTS:
        return np.full(len(level), y[0] if len(y) else 0.0)
    if kind == "AKIMA_SPLINE":
        curve = Akima1DInterpolator(x, y)
    else:
        curve = CubicSpline(x, y, bc_type="natural")
    inner = np.clip(t, x[0], x[-1])
    beyond = t - inner
    parabola = curve(inner) + beyond * (curve(inner, 1) + 0.5 * beyond * curve(inner, 2))
    return np.asarray(parabola, np.float64)
