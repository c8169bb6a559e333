"""Pictures of products."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

_MOST_PIXELS = 900


def shrink(image: npt.NDArray[Any], most: int = _MOST_PIXELS) -> tuple[npt.NDArray[Any], int]:
    """Return an image of at most `most` pixels a side by block means, and the block size."""
    from cpflow.kernels.binning import bin_image

    factor = max(1, -(-max(image.shape) // most))
    return (image if factor == 1 else bin_image(image, factor)), factor


def image_figure(product: xr.Dataset, detector: Detector, title: str) -> Figure:
    """Draw an image product: the detector, the spread of each amplifier, and its noise.

    Parameters
    ----------
    product : xarray.Dataset
        In memory.
    detector : Detector
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.5), layout="constrained")
    figure.suptitle(title)
    axes: dict[str, Any] = figure.subplot_mosaic(
        [["image", "spread"], ["image", "noise"]], width_ratios=[1.25, 1]
    )
    _draw_detector(axes["image"], product, detector)
    _draw_spread(axes["spread"], product)
    _draw_noise(axes["noise"], product)
    return figure


def _draw_detector(axes: Any, product: xr.Dataset, detector: Detector) -> None:
    image = product["image"].values
    small, _ = shrink(image)
    low, high = np.nanpercentile(small, [1, 99])
    if low == high:
        low, high = low - 0.5, high + 0.5
    rows, columns = image.shape
    shown = axes.imshow(
        small,
        origin="lower",
        cmap="viridis",
        vmin=low,
        vmax=high,
        extent=(-0.5, columns - 0.5, -0.5, rows - 0.5),
        interpolation="nearest",
    )
    for amplifier in detector.amplifiers:
        box = amplifier.detector_box
        if len(detector.amplifiers) > 1:
            axes.plot(
                [box.x0, box.x1, box.x1, box.x0, box.x0],
                [box.y0, box.y0, box.y1, box.y1, box.y0],
                color="white",
                linewidth=0.4,
            )
        axes.text(
            box.x0 + box.width / 2,
            box.y0 + box.height * (0.96 if amplifier.flip_y else 0.03),
            amplifier.name,
            color="white",
            ha="center",
            va="center",
            fontsize=8,
        )
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(-0.5, rows - 0.5)
    axes.set_xlabel("x / pixel")
    axes.set_ylabel("y / pixel")
    axes.figure.colorbar(
        shown,
        ax=axes,
        label=f"image / {product['image'].attrs['units']}",
        shrink=0.8,
        extend="both",
    )


def _draw_spread(axes: Any, product: xr.Dataset) -> None:
    """Boxes from the 16th to the 84th percentile, whiskers from the 5th to the 95th."""
    levels = [float(level) for level in product["percentile"].values]
    wanted = (5.0, 16.0, 50.0, 84.0, 95.0)
    if not set(wanted) <= set(levels):
        axes.set_axis_off()
        return
    q5, q16, q50, q84, q95 = (product["distribution"].sel(percentile=w).values for w in wanted)
    names = [str(name) for name in product["amp"].values]
    axes.bxp(
        [
            {"label": n, "whislo": a, "q1": b, "med": c, "q3": d, "whishi": e, "fliers": []}
            for n, a, b, c, d, e in zip(names, q5, q16, q50, q84, q95, strict=True)
        ],
        showfliers=False,
    )
    axes.set_title("pixels of each amplifier: 5, 16, 50, 84, 95 %")
    axes.set_ylabel(f"image / {product['image'].attrs['units']}")
    axes.tick_params(axis="x", rotation=60, labelsize=8)


def _draw_noise(axes: Any, product: xr.Dataset) -> None:
    """Overscan noise of each exposure (grey) and its median (black)."""
    if "read_noise" not in product or not np.isfinite(product["read_noise"].values).any():
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no overscan: read noise not measured", ha="center", va="center")
        return
    noise = product["read_noise"].values
    names = [str(name) for name in product["amp"].values]
    axes.plot(names, noise.T, ".", color="0.7", markersize=3)
    axes.plot(names, np.nanmedian(noise, axis=0), "k_", markersize=12)
    axes.set_title("read noise in the overscan, each exposure and median")
    axes.set_ylabel("read noise / adu")
    axes.tick_params(axis="x", rotation=60, labelsize=8)


def png_bytes(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the suffix decides the format."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)
