"""Focal-plane mosaics: the binned images of all detectors at their places (spec 4.1, last point).

A detector's pixel lies at ``centre_mm + (pixel - reference_pixel) * pixel_size_mm`` (spec 1.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cpflow.camera import Camera, Detector
from cpflow.errors import MissingCalibrationError, UsageError
from cpflow.products import is_image, product_name
from cpflow.steps.finish import BINNINGS, bin_good_pixels

if TYPE_CHECKING:
    import xarray as xr

    from cpflow.registry import DatasetRef
    from cpflow.repo import Repository

# Detectors without places stand side by side, this fraction of their width apart.
_GAP = 0.05
# In cells: what lies on a boundary but for rounding lies on the boundary.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a detector lies in the plane: its lower left corner, and the size of its pixels."""

    x: float
    y: float
    pixel: float


def mosaic(datasets: Mapping[int, xr.Dataset], camera: Camera, binning: int = 64) -> xr.Dataset:
    """Put the binned images of detectors at their places in the focal plane.

    Parameters
    ----------
    datasets : mapping of int to xarray.Dataset
        Finished image products of one type by detector id; lazy is fine, one at a time is loaded.
        A product without binned images is binned here.
    camera : Camera
        One whose detectors have no pixel size, or share one place, has them side by side in the
        order of their ids.
    binning : int
        8 or 64, or that of binned images which all products have.

    Returns
    -------
    xarray.Dataset
        `image` (y, x), float32, in the unit of the products, NaN between detectors and where a
        block has no good pixel. Cells are squares of `binning` of the smallest pixels, on one
        lattice for all mosaics of a camera, so that those of two runs can be compared; a cell shows
        the block that its centre lies in, hence what lies on the lattice is copied. `x_mm`, `y_mm`
        are the centres of the cells, or `x_pixel`, `y_pixel` for a camera without pixel sizes.
        `detector` has `name` and `corners` (left, right, bottom, top; the same unit).

    Raises
    ------
    UsageError
        If there is no product, one is not an image, or their units differ.
    InstrumentError
        If the camera lacks a detector.
    """
    import xarray as xr

    made = f"image_bin{binning}"
    if binning not in BINNINGS and not all(made in dataset for dataset in datasets.values()):
        raise UsageError(f"mosaics are binned by {BINNINGS}, not by {binning}")
    if not datasets:
        raise UsageError("a mosaic needs the product of one detector or more")
    detectors = [camera.detector(number) for number in sorted(datasets)]
    units = _common_units(datasets)
    unit, places = _places(detectors)
    cell = binning * min(place.pixel for place in places)
    corners = np.array([_corners(d, p) for d, p in zip(detectors, places, strict=True)])
    left, bottom = (math.floor(corners[:, i].min() / cell + _ROUNDING) for i in (0, 2))
    right, top = (math.ceil(corners[:, i].max() / cell - _ROUNDING) for i in (1, 3))
    image = np.full((top - bottom, right - left), np.nan, np.float32)
    for detector, place in zip(detectors, places, strict=True):
        blocks = _binned(datasets[detector.id], binning)
        rows, columns = detector.shape
        x, column = _cells(place.x / cell - left, columns, place.pixel / cell, binning)
        y, row = _cells(place.y / cell - bottom, rows, place.pixel / cell, binning)
        image[y[:, None], x] = blocks[row[:, None], column]
    return xr.Dataset(
        {
            "image": (("y", "x"), image, {"units": units}),
            "corners": (("detector", "corner"), corners, {"units": unit}),
        },
        coords={
            f"x_{unit}": ("x", (np.arange(left, right) + 0.5) * cell, {"units": unit}),
            f"y_{unit}": ("y", (np.arange(bottom, top) + 0.5) * cell, {"units": unit}),
            "detector": [detector.id for detector in detectors],
            "name": ("detector", [detector.name for detector in detectors]),
        },
        attrs={"instrument": camera.instrument, "binning": binning, "cell": cell, "unit": unit},
    )


def detector_corners(detectors: Sequence[Detector]) -> tuple[str, npt.NDArray[np.float64]]:
    """Return the unit of the plane, and left, right, bottom, top of each detector in it."""
    unit, places = _places(detectors)
    return unit, np.array([_corners(d, p) for d, p in zip(detectors, places, strict=True)])


def _common_units(datasets: Mapping[int, xr.Dataset]) -> str:
    for number, dataset in datasets.items():
        if "image" not in dataset or dataset["image"].dims != ("y", "x"):
            raise UsageError(f"the product of detector {number} is not an image")
    found = sorted({str(dataset["image"].attrs.get("units")) for dataset in datasets.values()})
    if len(found) > 1:
        raise UsageError(f"the products are in different units: {', '.join(found)}")
    return found[0]


