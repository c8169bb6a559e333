"""One self-contained HTML page about a product, and its picture."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cpflow.errors import UsageError
from cpflow.registry import DatasetRef
from cpflow.repo import Repository
from cpflow.report.pictures import image_figure, png_bytes

if TYPE_CHECKING:
    import xarray as xr


def write_report(repository: Repository, ref: DatasetRef, page: Path) -> list[Path]:
    """Write the page, and beside it the picture as PNG.

    Parameters
    ----------
    repository : Repository
    ref : DatasetRef
        An image product.
    page : pathlib.Path
        Ends in ``.html``.

    Returns
    -------
    list of pathlib.Path
        What was written.

    Raises
    ------
    UsageError
        If the product is not an image.
    """
    product = repository.open_dataset(ref)
    if "image" not in product:
        raise UsageError(f"there is no report for {ref.type} yet")
    picture, html = _render(repository, ref, product.compute())
    page.parent.mkdir(parents=True, exist_ok=True)
    image = page.with_suffix(".png")
    image.write_bytes(picture)
    page.write_text(html, encoding="utf-8")
    return [page, image]


@dataclass(frozen=True)
class Report:
    """The report of a product, to be shown in a notebook or saved."""

    repository: Repository
    ref: DatasetRef

    def save(self, page: str | Path) -> list[Path]:
        """Write the page, and beside it the picture as PNG."""
        return write_report(self.repository, self.ref, Path(page))

    def _repr_html_(self) -> str:
        product = self.repository.open_dataset(self.ref).compute()
        _, html = _render(self.repository, self.ref, product)
        # A frame of its own: the page's style must not become that of the notebook.
        return f'<iframe srcdoc="{escape(html)}" width="100%" height="800"></iframe>'


def _render(repository: Repository, ref: DatasetRef, product: xr.Dataset) -> tuple[bytes, str]:
    detector = repository.detector(ref.data_id.instrument, int(ref.data_id.detector or 0))
    picture = png_bytes(image_figure(product, detector, f"{ref.type}: {ref.data_id}"))
    return picture, _html(ref, product, picture)


def _html(ref: DatasetRef, product: xr.Dataset, picture: bytes) -> str:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("cpflow.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("product.html").render(
        ref=ref,
        units=product["image"].attrs["units"],
        shape=product["image"].shape,
        amplifiers=_amplifiers(product),
        levels=[float(level) for level in product["percentile"].values],
        exposures=_exposures(product),
        provenance=ref.provenance,
        filled=product.attrs.get("n_filled", 0),
        picture=base64.b64encode(picture).decode(),
    )


def _amplifiers(product: xr.Dataset) -> list[dict[str, Any]]:
    rows = []
    for name in product["amp"].values:
        one = product.sel(amp=name)
        noise = one["read_noise"].values if "read_noise" in one else np.array([np.nan])
        rows.append(
            {
                "name": str(name),
                "distribution": [float(value) for value in one["distribution"].values],
                "n_bad": int(one["n_bad"]),
                "clip": float(one["clip_fraction"]) if "clip_fraction" in one else None,
                "noise": float(np.nanmedian(noise)) if np.isfinite(noise).any() else None,
            }
        )
    return rows


def _exposures(product: xr.Dataset) -> list[dict[str, Any]]:
    rows = []
    for i, exposure in enumerate(product["exposure"].values):
        row: dict[str, Any] = {"exposure": int(exposure)}
        for name in ("scale", "dropped"):
            if name in product:
                row[name] = product[name].values[i]
        for name in ("read_noise", "overscan_level"):
            values = product[name].values[i] if name in product else np.array([np.nan])
            row[name] = float(np.nanmean(values)) if np.isfinite(values).any() else None
        rows.append(row)
    return rows
