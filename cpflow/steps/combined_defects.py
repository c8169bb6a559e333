"""Defects from combined products: bias, dark and flats are searched (spec 4.6, 4.7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import MissingCalibrationError, ProductError
from cpflow.kernels.defect_merge import merge_sources
from cpflow.kernels.defects import Source
from cpflow.kernels.planes import BAD, NO_DATA, SAT, VIGNETTED
from cpflow.stack import Choice
from cpflow.steps.defect_search import defect_map, search_image
from cpflow.steps.defects import MANUAL
from cpflow.steps.options import Defects
from cpflow.steps.tables import defect_boxes

if TYPE_CHECKING:
    import xarray as xr

SOURCES: tuple[Source, ...] = ("bias", "dark", "flat")
COUNTS = ("hot", "cold", "flagged")


@dataclass(frozen=True, slots=True)
class FoundInProduct:
    """Defects of one combined image, in the detector frame.

    Parameters
    ----------
    source : str
        Its kind: bias, dark or flat.
    pixels : array of int64, shape (pixel,)
        ``y * columns + x``, ascending.
    hot, cold, flagged : array of int64, shape (amp,)
        Pixels beyond the thresholds, and those flagged BAD.
    """

    source: Source
    pixels: npt.NDArray[np.int64]
    hot: npt.NDArray[np.int64]
    cold: npt.NDArray[np.int64]
    flagged: npt.NDArray[np.int64]


def find_combined_defects(
    detector: Detector, calibrations: Mapping[str, Any], options: Defects
) -> xr.Dataset:
    """Find the defects that combined products show; lazy.

    Pixels flagged NO_DATA or VIGNETTED are not looked at. Those flagged BAD have no good input:
    their values were filled in, so they are not searched either, but are defects as they are unless
    `options` say otherwise. If a product was itself made with a defect list, BAD has that list.

    Parameters
    ----------
    detector : Detector
    calibrations : mapping of str to xarray.Dataset, or Choice of those
        `bias`, `dark` and `flat`, as many as there are: lazy images, dimensions (y, x). Of a
        choice, flats of several filters, all are searched. `manual_defects`, boxes, are added.
    options : Defects
        `mode` and `fraction` merge the images of a kind; a defect of any kind is one.

    Returns
    -------
    xarray.Dataset
        `defect` with dimensions (amp, y, x) in the readout frame, 1 where a pixel is bad. For each
        image searched (`source`), by amplifier: `hot_pixels`, `cold_pixels`, `flagged_pixels`.

    Raises
    ------
    MissingCalibrationError
        If there is neither bias, dark nor flat.
    ProductError
        If an image has another shape than the detector.

    Notes
    -----
    Spec 4.6 and 4.7 (`MergeDefectsCombined`), corrected: masks are respected, a bias is searched in
    STDEV mode too, and several images of a kind are all used. A dark is per second, whatever its
    exposures were.
    """
    import dask.array as da
    import xarray as xr
    from dask.base import tokenize
    from dask.delayed import delayed

    from cpflow.stack.lazy import node

    images = sorted(_images(detector, calibrations), key=lambda item: item[0])
    if not images:
        raise MissingCalibrationError(
            f"defects of detector {detector.id} are found in a bias, a dark or a flat, and there "
            "is neither bias nor dark nor flat for the exposures of the query",
            hint="build and certify one of them, or put its collection into -i",
        )
    manual = [
        delayed(defect_boxes)(boxes)
        for boxes in (_several(calibrations[MANUAL]) if MANUAL in calibrations else ())
    ]
    names = [image["image"].data.name for _, _, image in images]
    token = tokenize(detector, options, names, [str(boxes.key) for boxes in manual])[:16]
    place, values = node("detector", detector, token), node("options", options, token)
    found = [
        delayed(search_product)(
            place,
            source,
            _blocks(image["image"]),
            _blocks(image["mask"]) if "mask" in image else None,
            str(image["image"].attrs.get("units", "1")),
            values,
            dask_key_name=f"search-{source}-{number}-{token}",
        )
        for number, (_, source, image) in enumerate(images)
    ]
    merged = delayed(merge_products)(place, found, manual, values, dask_key_name=f"defects-{token}")
    shape = (len(detector.amplifiers), *detector.imaging_shape)
    product = xr.Dataset(
        {
            "defect": (
                ("amp", "y", "x"),
                da.from_delayed(merged, shape, np.uint8),
                {"units": "1"},
            )
        },
        coords={
            "amp": list(detector.amplifier_names),
            "source": _unique([label for label, _, _ in images]),
        },
    )
    for name in COUNTS:
        counts = delayed(counts_of)(found, name, dask_key_name=f"count-{name}-{token}")
        product[f"{name}_pixels"] = (
            ("source", "amp"),
            da.from_delayed(counts, (len(found), shape[0]), np.int64),
            {"units": "1"},
        )
    return product


def _several(calibration: Any) -> tuple[Any, ...]:
    return calibration.values if isinstance(calibration, Choice) else (calibration,)


def _images(
    detector: Detector, calibrations: Mapping[str, Any]
) -> Iterator[tuple[str, Source, xr.Dataset]]:
    """Yield the name, the kind and the image of each product to be searched."""
    for source in SOURCES:
        for image in _several(calibrations[source]) if source in calibrations else ():
            if image["image"].shape != detector.shape:
                raise ProductError(
                    f"{source} has shape {image['image'].shape}, detector {detector.id} has "
                    f"{detector.shape}"
                )
            label = " ".join([source, str(image.attrs.get("filter", ""))]).strip()
            variables = [name for name in ("image", "mask") if name in image]
            lazy = all(image[name].chunks for name in variables)
            yield label, source, image if lazy else image[variables].chunk()


def _blocks(variable: xr.DataArray) -> Any:
    """Return the chunks of an image as rows of delayed arrays.

    A Dask array as an argument would have its graph optimised, and a product that the same plan
    builds would be fused with the tasks that read it: nothing could stand for it then.
    """
    return variable.data.to_delayed(optimize_graph=False).tolist()


def _unique(labels: Sequence[str]) -> list[str]:
    """Return labels with numbers where one occurs again: biases from before and after a change."""
    seen: dict[str, int] = {}
    out = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        out.append(label if seen[label] == 1 else f"{label} {seen[label]}")
    return out


def search_product(
    detector: Detector,
    source: Source,
    images: Sequence[Sequence[npt.NDArray[np.float32]]],
    masks: Sequence[Sequence[npt.NDArray[np.uint16]]] | None,
    units: str,
    options: Defects,
) -> FoundInProduct:
    """Search one combined image and its mask, which come in rows of chunks; one task."""
    image = np.block([list(row) for row in images])
    mask = np.zeros(image.shape, np.uint16) if masks is None else np.block([*map(list, masks)])
    lit = (mask & np.uint16(NO_DATA | VIGNETTED)) == 0
    flagged = lit & ((mask & np.uint16(BAD)) != 0)
    found = search_image(
        detector,
        image,
        source,
        options,
        usable=lit & ~flagged,
        saturated=(mask & np.uint16(SAT)) != 0,
        known=flagged if options.bad_pixels else None,
        units=units,
    )
    boxes = [amplifier.detector_box for amplifier in detector.amplifiers]
    counts = np.array([np.count_nonzero(flagged[box.rows, box.columns]) for box in boxes], np.int64)
    return FoundInProduct(source, np.flatnonzero(found.mask), found.hot, found.cold, counts)


def merge_products(
    detector: Detector,
    found: Sequence[FoundInProduct],
    manual: Sequence[npt.NDArray[np.int64]],
    options: Defects,
) -> npt.NDArray[np.uint8]:
    """Merge the defects of all images, kind by kind: 1 where a pixel is bad, shape (amp, y, x)."""
    sources: dict[str, list[npt.NDArray[np.bool_]]] = {}
    for one in found:
        mask = np.zeros(detector.shape, np.bool_)
        mask.flat[one.pixels] = True
        sources.setdefault(one.source, []).append(mask)
    merged = merge_sources(sources, options.mode, options.fraction)
    return defect_map(detector, merged, manual, options)


def counts_of(found: Sequence[FoundInProduct], name: str) -> npt.NDArray[np.int64]:
    """Return one of the counts of each image, shape (source, amp)."""
    return np.array([getattr(one, name) for one in found], np.int64)
