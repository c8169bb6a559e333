"""Figures of brighter-fatter kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cpflow.report.panels import (
    GUIDE,
    MARK_UNUSED,
    MARK_USED,
    QUIET,
    USED,
    Floats,
    dot_plot,
    legend,
    names_of,
    power_of,
    say_reason,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


def kernel_figure(product: xr.Dataset, title: str) -> Figure:
    """Draw the kernel of a detector, cuts through its centre, and the centres of all amplifiers.

    Parameters
    ----------
    product : xarray.Dataset
        A ``bfk``, in memory; kernels are indexed [x, y].
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Axes: map, cut along x, cut along y, centres, and the colour bar.
    """
    from matplotlib.figure import Figure

    kernel = np.asarray(product["detector_kernel"].values, np.float64)
    power = power_of(kernel)
    unit = f"($10^{{{power}}}$/electron)"
    figure = Figure(figsize=(14, 7.5), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    axes: dict[str, Any] = figure.subplot_mosaic(
        [["map", "x", "y"], ["map", "centres", "centres"]], width_ratios=[1.5, 1, 1]
    )
    x, y = lags_of(product)
    image = axes["map"].imshow(
        kernel.T / 10.0**power,
        origin="lower",
        cmap="cividis",
        interpolation="nearest",
        extent=(x[0] - 0.5, x[-1] + 0.5, y[0] - 0.5, y[-1] + 0.5),
    )
    if "detector_reason" in product:
        say_reason(axes["map"], str(product["detector_reason"].values))
    axes["map"].set_xlabel("x / pixel")
    axes["map"].set_ylabel("y / pixel")
    figure.colorbar(image, ax=axes["map"], label=f"K / {unit}", shrink=0.8)
    _draw_cut(axes["x"], product, x, "x", 10.0**power)
    _draw_cut(axes["y"], product, y, "y", 10.0**power)
    axes["x"].set_ylabel(f"K / {unit}")
    axes["y"].sharey(axes["x"])
    axes["y"].tick_params(labelleft=False)
    valid = product["valid"].values
    middle = tuple(n // 2 for n in kernel.shape)
    centres = np.asarray(product["kernel"].values, np.float64)[:, middle[0], middle[1]]
    errors = None
    if "kernel_error" in product:
        errors = product["kernel_error"].values[:, middle[0], middle[1]] / 10.0**power
    dot_plot(
        axes["centres"],
        names_of(product),
        centres / 10.0**power,
        errors,
        f"K at the centre / {unit}",
        list(~valid),
    )
    axes["centres"].axhline(
        kernel[middle] / 10.0**power, color=GUIDE, linewidth=1.0, gid="detector"
    )
    legend(
        figure,
        (
            ("detector; valid amplifier", MARK_USED),
            ("amplifier not valid", MARK_UNUSED),
            ("cuts of valid amplifiers", {"color": QUIET, "linewidth": 0.9}),
            ("centre of the detector's", {"color": GUIDE, "linewidth": 1.0}),
        ),
    )
    return figure


def lags_of(product: xr.Dataset) -> tuple[Floats, Floats]:
    """Return the lags along x and y of a kernel, zero in the middle."""
    sizes = [product.sizes[f"kernel_{axis}"] for axis in "xy"]
    across, along = (np.arange(n, dtype=np.float64) - n // 2 for n in sizes)
    return across, along


def _draw_cut(axes: Any, product: xr.Dataset, lags: Floats, along: str, scale: float) -> None:
    def cut(values: Any) -> Floats:
        matrix = np.asarray(values, np.float64) / scale
        if along == "x":
            return np.asarray(matrix[:, matrix.shape[1] // 2])
        return np.asarray(matrix[matrix.shape[0] // 2, :])

    for kernel, valid in zip(product["kernel"].values, product["valid"].values, strict=True):
        if valid:
            axes.plot(lags, cut(kernel), color=QUIET, linewidth=0.7, zorder=1, gid="amplifier")
    error = None
    if "detector_kernel_error" in product:
        error = np.nan_to_num(cut(product["detector_kernel_error"].values))
    axes.errorbar(
        lags,
        cut(product["detector_kernel"].values),
        error,
        color=USED,
        marker="o",
        markersize=3.5,
        linewidth=1.0,
        zorder=3,
        gid="detector",
    )
    axes.axhline(0.0, color=GUIDE, linewidth=0.8, zorder=0)
    axes.set_xlabel(f"{along} / pixel")
    axes.set_title(f"along {along}", fontsize=9, loc="left", pad=2)
