"""The last task of a product: put its bands together, check it, and write it to staging."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cpflow.camera import Detector
from cpflow.io.zarr_product import content_hash, provenance_attributes, write_product
from cpflow.permissions import make_directory, share_tree
from cpflow.products import product_spec
from cpflow.scheduler.bands import BandRecord, read_band
from cpflow.stack.geometry import place, to_detector_frame
from cpflow.steps.finish import finish_defects, finish_image
from cpflow.verify.summary import summary as verification_summary

if TYPE_CHECKING:
    import xarray as xr

SMALL = "small"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the parts of a product go together; small and picklable.

    `images` and `small` map variable names to dtype and attributes, and `small` to dimensions too.
    """

    product: str
    detector: Detector
    bands: tuple[tuple[str, range], ...]
    images: Mapping[str, tuple[str, Mapping[str, Any]]]
    small: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]]
    coords: Mapping[str, tuple[Any, ...]]
    attrs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """A product in staging: the hash of its values, its size, and what is worth logging."""

    checksum: str
    size: int
    summary: Mapping[str, Any]


def finish_product(
    recipe: Recipe,
    bands_directory: str,
    target: str,
    provenance: Mapping[str, Any],
    records: Sequence[BandRecord],
) -> Finished:
    """Assemble finished bands into a product and write it.

    `records` only makes the task wait for its bands.

    Raises
    ------
    ProductError
        If the result breaks the specification of its product.
    """
    dataset = _assemble(recipe, Path(bands_directory))
    spec = product_spec(recipe.product)
    if "image" in recipe.images:
        dataset = finish_image(dataset, recipe.detector, tuple(recipe.attrs["percentiles"]))
    elif recipe.product == "defects":
        dataset = finish_defects(dataset)
    dataset.attrs.pop("percentiles", None)
    spec.check(dataset, values=True)
    dataset.attrs.update(product=recipe.product, **provenance_attributes(provenance))
    checksum = content_hash(dataset)
    return Finished(checksum, _write(Path(target), dataset), _summary(dataset))


def _write(target: Path, dataset: xr.Dataset) -> int:
    """Write a product, and return its bytes.

    Under another name first: of a worker that died a half may be there, or all of it.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{time.monotonic_ns()}")
    make_directory(temporary.parent)
    write_product(temporary, dataset)
    share_tree(temporary)
    size = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
    return size


def _assemble(recipe: Recipe, directory: Path) -> xr.Dataset:
    """Read the bands one variable at a time: beside the product itself one band is held."""
    import xarray as xr

    detector = recipe.detector
    dataset = xr.Dataset(attrs=dict(recipe.attrs))
    images = {
        name: np.empty(detector.shape, dtype)
        for name, (dtype, _) in recipe.images.items()
        if name != "n_good"
    }
    good = np.zeros(len(detector.amplifiers), np.int64)
    used = np.zeros(len(detector.amplifiers), np.int64)
    for band, rows in recipe.bands:
        arrays = read_band(directory, band)
        for a, amplifier in enumerate(detector.amplifiers):
            box = place(amplifier, rows)
            for name, image in images.items():
                image[box.rows, box.columns] = to_detector_frame(amplifier, arrays[name][a])
        if "n_good" in arrays:
            good += arrays["n_good"].sum(axis=(1, 2), dtype=np.int64)
            used += arrays["n_used"].sum(axis=(1, 2), dtype=np.int64)
    for name, image in images.items():
        dataset[name] = (("y", "x"), image, dict(recipe.images[name][1]))
    if "n_good" in recipe.images:
        fraction = np.full(len(good), np.nan)
        np.divide(good - used, good, out=fraction, where=good > 0)
        dataset["clip_fraction"] = ("amp", fraction, {"units": "1"})
    if recipe.small:
        arrays = read_band(directory, SMALL)
        for name, (dims, attrs) in recipe.small.items():
            dataset[name] = (dims, arrays[name], dict(attrs))
    coords = {name: list(values) for name, values in recipe.coords.items() if name in dataset.dims}
    return dataset.assign_coords(coords)


def _summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Return the numbers that a person looks at first."""
    if "verdict" in dataset:
        return verification_summary(dataset)
    summary: dict[str, Any] = {}
    if "read_noise" in dataset:
        noise = dataset["read_noise"].values
        values = {
            str(name): round(float(np.nanmedian(noise[:, a])), 3)
            for a, name in enumerate(dataset["amp"].values)
            if np.isfinite(noise[:, a]).any()
        }
        summary["read_noise_adu"] = values
    if "distribution" in dataset and 50.0 in dataset["percentile"].values:
        median = dataset["distribution"].sel(percentile=50.0).values
        summary["median"] = {
            str(n): round(float(m), 3) for n, m in zip(dataset["amp"].values, median, strict=True)
        }
    if "clip_fraction" in dataset:
        summary["clip_fraction"] = round(float(np.nanmean(dataset["clip_fraction"].values)), 6)
    if "box" in dataset.dims:
        summary["boxes"] = int(dataset.sizes["box"])
        summary["bad_pixels"] = int((dataset["width"] * dataset["height"]).sum())
    if "n_filled" in dataset.attrs:
        summary["n_filled"] = int(dataset.attrs["n_filled"])
    if "dropped" in dataset:
        summary["dropped"] = [int(e) for e in dataset["exposure"].values[dataset["dropped"].values]]
    return summary
