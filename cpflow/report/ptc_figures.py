"""Figures of a photon transfer curve: the curves, and what was fitted to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cpflow.report.panels import (
    GUIDE,
    MARK_MODEL,
    MARK_TURNOFF,
    MARK_UNUSED,
    MARK_USED,
    MODEL,
    TURNOFF,
    Floats,
    amplifier_axes,
    columns_of,
    dot_plot,
    grid_size,
    legend,
    limit_of,
    names_of,
    plot_points,
    power_of,
    reasons_of,
    say_reason,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

_THOUSAND = 1000.0


def model_variances(product: xr.Dataset) -> Floats:
    """Return the variance of the fitted curve at each pair, shape (amp, pair), adu squared."""
    if "variance_model" in product:
        return np.asarray(product["variance_model"].values, np.float64)
    return np.asarray(product["covariances_model"].values[:, :, 0, 0], np.float64)


def fitted_variances(product: xr.Dataset) -> Floats:
    """Return the variances that the curve was fitted to, shape (amp, pair), adu squared.

    A full covariance fit takes the covariance at lag zero, the others the clipped variance (spec
    electro-optical 1.8, 1.10).
    """
    if str(product.attrs.get("fit_type", "")).startswith("FULLCOVARIANCE"):
        return np.asarray(product["covariances"].values[:, :, 0, 0], np.float64)
    return np.asarray(product["variance"].values, np.float64)


def curve_figure(product: xr.Dataset, title: str) -> Figure:
    """Draw variance against mean of every amplifier, and what the fit leaves over.

    Parameters
    ----------
    product : xarray.Dataset
        A ``ptc``, in memory.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Two axes for each amplifier: the curve, and (variance - model) / mean in adu.
    """
    from matplotlib.figure import Figure

    names, reasons = names_of(product), reasons_of(product)
    figure = Figure(figsize=grid_size(len(names), 3.1, 2.9), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    cells = amplifier_axes(figure, names, (2.4, 1.0))
    mean, used = product["mean"].values, product["used"].values
    variance, model = fitted_variances(product), model_variances(product)
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = (variance - model) / mean
        errors = product["covariance_errors"].values[:, :, 0, 0] / mean
    limit = limit_of(np.abs(rest[used]) + np.nan_to_num(errors[used]), 1e-6)
    top = 1.05 * float(np.max(variance, initial=1.0, where=np.isfinite(variance)))
    for a, (curve, residual) in enumerate(cells):
        x = mean[a] / _THOUSAND
        plot_points(curve, x, variance[a] / _THOUSAND, used[a])
        order = np.argsort(x)
        order = order[np.isfinite(x[order]) & np.isfinite(model[a][order])]
        if order.size:
            curve.plot(
                x[order],
                model[a][order] / _THOUSAND,
                color=MODEL,
                linewidth=1.0,
                zorder=2.5,
                gid="model",
            )
        plot_points(residual, x, rest[a], used[a], errors[a], limit)
        residual.axhline(0.0, color=GUIDE, linewidth=0.8)
        turnoff = float(product["turnoff"].values[a])
        for axes in (curve, residual):
            if np.isfinite(turnoff):
                axes.axvline(
                    turnoff / _THOUSAND,
                    color=TURNOFF,
                    linewidth=1.2,
                    linestyle="--",
                    gid="turnoff",
                )
        say_reason(curve, reasons[a])
    # Below zero, so that saturated pairs, which have no variance, are seen.
    cells[0][0].set_ylim(-0.05 * top / _THOUSAND, top / _THOUSAND)
    cells[0][0].set_xlim(left=0)
    cells[0][1].set_ylim(-limit, limit)
    figure.supxlabel("mean / 1000 adu", fontsize=10)
    for curve, residual in cells[:: columns_of(len(names))]:
        curve.set_ylabel("variance / 1000 adu$^2$", fontsize=8)
        residual.set_ylabel("(variance - model)\n/ mean / adu", fontsize=7)
    legend(
        figure,
        (
            ("pair used", MARK_USED),
            ("not used", MARK_UNUSED),
            ("model", MARK_MODEL),
            ("turnoff", MARK_TURNOFF),
        ),
    )
    return figure


def gain_figure(product: xr.Dataset, title: str) -> Figure:
    """Draw gain, read noise, a00 and turnoff of every amplifier with their errors.

    Parameters
    ----------
    product : xarray.Dataset
        A ``ptc``, in memory.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    names = names_of(product)
    bad = [bool(reason) for reason in reasons_of(product)]
    figure = Figure(figsize=(max(9.0, 1.5 + 0.55 * len(names)), 6.5), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    axes: Any = figure.subplots(2, 2, sharex=True)

    def values(name: str) -> Floats:
        return np.asarray(product[name].values, np.float64)

    a00, a00_error = values("a")[:, 0, 0], values("a_error")[:, 0, 0]
    power = power_of(a00)
    scale = 10.0**power
    for place, value, error, label in (
        ((0, 0), values("gain"), values("gain_error"), "gain / (electron/adu)"),
        ((0, 1), values("noise"), values("noise_error"), "read noise / electron"),
        (
            (1, 0),
            a00 / scale,
            a00_error / scale,
            f"$a_{{00}}$ / ($10^{{{power}}}$/electron)",
        ),
        (
            (1, 1),
            values("turnoff") / _THOUSAND,
            values("turnoff_error") / _THOUSAND,
            "turnoff / 1000 adu",
        ),
    ):
        dot_plot(axes[place], names, value, error, label, bad)
    legend(
        figure,
        (
            ("amplifier", MARK_USED),
            ("none: see the table", {**MARK_UNUSED, "marker": "x"}),
        ),
    )
    return figure
