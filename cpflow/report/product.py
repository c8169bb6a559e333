"""One self-contained HTML page about a product, and its pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cpflow.errors import UsageError
from cpflow.products import VERIFIED
from cpflow.registry import DatasetRef
from cpflow.repo import Repository
from cpflow.report.amplifier_tables import tables_of
from cpflow.report.curves import CAPTIONS, draw, has_figures
from cpflow.report.pictures import image_figure, png_bytes

if TYPE_CHECKING:
    import xarray as xr


def write_report(repository: Repository, ref: DatasetRef, page: Path) -> list[Path]:
    """Write the page, and beside it each picture as PNG.

    Parameters
    ----------
    repository : Repository
    ref : DatasetRef
        An image, or a product that `cpflow.report.curves` draws.
    page : pathlib.Path
        Ends in ``.html``.

    Returns
    -------
    list of pathlib.Path
        What was written.

    Raises
    ------
    UsageError
        If there is no report for such products.
    """
    pictures, html = _render(repository, ref)
    page.parent.mkdir(parents=True, exist_ok=True)
    written = [page]
    for name, picture in pictures.items():
        written.append(page.with_name(f"{page.stem}-{name}.png" if name else f"{page.stem}.png"))
        written[-1].write_bytes(picture)
    page.write_text(html, encoding="utf-8")
    return written


@dataclass(frozen=True)
class Report:
    """The report of a product, to be shown in a notebook or saved."""

    repository: Repository
    ref: DatasetRef

    def save(self, page: str | Path) -> list[Path]:
        """Write the page, and beside it each picture as PNG."""
        return write_report(self.repository, self.ref, Path(page))

    def _repr_html_(self) -> str:
        _, html = _render(self.repository, self.ref)
        # A frame of its own: the page's style must not become that of the notebook.
        return f'<iframe srcdoc="{escape(html)}" width="100%" height="800"></iframe>'


def _render(repository: Repository, ref: DatasetRef) -> tuple[dict[str, bytes], str]:
    """Return pictures by name, that of an image without one, and the page."""
    product = repository.open_dataset(ref)
    title = f"{ref.type}: {ref.data_id}"
    if "image" in product:
        loaded = product.compute()
        detector = repository.detector(ref.data_id.instrument, int(ref.data_id.detector or 0))
        picture = png_bytes(image_figure(loaded, detector, title))
        return {"": picture}, _html(ref, loaded, picture, _verdict(repository, ref))
    if has_figures(ref.type):
        loaded = product.compute()
        pictures = draw(loaded, ref.type, title).png()
        return pictures, _curves_html(ref, loaded, pictures, _verdict(repository, ref))
    raise UsageError(f"there is no report for {ref.type} yet")


def _template(name: str) -> Any:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("cpflow.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)


def _verdict(repository: Repository, ref: DatasetRef) -> str:
    """Return what the verifications of a product come to, or "" if it cannot have one."""
    return repository.verdict_of(ref).text if ref.type in VERIFIED else ""


def _curves_html(
    ref: DatasetRef, product: xr.Dataset, pictures: Mapping[str, bytes], verdict: str
) -> str:
    facts = [
        f"{name.replace('_', ' ')} {product.attrs[name]}"
        for name in ("fit_type", "fit_degree", "abscissa", "method")
        if name in product.attrs
    ]
    html: str = _template("curves.html").render(
        ref=ref,
        facts=facts,
        tables=tables_of(ref.type, product),
        provenance=ref.provenance,
        verdict=verdict,
        pictures=[
            (CAPTIONS[name], base64.b64encode(picture).decode())
            for name, picture in pictures.items()
        ],
    )
    return html


def _html(ref: DatasetRef, product: xr.Dataset, picture: bytes, verdict: str) -> str:
    html: str = _template("product.html").render(
        ref=ref,
        units=product["image"].attrs["units"],
        shape=product["image"].shape,
        amplifiers=_amplifiers(product),
        levels=[float(level) for level in product["percentile"].values],
        exposures=_exposures(product),
        provenance=ref.provenance,
        verdict=verdict,
        filled=product.attrs.get("n_filled", 0),
        picture=base64.b64encode(picture).decode(),
    )
    return html


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
