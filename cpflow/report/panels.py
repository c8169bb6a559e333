"""What figures of amplifiers share: a panel each, points that were used or not, legends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

# Okabe and Ito's colours, which colour-blind readers tell apart; shapes differ as well.
USED, UNUSED, MODEL, TURNOFF = "#0072B2", "#D55E00", "black", "#009E73"
GUIDE, QUIET = "0.55", "0.75"
_SHOWN = {True: USED, False: UNUSED}
_NAMES = {True: "used", False: "unused"}


def names_of(product: xr.Dataset, dim: str = "amp") -> list[str]:
    """Return the names of the amplifiers along a dimension."""
    return [str(name) for name in product[dim].values]


def reasons_of(product: xr.Dataset) -> list[str]:
    """Return why amplifiers are bad; empty for those that are not."""
    if "reason" not in product:
        return [""] * product.sizes["amp"]
    return [str(reason) for reason in product["reason"].values]


def mean_of(values: npt.ArrayLike, axis: int = 0) -> tuple[Floats, Floats]:
    """Return the mean of what is finite along an axis, and its standard error from the scatter.

    Both are NaN where nothing is finite, the error also where one value is.
    """
    array = np.asarray(values, np.float64)
    finite = np.isfinite(array)
    number = finite.sum(axis=axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(finite, array, 0.0).sum(axis=axis) / number
        apart = np.where(finite, array - np.expand_dims(mean, axis), 0.0)
        scatter = np.sqrt((apart**2).sum(axis=axis) / np.where(number > 1, number - 1, np.nan))
        return np.asarray(mean), np.asarray(scatter / np.sqrt(number))


def limit_of(values: npt.ArrayLike, least: float = 0.0) -> float:
    """Return a limit for an axis around zero: nearly all finite values, and a margin."""
    array = np.abs(np.asarray(values, np.float64))
    array = array[np.isfinite(array)]
    reach = float(np.percentile(array, 98)) if array.size else 0.0
    return max(1.25 * reach, least) or 1.0


def power_of(values: npt.ArrayLike) -> int:
    """Return the power of ten of the largest finite value, 0 if there is none."""
    array = np.abs(np.asarray(values, np.float64))
    largest = float(np.max(array, initial=0.0, where=np.isfinite(array)))
    return math.floor(math.log10(largest)) if largest > 0 else 0


def amplifier_axes(
    figure: Figure, names: Sequence[str], ratios: Sequence[float] = (1.0,)
) -> list[list[Any]]:
    """Return axes for every amplifier, one below the other in each cell of a grid.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    names : sequence of str
        Of the amplifiers; each cell is titled with one.
    ratios : sequence of float
        Heights of the axes of one amplifier. All share x; those of one kind share y.

    Returns
    -------
    list of list of matplotlib.axes.Axes
        For each amplifier one axes for each of `ratios`.
    """
    columns = columns_of(len(names))
    rows = -(-len(names) // columns)
    grid = figure.add_gridspec(rows * len(ratios), columns, height_ratios=list(ratios) * rows)
    cells: list[list[Any]] = []
    for i, name in enumerate(names):
        row, column = divmod(i, columns)
        cell: list[Any] = []
        for k in range(len(ratios)):
            place = grid[row * len(ratios) + k, column]
            first = cells[0] if cells else cell
            axes = figure.add_subplot(
                place,
                sharex=first[0] if first else None,
                sharey=cells[0][k] if cells else None,
            )
            axes.tick_params(
                labelsize=7,
                labelleft=column == 0,
                labelbottom=k == len(ratios) - 1 and i + columns >= len(names),
            )
            cell.append(axes)
        cell[0].set_title(name, fontsize=9, loc="left", pad=2)
        cells.append(cell)
    return cells


def columns_of(number: int) -> int:
    """Return how many columns a grid of this many panels has."""
    return min(number, 4 if number <= 16 else math.ceil(math.sqrt(number)))


def grid_size(number: int, width: float, height: float) -> tuple[float, float]:
    """Return the size in inches of a figure of this many panels; a small one is not tiny."""
    columns = columns_of(number)
    rows = -(-number // columns)
    return max(9.0, 0.7 + width * columns), max(4.5, 1.1 + height * rows)


def plot_points(
    axes: Any,
    x: Floats,
    y: Floats,
    used: npt.NDArray[np.bool_],
    errors: Floats | None = None,
    limit: float | None = None,
) -> None:
    """Draw used points filled, unused ones open; those beyond the limit as arrows at the edge.

    Lines have the group id ``used`` or ``unused``, so that they can be told from others.
    """
    finite = np.isfinite(x) & np.isfinite(y)
    reach = math.inf if limit is None else limit
    for is_used in (False, True):
        chosen = finite & (used == is_used)
        colour = _SHOWN[is_used]
        for marker, place in (
            ("o", np.abs(y) <= reach),
            ("^", y > reach),
            ("v", y < -reach),
        ):
            shown = chosen & place
            if not shown.any():
                continue
            axes.plot(
                x[shown],
                np.clip(y[shown], -0.95 * reach, 0.95 * reach) if marker != "o" else y[shown],
                marker,
                color=colour,
                markerfacecolor=colour if is_used else "white",
                markersize=3.5 if marker == "o" else 5,
                markeredgewidth=0.9,
                zorder=3,
                gid=_NAMES[is_used],
            )
            if errors is not None and marker == "o":
                axes.errorbar(
                    x[shown],
                    y[shown],
                    np.where(np.isfinite(errors[shown]), errors[shown], 0.0),
                    fmt="none",
                    ecolor=colour,
                    elinewidth=0.7,
                    zorder=2,
                )


def dot_plot(
    axes: Any,
    names: Sequence[str],
    values: Floats,
    errors: Floats | None,
    label: str,
    bad: Sequence[bool],
) -> None:
    """Draw one value of each amplifier with its error; bad ones open, missing ones as a cross."""
    places = np.arange(len(names))
    flags = np.asarray(bad, np.bool_)
    plot_points(axes, places.astype(np.float64), values, ~flags, errors)
    missing = ~np.isfinite(values)
    if missing.any():
        axes.plot(
            places[missing],
            np.full(int(missing.sum()), 0.04),
            "x",
            color=UNUSED,
            transform=axes.get_xaxis_transform(),
            gid="missing",
        )
    axes.set_xticks(places, names, rotation=60, fontsize=8)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylabel(label)
    axes.grid(axis="y", color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)


def say_reason(axes: Any, reason: str) -> None:
    """Write into its panel why an amplifier is bad."""
    import textwrap

    if reason:
        axes.text(
            0.03,
            0.96,
            textwrap.fill(reason, 30),
            transform=axes.transAxes,
            va="top",
            fontsize=7,
            color=UNUSED,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
            gid="reason",
        )


def legend(figure: Figure, entries: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Explain the marks of a figure below its title, outside all panels."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=label, **style) for label, style in entries]
    figure.legend(
        handles=handles, loc="outside upper right", ncols=len(handles), fontsize=8, frameon=False
    )


MARK_USED = {"color": USED, "marker": "o", "linestyle": "", "markersize": 4}
MARK_UNUSED = {**MARK_USED, "color": UNUSED, "markerfacecolor": "white"}
MARK_MODEL = {"color": MODEL, "linewidth": 1.0}
MARK_TURNOFF = {"color": TURNOFF, "linewidth": 1.2, "linestyle": "--"}
