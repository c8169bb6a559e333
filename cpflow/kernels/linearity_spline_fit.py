"""The deviation from linearity as an Akima spline of the observed signal, fitted to a ramp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import Akima1DInterpolator
from scipy.optimize import least_squares

from cpflow.kernels.linearity_result import RampFit, no_fit
from cpflow.kernels.linearity_scatter import total_errors
from cpflow.kernels.robust_fit import robust_fit
from cpflow.kernels.robust_weights import robust_weights

Array = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int64]

_ROBUST_ROUNDS = 5
_ROUNDS = 20
# Points at which the mean deviation is taken (reference 2.5).
_MEAN_POINTS = 100
# Part of the largest signal below which nodes are of no use.
_FAINT = 0.01
# Part of the signal that a deviation may be (reference 2.5).
_LARGEST_DEVIATION = 0.25


def spline_nodes(signal: Array, knots: int) -> Array:
    """Choose the nodes of a spline.

    Parameters
    ----------
    signal : array of float64, shape (points,)
        Of the fit, adu, above 0.
    knots : int
        2 at least.

    Returns
    -------
    array of float64, shape (knots,)
        Equally spaced from 0 to 1 adu above the largest signal (reference 2.5). If there is an
        interval without a signal, which nothing would determine, intervals with equally many
        signals instead (the first also has all below 1 % of the largest).

    Raises
    ------
    ValueError
        If there are fewer than two knots or fewer different signals than intervals.
    """
    levels = np.unique(signal)
    if knots < 2 or len(levels) < knots - 1:
        raise ValueError(f"{len(levels)} signals do not determine a spline of {knots} nodes")
    nodes = np.linspace(0.0, levels[-1] + 1.0, knots)
    if np.histogram(levels, nodes)[0].all():
        return nodes
    # Deviations at faint signals are too small to be told from an offset.
    bright = levels[levels > _FAINT * levels[-1]]
    if len(bright) >= knots - 1:
        levels = bright
    # Between neighbouring signals, so that every interval has its share.
    last = np.arange(1, knots - 1) * len(levels) // (knots - 1)
    nodes[1:-1] = 0.5 * (levels[last - 1] + levels[last])
    return nodes


def spline_deviation(signal: npt.ArrayLike, nodes: Array, values: Array) -> Array:
    """Return the deviation, observed less linear, that is subtracted (reference 2.1).

    `values` has shape (nodes,) or (nodes, splines). Signals beyond the nodes get the deviation at
    the end.
    """
    inside = np.clip(np.asarray(signal, np.float64), nodes[0], nodes[-1])
    return np.asarray(Akima1DInterpolator(nodes, values)(inside))


@dataclass(frozen=True, slots=True)
class _Ramp:
    """Points, and the model ``y - A(y) = offset + slope[group] x`` of one given slope."""

    x: Array
    y: Array
    group: Groups
    nodes: Array
    slope: float
    fit_offset: bool

    @property
    def others(self) -> int:
        """Groups but the first, whose slope is given."""
        return int(self.group.max())

    def linear_columns(self) -> list[Array]:
        columns = [self.x * (self.group == j) for j in range(1, self.others + 1)]
        return columns + ([np.ones_like(self.y)] if self.fit_offset else [])

    def split(self, parameters: Array) -> tuple[Array, Array, float]:
        """Take parameters apart: values at all nodes, slopes of all groups, offset."""
        inner = len(self.nodes) - 1
        values = np.concatenate([[0.0], parameters[:inner]])
        slopes = np.concatenate([[self.slope], parameters[inner : inner + self.others]])
        return values, slopes, float(parameters[-1]) if self.fit_offset else 0.0

    def residuals(self, parameters: Array) -> Array:
        values, slopes, offset = self.split(parameters)
        model = offset + slopes[self.group] * self.x
        return np.asarray(self.y - spline_deviation(self.y, self.nodes, values) - model)

    def jacobian(self, parameters: Array) -> Array:
        """Differences for the values at the nodes, of which Akima splines are no smooth function.

        All changed splines are interpolated at once.
        """
        values = self.split(parameters)[0]
        step = 1e-4 * float(np.abs(values).max()) + 1e-6 * self.nodes[-1] * 1e-3
        moved = step * np.eye(len(values))[:, 1:]
        above = spline_deviation(self.y, self.nodes, values[:, None] + moved)
        below = spline_deviation(self.y, self.nodes, values[:, None] - moved)
        linear = [-column for column in self.linear_columns()]
        return np.column_stack([(below - above) / (2 * step), *linear])

    def start(self, sigma: Array) -> Array:
        """Fit straight pieces between the nodes, for which the model is linear.

        No point is given up: in wide intervals a straight piece is far from good points.
        """
        hats = [np.interp(self.y, self.nodes, row) for row in np.eye(len(self.nodes))[1:]]
        design = np.stack([*hats, *self.linear_columns()], axis=1)
        rest = self.y - self.slope * self.x * (self.group == 0)
        return robust_fit(design, rest, sigma, function="huber").parameters

    def improve(self, parameters: Array, sigma: Array, weights: Array) -> Array:
        root = np.sqrt(weights) / sigma
        fit = least_squares(
            lambda p: root * self.residuals(p),
            parameters,
            lambda p: root[:, None] * self.jacobian(p),
            method="lm",
            x_scale="jac",
            ftol=1e-12,
            xtol=1e-12,
            max_nfev=200,
        )
        return np.asarray(fit.x)


def _gauge(values: Array, nodes: Array, top: float) -> float:
    """Return the share f of the signal so that ``(1 - f) A + f y`` has mean 0 from 0 to `top`."""
    grid = np.linspace(0.0, min(top, float(nodes[-1])), _MEAN_POINTS)
    mean = float(spline_deviation(grid, nodes, values).mean())
    return mean / (mean - float(grid.mean()))


def fit_spline_ramp(
    x: Array,
    y: Array,
    group: Groups,
    errors: Array | None,
    nodes: Array,
    top: float,
    *,
    fit_offset: bool = True,
    clip: float = 5.0,
) -> RampFit:
    """Fit ``y - A(y) = offset + slope[group] x`` with a spline A through the nodes.

    Parameters
    ----------
    x, y : array of float64, shape (points,)
        Abscissa, and observed signal in adu, both above 0 and `y` up to the last node.
    group : array of int64, shape (points,)
        From 0 on; all numbers occur.
    errors : array of float64, shape (points,), optional
        Of `y`, adu, see `total_errors`.
    nodes : array of float64, shape (nodes,)
        Signals in adu, from 0.
    top : float
        The mean deviation from 0 to here is 0, adu.
    fit_offset : bool
        Otherwise the offset is 0.
    clip : float
        Points further off are rejected, in standard deviations.

    Returns
    -------
    RampFit
        Values are those of A at the nodes, the first 0. They have no errors.

    Notes
    -----
    Reference 2.5 with these differences. The slope of one group is fixed during the fit, and
    afterwards everything is brought to a mean deviation of zero: with A, offset and slopes also
    ``(1 - f) A + f y``, ``(1 - f)`` offset and slopes fit equally, and Akima splines keep both
    operations. The reference has a residual of large weight instead. Start values come from a
    robust linear fit, then residuals have Cauchy weights for some rounds. All points further off
    than `clip` are rejected at once, and may return. Parameters count in chi2, nodes as well. Where
    an interval has a single signal, nothing contradicts it if it is wrong.
    """
    groups, knots = int(group.max()) + 1, len(nodes)
    parameters = knots - 1 + groups - 1 + int(fit_offset)

    def failed(reason: str) -> RampFit:
        return no_fit(knots, reason)

    if len(y) <= parameters:
        return failed(f"{len(y)} points do not determine {parameters} parameters")
    slope = float(np.median((y / x)[group == 0]))
    ramp = _Ramp(x, y, group, nodes, slope, fit_offset)
    # Relative residuals first: whatever their origin, errors grow with the signal.
    solution = ramp.start(y)
    if not np.isfinite(solution).all():
        return failed("signals and abscissae do not determine the spline")
    sigma, jitter = total_errors(ramp.residuals(solution), y, errors, parameters)
    for _ in range(_ROBUST_ROUNDS):
        weights = robust_weights(ramp.residuals(solution) / sigma, "cauchy")
        solution = ramp.improve(solution, sigma, weights)
        sigma, jitter = total_errors(ramp.residuals(solution), y, errors, parameters)
    used = np.zeros(len(y), np.bool_)
    for _ in range(_ROUNDS):
        near = np.abs(ramp.residuals(solution)) <= clip * sigma
        if np.array_equal(near, used):
            break
        used = near
        if np.count_nonzero(used) <= parameters:
            return failed(f"only {np.count_nonzero(used)} points are consistent with a spline")
        solution = ramp.improve(solution, sigma, used.astype(np.float64))
        sigma, jitter = total_errors(ramp.residuals(solution), y, errors, parameters)
    residuals = ramp.residuals(solution)
    values, slopes, offset = ramp.split(solution)
    share = _gauge(values, nodes, top)
    values = (1 - share) * values + share * nodes
    chi2 = float(np.sum((residuals / sigma)[used] ** 2)) / (np.count_nonzero(used) - parameters)
    if not (np.isfinite(values).all() and np.isfinite(slopes).all()):
        return failed("the fit of the spline has no finite result")
    if (np.abs(values) > _LARGEST_DEVIATION * nodes).any():
        return failed(f"the spline deviates by more than {_LARGEST_DEVIATION:.0%} of the signal")
    return RampFit(
        values,
        np.full(knots, np.nan),
        (1 - share) * slopes,
        (1 - share) * offset,
        used,
        sigma,
        jitter,
        chi2,
        "",
    )