def _places(detectors: Sequence[Detector]) -> tuple[str, list[_Place]]:
    """Return the unit of the plane, and where each detector lies in it."""
    sized = all(detector.pixel_size_mm > 0 for detector in detectors)
    unit = "mm" if sized else "pixel"
    if sized and len({detector.centre_mm for detector in detectors}) == len(detectors):
        return unit, [
            _Place(
                d.centre_mm[0] - (d.reference_pixel[0] + 0.5) * d.pixel_size_mm,
                d.centre_mm[1] - (d.reference_pixel[1] + 0.5) * d.pixel_size_mm,
                d.pixel_size_mm,
            )
            for d in detectors
        ]
    places, x = [], 0.0
    for detector in detectors:
        pixel = detector.pixel_size_mm if sized else 1.0
        places.append(_Place(x, 0.0, pixel))
        x += (1 + _GAP) * detector.shape[1] * pixel
    return unit, places


def _corners(detector: Detector, place: _Place) -> tuple[float, float, float, float]:
    rows, columns = detector.shape
    return (
        place.x,
        place.x + columns * place.pixel,
        place.y,
        place.y + rows * place.pixel,
    )


def _cells(
    edge: float, pixels: int, pixel: float, binning: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the cells whose centres lie on a detector, along one axis, and the block of each.

    `edge` is where the detector begins and `pixel` its pixels' size, both in cells. A detector
    between two centres takes the cell that its middle lies in.
    """
    first = math.ceil(edge - 0.5 - _ROUNDING)
    last = math.ceil(edge + pixels * pixel - 0.5 - _ROUNDING)
    if last <= first:
        middle = edge + pixels * pixel / 2
        return np.array([int(middle)]), np.array([(pixels // 2) // binning])
    cells = np.arange(first, last)
    block = np.floor((cells + 0.5 - edge + _ROUNDING) / (pixel * binning)).astype(np.intp)
    return cells, np.minimum(block, -(-pixels // binning) - 1)


def _binned(dataset: xr.Dataset, binning: int) -> npt.NDArray[np.float32]:
    name = f"image_bin{binning}"
    if name in dataset:
        return np.asarray(dataset[name].values, np.float32)
    image = np.asarray(dataset["image"].values, np.float32)
    mask = dataset["mask"].values if "mask" in dataset else np.zeros(image.shape, np.uint16)
    return bin_good_pixels(image, np.asarray(mask, np.uint16), binning)


def mosaic_of(
    repository: Repository,
    product: str,
    *,
    collections: str | Sequence[str],
    physical_filter: str | None = None,
    instrument: str | None = None,
    exposure: int | None = None,
    binning: int = 64,
) -> xr.Dataset:
    """Find the products of all detectors, and put them at their places.

    Parameters
    ----------
    repository : Repository
    product : str
        Type of an image product.
    collections : str or sequence of str
        RUNs or chains, searched in this order for each detector.
    physical_filter : str, optional
        May be left out if there is only one, or with `exposure`.
    instrument : str, optional
        May be left out if there is only one.
    exposure : int, optional
        Take what holds at its time; needed for CALIBRATION collections.
    binning : int

    Returns
    -------
    xarray.Dataset
        As `mosaic` gives it, and `product` and `physical_filter` as attributes.

    Raises
    ------
    UsageError
        If the product is not an image, or several filters are there and none is named.
    MissingCalibrationError
        If no detector has the product.
    """
    kind = product_name(product)
    if not is_image(kind):
        raise UsageError(f"there is no mosaic of {kind}: it is not an image of the detector")
    path = [collections] if isinstance(collections, str) else list(collections)
    camera = repository.camera(instrument)
    if exposure is None:
        found = repository.registry.datasets(
            kind, path, find_first=True, instrument=camera.instrument
        )
        refs = [r for r in found if physical_filter in (None, r.data_id.physical_filter)]
    else:
        refs = _holding(repository, kind, path, camera, physical_filter, exposure)
    if not refs:
        of = kind if physical_filter is None else f"{kind} of filter {physical_filter}"
        raise MissingCalibrationError(
            f"no detector has a {of} in {', '.join(path)}",
            hint="`cpflow datasets REPO` lists them; a CALIBRATION collection needs an exposure",
        )
    filters = sorted({r.data_id.physical_filter for r in refs if r.data_id.physical_filter})
    if len(filters) > 1:
        raise UsageError(
            f"there are {kind}s of {len(filters)} filters: {', '.join(filters)}",
            hint="name one with --filter",
        )
    chosen = {int(ref.data_id.detector or 0): repository.open_dataset(ref) for ref in refs}
    result = mosaic(chosen, camera, binning)
    return result.assign_attrs(product=kind, physical_filter=filters[0] if filters else "")


def _holding(
    repository: Repository,
    kind: str,
    path: Sequence[str],
    camera: Camera,
    physical_filter: str | None,
    exposure: int,
) -> list[DatasetRef]:
    found = (
        repository.find(
            kind,
            collections=path,
            detector=detector.id,
            instrument=camera.instrument,
            physical_filter=physical_filter,
            exposure=exposure,
        )
        for detector in camera
    )
    return [ref for ref in found if ref is not None]
