"""The figure of a crosstalk matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpflow.report.panels import names_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

#: Coefficients are shown in this unit.
MILLIONTH = 1e-6
# Numbers of more amplifiers would not be readable.
_MOST_NUMBERS = 20


def crosstalk_figure(product: xr.Dataset, title: str) -> Figure:
    """Draw the matrix of a detector: sources down, targets across, in units of 1e-6.

    Parameters
    ----------
    product : xarray.Dataset
        A ``crosstalk``, in memory.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Valid coefficients have a frame; those that were not measured are hatched.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    names = names_of(product, "source_amp")
    number = len(names)
    shown = np.asarray(product["coefficients"].values, np.float64) / MILLIONTH
    valid = np.asarray(product["valid"].values, np.bool_)
    side = min(max(6.0, 1.5 + 0.62 * number), 15.0)
    figure = Figure(figsize=(side + 1.8, side), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    axes = figure.subplots()
    limit = _limit(shown, valid)
    axes.set_facecolor("0.92")
    image = axes.imshow(
        np.ma.masked_invalid(shown), cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest"
    )
    for (source, target), value in np.ndenumerate(shown):
        corner = (target - 0.5, source - 0.5)
        if not np.isfinite(value):
            axes.add_patch(
                Rectangle(corner, 1, 1, fill=False, hatch="////", edgecolor="0.8", linewidth=0)
            )
            continue
        is_valid = bool(valid[source, target])
        if is_valid:
            axes.add_patch(
                Rectangle(
                    corner,
                    1,
                    1,
                    fill=False,
                    edgecolor="black",
                    linewidth=1.4,
                    gid="valid",
                    zorder=3,
                )
            )
        if number <= _MOST_NUMBERS:
            dark = abs(value) > 0.65 * limit
            axes.text(
                target,
                source,
                f"{round(float(value)) + 0:d}" if abs(value) >= 10 else f"{value:.1f}",
                ha="center",
                va="center",
                fontsize=8,
                fontweight="bold" if is_valid else "normal",
                color="white" if dark else "black",
                gid="value",
            )
    axes.set_xticks(range(number), names_of(product, "target_amp"), rotation=60)
    axes.set_yticks(range(number), names)
    axes.tick_params(labelsize=9 if number <= _MOST_NUMBERS else 6)
    axes.set_xlabel("target amplifier")
    axes.set_ylabel("source amplifier")
    units = str(product["coefficients"].attrs.get("units", "adu/adu"))
    axes.set_title(
        f"{int(valid.sum())} valid (framed, bold); hatched: not measured", fontsize=9, loc="right"
    )
    figure.colorbar(
        image, ax=axes, extend="both", shrink=0.8, label=f"coefficient / ($10^{{-6}}$ {units})"
    )
    return figure


def _limit(shown: np.ndarray, valid: np.ndarray) -> float:
    """Return the end of the colour scale: from the valid coefficients, or all if none is."""
    finite = np.isfinite(shown)
    chosen = np.abs(shown[finite & valid] if (finite & valid).any() else shown[finite])
    return (float(np.percentile(chosen, 95)) if chosen.size else 0.0) or 1.0
