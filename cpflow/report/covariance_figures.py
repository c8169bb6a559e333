"""Figures of the covariances of a photon transfer curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cpflow.errors import UsageError
from cpflow.report.panels import (
    MARK_MODEL,
    MARK_UNUSED,
    MARK_USED,
    MODEL,
    QUIET,
    Floats,
    legend,
    limit_of,
    mean_of,
    names_of,
    plot_points,
    power_of,
    reasons_of,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

_THOUSAND = 1000.0
_LAGS = ((0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2))
# As many standard errors make a coefficient stand out in bold.
_SIGNIFICANT = 3.0


def covariance_figure(product: xr.Dataset, title: str, amplifier: str | None = None) -> Figure:
    """Draw the matrix a, and covariances over the mean against the mean at the first lags.

    Parameters
    ----------
    product : xarray.Dataset
        A ``ptc``, in memory.
    title : str
    amplifier : str, optional
        Of this one; otherwise the mean over all that have a gain.

    Returns
    -------
    matplotlib.figure.Figure
        The first axes hold the map, the others one lag each.

    Raises
    ------
    UsageError
        If there is no such amplifier.
    """
    from matplotlib.figure import Figure

    chosen = _chosen(product, amplifier)
    figure = Figure(figsize=(14.5, 7.0), layout="constrained")
    single = names_of(product)[chosen[0]] if len(chosen) == 1 else None
    what = single or f"mean of {len(chosen)} amplifiers"
    figure.suptitle(f"{title}, {what}", x=0.01, ha="left", fontsize=11)
    lags = [lag for lag in _LAGS if max(lag) < min(product.sizes["lag_x"], product.sizes["lag_y"])]
    rows = -(-len(lags) // 2)
    grid = figure.add_gridspec(rows, 3, width_ratios=[1.9, 1, 1])
    _draw_area(figure, figure.add_subplot(grid[:, 0]), product, chosen)
    first = None
    for i, lag in enumerate(lags):
        axes = figure.add_subplot(grid[i // 2, 1 + i % 2], sharex=first)
        first = first or axes
        _draw_lag(axes, product, chosen, lag)
        axes.tick_params(labelsize=8)
        if i + 2 >= len(lags):
            axes.set_xlabel("mean / 1000 electron")
    marks = [("pair used", MARK_USED), ("not used", MARK_UNUSED), ("model", MARK_MODEL)]
    if len(chosen) > 1:
        marks.append(("each amplifier", {**MARK_USED, "color": QUIET, "marker": "."}))
    legend(figure, marks)
    return figure


def _chosen(product: xr.Dataset, amplifier: str | None) -> list[int]:
    names = names_of(product)
    if amplifier is None:
        good = np.isfinite(product["gain"].values)
        return [a for a, reason in enumerate(reasons_of(product)) if good[a] and not reason]
    if amplifier not in names:
        raise UsageError(
            f"there is no amplifier {amplifier!r}", hint=f"there are {', '.join(names)}"
        )
    return [names.index(amplifier)]


def area_matrix(product: xr.Dataset, chosen: list[int]) -> tuple[Floats, Floats]:
    """Return the mean of `a` over some amplifiers and its error, [lag in x, lag in y]."""
    a = np.asarray(product["a"].values, np.float64)[chosen]
    if len(chosen) == 1:
        return a[0], np.asarray(product["a_error"].values, np.float64)[chosen[0]]
    return mean_of(a) if chosen else (np.full(a.shape[1:], np.nan),) * 2


def _draw_area(figure: Figure, axes: Any, product: xr.Dataset, chosen: list[int]) -> None:
    area, error = area_matrix(product, chosen)
    power = power_of(area)
    shown = area / 10.0**power
    # The centre is several times deeper than its neighbours and needs no colour to be seen.
    others = np.abs(shown).ravel()[1:]
    limit = float(np.max(others, initial=0.0, where=np.isfinite(others))) or 1.0
    image = axes.imshow(
        shown.T, origin="lower", cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest"
    )
    size = 9 if shown.shape[0] <= 8 else 7 if shown.shape[0] <= 12 else 0
    for (i, j), value in np.ndenumerate(shown):
        if size and np.isfinite(value):
            clear = abs(area[i, j]) > _SIGNIFICANT * error[i, j]
            axes.text(
                i,
                j,
                f"{round(float(value), 2) + 0.0:.2f}",
                ha="center",
                va="center",
                fontsize=size,
                fontweight="bold" if clear else "normal",
                color="white" if abs(value) > 0.7 * limit else "black",
            )
    axes.set_facecolor("0.9")
    axes.set_xlabel("lag in x / pixel")
    axes.set_ylabel("lag in y / pixel")
    axes.set_xticks(range(shown.shape[0]))
    axes.set_yticks(range(shown.shape[1]))
    axes.set_title("bold: more than 3 standard errors from zero", fontsize=8, loc="right")
    figure.colorbar(
        image,
        ax=axes,
        shrink=0.85,
        extend="both",
        label=f"a / ($10^{{{power}}}$/electron)",
    )


def _draw_lag(axes: Any, product: xr.Dataset, chosen: list[int], lag: tuple[int, int]) -> None:
    """In electrons: there, amplifiers of different gains can be averaged."""
    i, j = lag
    gain = np.asarray(product["gain"].values, np.float64)[chosen, None]
    if not chosen:
        gain = np.full((0, 1), np.nan)
    mean = np.asarray(product["mean"].values, np.float64)[chosen]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, model, error = (
            gain * product[name].values[chosen, :, i, j] / mean
            for name in ("covariances", "covariances_model", "covariance_errors")
        )
    electrons = gain * mean / _THOUSAND
    used = np.asarray(product["used"].values, np.bool_)[chosen]
    any_used = np.asarray(used.any(axis=0), np.bool_)
    if len(chosen) > 1:
        axes.plot(electrons.ravel(), ratio.ravel(), ".", color=QUIET, markersize=2, gid="each")
        # A pair counts as used, with the amplifiers that use it, where any of them does.
        counted = np.where(used | ~any_used, ratio, np.nan)
        x, (y, error_of_y) = mean_of(electrons)[0], mean_of(counted)
        curve = mean_of(np.where(used | ~any_used, model, np.nan))[0]
    elif chosen:
        x, y, error_of_y, curve = electrons[0], ratio[0], error[0], model[0]
    else:
        axes.set_axis_off()
        return
    order = np.argsort(x)
    order = order[np.isfinite(curve[order])]
    axes.plot(x[order], curve[order], color=MODEL, linewidth=1.0, gid="model")
    plot_points(axes, x, y, any_used, error_of_y)
    axes.set_title(f"lag ({i}, {j})", fontsize=9, loc="left", pad=2)
    axes.set_ylabel(f"$C_{{{i}{j}}}$ / mean / electron", fontsize=9)
    values = np.concatenate([y[any_used], (y + error_of_y)[any_used], (y - error_of_y)[any_used]])
    values = values[np.isfinite(values)]
    if values.size:
        low, high = float(values.min()), float(values.max())
        margin = 0.12 * (high - low) or limit_of([high])
        axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(left=0)
    if lag != (0, 0):
        axes.axhline(0.0, color=QUIET, linewidth=0.8, zorder=0)
