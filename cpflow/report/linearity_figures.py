"""Figures of a linearizer: what is left of the nonlinearity, and what is corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cpflow.kernels.linearity import linearize
from cpflow.report.panels import (
    GUIDE,
    MARK_TURNOFF,
    MARK_UNUSED,
    MARK_USED,
    TURNOFF,
    USED,
    Floats,
    amplifier_axes,
    columns_of,
    dot_plot,
    grid_size,
    legend,
    limit_of,
    names_of,
    plot_points,
    reasons_of,
    say_reason,
)
from cpflow.steps.tables import LinearityOfAmplifier, linearity

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

_THOUSAND = 1000.0
_PERCENT = 100.0
# What a camera is usually asked for, in percent.
GUIDE_PERCENT = 0.05


def points_of(product: xr.Dataset) -> slice:
    """Return the points that were there: a product is padded if their number was not known."""
    finite = np.isfinite(product["signal"].values).any(axis=0)
    found = np.flatnonzero(finite)
    return slice(0, int(found[-1]) + 1 if found.size else 0)


def residual_figure(product: xr.Dataset, title: str) -> Figure:
    """Draw what is left of the nonlinearity of every amplifier, in percent of the signal.

    Parameters
    ----------
    product : xarray.Dataset
        A ``linearizer`` made by cpflow, in memory.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        One axes for each amplifier; the range of the fit is shaded.
    """
    from matplotlib.figure import Figure

    names, reasons = names_of(product), reasons_of(product)
    figure = Figure(figsize=grid_size(len(names), 3.1, 2.1), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    cells = amplifier_axes(figure, names)
    points = points_of(product)
    signal = product["signal"].values[:, points]
    used = product["used"].values[:, points]
    percent = _PERCENT * product["residual"].values[:, points]
    limit = limit_of(percent[used], 2 * GUIDE_PERCENT)
    for a, (axes,) in enumerate(cells):
        low, high = (float(product[name].values[a]) for name in ("fit_low", "fit_high"))
        if np.isfinite(low) and np.isfinite(high):
            axes.axvspan(low / _THOUSAND, high / _THOUSAND, color="0.93", zorder=0, gid="range")
        for guide in (-GUIDE_PERCENT, 0.0, GUIDE_PERCENT):
            axes.axhline(guide, color=GUIDE, linewidth=0.8, linestyle=":" if guide else "-")
        turnoff = float(product["turnoff"].values[a])
        if np.isfinite(turnoff):
            axes.axvline(
                turnoff / _THOUSAND, color=TURNOFF, linewidth=1.2, linestyle="--", gid="turnoff"
            )
        plot_points(axes, signal[a] / _THOUSAND, percent[a], used[a], limit=limit)
        say_reason(axes, reasons[a])
    cells[0][0].set_ylim(-limit, limit)
    cells[0][0].set_xlim(left=0)
    figure.supxlabel("signal / 1000 adu", fontsize=10)
    for (axes,) in cells[:: columns_of(len(names))]:
        axes.set_ylabel("residual / %", fontsize=8)
    legend(
        figure,
        (
            ("point used", MARK_USED),
            ("not used", MARK_UNUSED),
            ("turnoff", MARK_TURNOFF),
            ("fit range", {"color": "0.88", "linewidth": 7}),
            (
                f"0 and ±{GUIDE_PERCENT} %",
                {"color": GUIDE, "linewidth": 0.8, "linestyle": ":"},
            ),
        ),
    )
    return figure


def correction(part: LinearityOfAmplifier, signal: Floats) -> Floats:
    """Return what linearisation adds to a signal, shape of `signal`, adu."""
    image = np.asarray(signal, np.float32)[None, :].copy()
    before = image.astype(np.float64)
    linearize(image, part.kind, part.coefficients, part.table)
    return np.asarray((image - before)[0])


def correction_figure(product: xr.Dataset, title: str) -> Figure:
    """Draw the correction of every amplifier, and scatter, turnoff and largest signal.

    Parameters
    ----------
    product : xarray.Dataset
        A ``linearizer``, in memory.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    names = names_of(product)
    bad = [bool(reason) for reason in reasons_of(product)]
    figure = Figure(figsize=(13, 6.0), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    axes: dict[str, Any] = figure.subplot_mosaic(
        [["corrections", "scatter"], ["corrections", "turnoff"]], width_ratios=[1.15, 1]
    )
    shades = colormaps["viridis"](np.linspace(0, 0.92, len(names)))
    parts = linearity(product)
    for a, (name, part) in enumerate(zip(names, parts, strict=True)):
        if part.kind in ("none", "proportional"):
            continue
        top = _top(product, a)
        signal = np.linspace(0.01 * top, top, 300)
        percent = _PERCENT * correction(part, signal) / signal
        axes["corrections"].plot(
            signal / _THOUSAND,
            percent,
            color=shades[a],
            linestyle=("-", "--")[a % 2],
            linewidth=1.1,
            label=name,
            gid="correction",
        )
    axes["corrections"].axhline(0.0, color=GUIDE, linewidth=0.8)
    axes["corrections"].set_xlabel("signal / 1000 adu")
    axes["corrections"].set_ylabel("correction added / % of the signal")
    if axes["corrections"].lines[:-1]:
        axes["corrections"].legend(fontsize=7, ncols=-(-len(names) // 16), frameon=False)
    percent = _PERCENT * np.asarray(product["scatter"].values, np.float64)
    dot_plot(axes["scatter"], names, percent, None, "scatter of residuals / %", bad)
    axes["scatter"].axhline(GUIDE_PERCENT, color=GUIDE, linewidth=0.8, linestyle=":")
    axes["scatter"].set_ylim(bottom=0)
    dot_plot(
        axes["turnoff"],
        names,
        np.asarray(product["turnoff"].values, np.float64) / _THOUSAND,
        None,
        "turnoff / 1000 adu",
        bad,
    )
    legend(
        figure,
        (
            ("amplifier", {**MARK_USED, "color": USED}),
            ("none: see the table", {**MARK_UNUSED, "marker": "x"}),
        ),
    )
    return figure


def _top(product: xr.Dataset, amplifier: int) -> float:
    """Return up to which signal a correction is drawn, adu."""
    for name in ("max_signal", "fit_high", "turnoff"):
        value = float(product[name].values[amplifier]) if name in product else np.nan
        if np.isfinite(value) and value > 0:
            return value
    return 65535.0
