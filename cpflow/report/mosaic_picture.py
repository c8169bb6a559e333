"""A mosaic of the focal plane as a picture or a FITS file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cpflow.errors import UsageError
from cpflow.io.fits_product import write_image_fits
from cpflow.report.pictures import save

if TYPE_CHECKING:
    import xarray as xr


def write_mosaic(mosaic: xr.Dataset, path: Path) -> None:
    """Write a mosaic; the suffix decides the format.

    Parameters
    ----------
    mosaic : xarray.Dataset
        From `cpflow.report.mosaic.mosaic_of`.
    path : pathlib.Path
        ``.fits``: the image with a linear coordinate system; ``.png``, ``.svg``, ``.pdf``: drawn.

    Raises
    ------
    UsageError
        If it is another suffix.
    """
    if path.suffix == ".fits":
        _write_fits(mosaic, path)
    elif path.suffix in (".png", ".svg", ".pdf"):
        draw_mosaic(mosaic, path)
    else:
        raise UsageError(
            f"a mosaic cannot be written as {path.name}", hint="name it .png, .svg, .pdf or .fits"
        )


def draw_mosaic(mosaic: xr.Dataset, path: Path, title: str | None = None) -> None:
    """Draw a mosaic with a colour bar, and each detector's outline and name.

    Colours go from the 1st to the 99th percentile of the cells, as in a product's own picture.

    Parameters
    ----------
    mosaic : xarray.Dataset
        From `cpflow.report.mosaic.mosaic`.
    path : pathlib.Path
        PNG, SVG or PDF.
    title : str, optional
    """
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    image = mosaic["image"].values
    unit, cell, units = (
        mosaic.attrs["unit"],
        mosaic.attrs["cell"],
        mosaic["image"].attrs["units"],
    )
    x, y = mosaic[f"x_{unit}"].values, mosaic[f"y_{unit}"].values
    known = image[np.isfinite(image)]
    low, high = np.percentile(known, [1, 99]) if known.size else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    rows, columns = image.shape
    height = min(max(9 * rows / columns, 3.0), 14.0)
    figure = Figure(figsize=(10.5, height + 1), layout="constrained")
    axes: Any = figure.subplots()
    shown = axes.imshow(
        image,
        origin="lower",
        cmap="viridis",
        norm=Normalize(low, high),
        extent=(x[0] - cell / 2, x[-1] + cell / 2, y[0] - cell / 2, y[-1] + cell / 2),
        interpolation="nearest",
    )
    # A label as high as a sixth of the detectors, in points of the printed page, but legible.
    size = min(max(72 * 9 / 6 * _width(mosaic) / (columns * cell), 4.0), 11.0)
    for name, (left, right, bottom, top) in zip(
        mosaic["name"].values, mosaic["corners"].values, strict=True
    ):
        axes.plot(
            [left, right, right, left, left],
            [bottom, bottom, top, top, bottom],
            color="0.4",
            linewidth=0.4,
        )
        axes.text(
            (left + right) / 2,
            (bottom + top) / 2,
            str(name),
            ha="center",
            va="center",
            fontsize=size,
            color="black",
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.6, "lw": 0},
        )
    edges = mosaic["corners"].values
    for limits, low_edges, high_edges, centres in (
        (axes.set_xlim, edges[:, 0], edges[:, 1], x),
        (axes.set_ylim, edges[:, 2], edges[:, 3], y),
    ):
        # Outlines reach beyond the cells by up to half of one.
        limits(
            min(low_edges.min(), centres[0] - cell / 2) - cell / 4,
            max(high_edges.max(), centres[-1] + cell / 2) + cell / 4,
        )
    axes.set_title(_title(mosaic) if title is None else title)
    axes.set_xlabel(f"x / {unit}")
    axes.set_ylabel(f"y / {unit}")
    figure.colorbar(shown, ax=axes, label=f"image / {units}", shrink=0.8, extend="both")
    save(figure, path)


def _width(mosaic: xr.Dataset) -> float:
    corners = mosaic["corners"].values
    return float(np.min(corners[:, 1] - corners[:, 0]))


def _title(mosaic: xr.Dataset) -> str:
    attrs = mosaic.attrs
    parts = (attrs.get("product", ""), attrs["instrument"], attrs.get("physical_filter", ""))
    text = " ".join(part for part in parts if part)
    n, count = attrs["binning"], mosaic.sizes["detector"]
    return f"{text}: {count} detector{'s' * (count > 1)}, means of {n} x {n} pixels"


def _write_fits(mosaic: xr.Dataset, path: Path) -> None:
    attrs, unit = mosaic.attrs, mosaic.attrs["unit"]
    header: dict[str, object] = {
        "OBSTYPE": attrs.get("product", ""),
        "INSTRUME": attrs["instrument"],
        "FILTER": attrs.get("physical_filter") or None,
        "BINNING": attrs["binning"],
        "BUNIT": mosaic["image"].attrs["units"],
    }
    for number, name in zip(mosaic["detector"].values, mosaic["name"].values, strict=True):
        header[f"DETECTOR_{number}"] = str(name)
    axes: dict[str, object] = {}
    for i, axis in enumerate("xy", 1):
        axes |= {
            f"CTYPE{i}": "LINEAR",
            f"CRPIX{i}": 1.0,
            f"CRVAL{i}": float(mosaic[f"{axis}_{unit}"].values[0]),
            f"CDELT{i}": float(attrs["cell"]),
            f"CUNIT{i}": unit,
        }
    write_image_fits(path, mosaic["image"].values, None, None, header, image_header=axes)
