"""What a fit of the nonlinearity of an amplifier is told, and what it yields."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cpflow.kernels.masks import Mask

Array = npt.NDArray[np.float64]
FittedType = Literal["squared", "polynomial", "lookup_table", "spline"]


@dataclass(frozen=True, slots=True)
class LinearityOptions:
    """How a ramp is fitted (reference 2.2).

    Attributes
    ----------
    kind : str
        ``"squared"``, ``"polynomial"``, ``"lookup_table"`` (of a polynomial) or ``"spline"``.
    order : int
        Largest power of a polynomial, 2 at least.
    knots : int
        Nodes of a spline, see `spline_nodes`.
    nodes : tuple of float
        Nodes in adu, ascending from 0, instead of `knots`.
    table_size : int
        Entries of a lookup table.
    min_adu, max_adu : float
        Signals between these are fitted, those up to the turnoff.
    max_deviation, min_turnoff_adu, max_turnoff_adu : float
        Of the search for the turnoff, see `find_turnoff`. A ramp that is curved by more than
        `max_deviation` (relative) needs a larger one, or its turnoff comes too early.
    fit_offset : bool
        Whether the line may miss zero, as it does with a shutter that opens late.
    clip : float
        Points further off the fit are rejected, in standard deviations.
    """

    kind: FittedType = "spline"
    order: int = 3
    knots: int = 10
    nodes: tuple[float, ...] = ()
    table_size: int = 2**18
    min_adu: float = 30.0
    max_adu: float = math.inf
    max_deviation: float = 0.01
    min_turnoff_adu: float = 1000.0
    max_turnoff_adu: float = math.inf
    fit_offset: bool = True
    clip: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.kind not in ("squared", "polynomial", "lookup_table", "spline"):
            raise ValueError(f"no linearity of type {self.kind!r} is fitted")
        if self.order < 2 or self.knots < 2 or self.table_size < 1:
            raise ValueError("an order and knots are 2 at least, and a table has an entry")
        if not (self.min_adu < self.max_adu and self.max_deviation > 0 and self.clip > 0):
            raise ValueError("limits of a linearity fit have to be in order and above zero")
        nodes = np.asarray(self.nodes)
        if len(nodes) and (len(nodes) < 2 or nodes[0] != 0 or not (np.diff(nodes) > 0).all()):
            raise ValueError(f"nodes have to ascend from 0: {self.nodes}")

    @property
    def polynomial_order(self) -> int:
        """Largest power of the polynomial that is fitted."""
        return 2 if self.kind == "squared" else self.order

    @property
    def values(self) -> int:
        """Values that the fit yields: coefficients of a polynomial, or one at each node."""
        spline = self.kind == "spline"
        return (len(self.nodes) or self.knots) if spline else self.polynomial_order - 1


@dataclass(frozen=True, slots=True)
class LinearityFit:
    """The correction of an amplifier, and how well it works.

    Attributes
    ----------
    kind : str
        The fitted type, or ``"none"`` if there is no fit.
    coefficients, coefficient_errors : array of float64, shape (coefficients,)
        As `cpflow.kernels.linearity.linearize` wants them, in adu: c_0, c_1... of polynomials,
        nodes and then values of splines, 0 and 0 (row and offset) of a table. Zeros for "none".
        Errors of polynomial coefficients only, else NaN.
    table : array of float32, shape (entries,), optional
        Of a lookup table.
    fit_range : (float, float)
        Least and largest signal of the used points, adu.
    used : array of bool, shape (points,)
        Points of the fit.
    intercept, slope : float
        The line that the corrected signal follows, adu and adu per unit of the abscissa; mean slope
        of the groups.
    group_slopes : array of float64, shape (groups,)
        In the order of the group numbers; NaN for groups without points in the fit.
    residuals_adu, residuals : array of float64, shape (points,)
        Corrected signal less line, of all finite points; the second over the observed signal.
    scatter : float
        1.4826 times the median absolute deviation of `residuals` of the used points.
    jitter : float
        Relative standard deviation of the points beyond their errors.
    chi2 : float
        Reduced, of the used points, with errors that include the jitter; it tells of outliers and
        shapes, while the jitter tells of size.
    turnoff, max_signal : float
        See `find_turnoff`, adu.
    reason : str
        Why there is no fit.
    """

    kind: Literal["squared", "polynomial", "lookup_table", "spline", "none"]
    coefficients: Array
    coefficient_errors: Array
    table: npt.NDArray[np.float32] | None
    fit_range: tuple[float, float]
    used: Mask
    intercept: float
    slope: float
    group_slopes: Array
    residuals_adu: Array
    residuals: Array
    scatter: float
    jitter: float
    chi2: float
    turnoff: float
    max_signal: float
    reason: str

    @property
    def masked_residuals_adu(self) -> Array:
        """Residuals in adu, NaN where a point was not used."""
        return np.where(self.used, self.residuals_adu, np.nan)

    @property
    def masked_residuals(self) -> Array:
        """Residuals over the signal, NaN where a point was not used."""
        return np.where(self.used, self.residuals, np.nan)


@dataclass(frozen=True, slots=True)
class RampFit:
    """A correction, and the line that the corrected signal follows.

    Attributes
    ----------
    values, value_errors : array of float64, shape (values,)
        Coefficients c_k of a polynomial, or adu at the nodes of a spline.
    slopes : array of float64, shape (groups,)
        Adu per unit of the abscissa.
    offset : float
        Adu.
    used : array of bool, shape (points,)
        Points that were not rejected.
    sigma : array of float64, shape (points,)
        Standard errors that the points turned out to have, adu.
    jitter : float
        Their part that goes with the signal, relative.
    chi2 : float
        Reduced, with these errors.
    reason : str
        Empty, or why there is no fit.
    """

    values: Array
    value_errors: Array
    slopes: Array
    offset: float
    used: Mask
    sigma: Array
    jitter: float
    chi2: float
    reason: str


def no_fit(values: int, reason: str) -> RampFit:
    """Return a fit without a result."""
    unknown, nothing = np.full(values, np.nan), np.full(0, np.nan)
    return RampFit(
        unknown, unknown, nothing, math.nan, np.zeros(0, np.bool_), nothing, math.nan, math.nan,
        reason,
    )  # fmt: skip
