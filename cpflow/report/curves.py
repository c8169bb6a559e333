"""Figures of the electro-optical products: photon transfer curve, linearity, kernel, crosstalk."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from cpflow.errors import UsageError
from cpflow.report.covariance_figures import covariance_figure
from cpflow.report.crosstalk_figures import crosstalk_figure
from cpflow.report.kernel_figures import kernel_figure
from cpflow.report.linearity_figures import correction_figure, residual_figure
from cpflow.report.pictures import png_bytes, save
from cpflow.report.ptc_figures import curve_figure, gain_figure

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    Draw = Callable[[xr.Dataset, str], Figure]

__all__ = ["CAPTIONS", "Drawings", "correction_figure", "covariance_figure", "crosstalk_figure",
           "curve_figure", "draw", "gain_figure", "has_figures", "kernel_figure",
           "residual_figure"]  # fmt: skip

_FIGURES: Mapping[str, Mapping[str, Draw]] = {
    "ptc": {"curves": curve_figure, "gains": gain_figure, "covariances": covariance_figure},
    "linearizer": {"residuals": residual_figure, "corrections": correction_figure},
    "bfk": {"kernel": kernel_figure},
    "crosstalk": {"matrix": crosstalk_figure},
}
# What only products that cpflow measured have; curated ones come without.
_NEEDS = {"residuals": ("residual", "signal", "used", "fit_low", "fit_high", "turnoff"),
          "corrections": ("scatter", "turnoff")}  # fmt: skip

CAPTIONS: Mapping[str, str] = {
    "curves": "Variance against mean of each amplifier with the fitted curve; below, what the "
    "curve leaves over, relative to the mean. Arrows: beyond the scale.",
    "gains": "Gain, read noise and a00 of each amplifier with standard errors; its turnoff with "
    "the steps to the pairs beside it.",
    "covariances": "Matrix a, and covariances over the mean against the mean at the first lags.",
    "residuals": "Corrected signal less the straight line, relative to the signal.",
    "corrections": "The correction that is added to the signal, and how far the corrected signal "
    "is from a straight line.",
    "kernel": "Kernel of the detector, cuts through its centre, and each amplifier's depth.",
    "matrix": "Crosstalk from each source to each target.",
}


class Drawings(Mapping[str, "Figure"]):
    """The figures of a product by name; a notebook shows all of them.

    Parameters
    ----------
    figures : mapping of str to matplotlib.figure.Figure
    """

    def __init__(self, figures: Mapping[str, Figure]) -> None:
        self._figures = dict(figures)

    def __getitem__(self, name: str) -> Figure:
        return self._figures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._figures)

    def __len__(self) -> int:
        return len(self._figures)

    def __repr__(self) -> str:
        return f"<figures: {', '.join(self._figures)}>"

    def png(self) -> dict[str, bytes]:
        """Return each figure as PNG."""
        return {name: png_bytes(figure) for name, figure in self._figures.items()}

    def save(self, directory: str | Path, stem: str, suffix: str = ".png") -> list[Path]:
        """Write each figure as ``<stem>-<name><suffix>``; the suffix decides the format."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{stem}-{name}{suffix}" for name in self._figures]
        for path, figure in zip(paths, self._figures.values(), strict=True):
            save(figure, path)
        return paths

    def _repr_html_(self) -> str:
        return "".join(
            f'<img alt="{escape(name)}" src="data:image/png;base64,'
            f'{base64.b64encode(picture).decode()}">'
            for name, picture in self.png().items()
        )


def has_figures(product_type: str) -> bool:
    """Whether products of this type are drawn here."""
    return product_type in _FIGURES


def draw(
    dataset: xr.Dataset, product_type: str | None = None, title: str | None = None
) -> Drawings:
    """Draw a photon transfer curve, linearizer, brighter-fatter kernel or crosstalk matrix.

    Parameters
    ----------
    dataset : xarray.Dataset
        A product; lazy is fine.
    product_type : str, optional
        If the dataset does not say it.
    title : str, optional
        Otherwise type, instrument and detector.

    Returns
    -------
    Drawings
        Figures by name: ``curves``, ``gains`` and ``covariances`` of a ``ptc``, ``residuals`` and
        ``corrections`` of a ``linearizer``, ``kernel`` of a ``bfk``, ``matrix`` of a
        ``crosstalk``. What a product has no values for is left out.

    Raises
    ------
    UsageError
        If it is another product.

    Examples
    --------
    >>> draw(repo.get("ptc", collections="u/me/ptc", detector=0))  # doctest: +SKIP
    """
    kind = product_type or str(dataset.attrs.get("product", ""))
    if kind not in _FIGURES:
        raise UsageError(
            f"{kind or 'this dataset'} has no curves to draw",
            hint=f"{', '.join(_FIGURES)} have; name one as product_type if the dataset does not",
        )
    if title is None:
        title = kind
        if "instrument" in dataset.attrs:
            title += f": {dataset.attrs['instrument']}, detector {dataset.attrs.get('detector')}"
    loaded = dataset.compute()
    return Drawings(
        {
            name: figure(loaded, title)
            for name, figure in _FIGURES[kind].items()
            if all(variable in loaded for variable in _NEEDS.get(name, ()))
        }
    )
