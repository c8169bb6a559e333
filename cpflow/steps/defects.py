"""Defects from single exposures: found in each, merged over all (spec 4.6, 4.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import DataError
from cpflow.exposure import Exposure
from cpflow.kernels.defect_merge import merge_sources
from cpflow.kernels.defects import Source
from cpflow.kernels.planes import NO_DATA, SAT
from cpflow.stack import Choice, Context, Frame, Stack
from cpflow.stack.geometry import assemble_array
from cpflow.steps.defect_search import defect_map, search_image
from cpflow.steps.gathered import dropped_exposures
from cpflow.steps.options import Defects
from cpflow.steps.tables import defect_boxes, table

if TYPE_CHECKING:
    import xarray as xr

FOUND = "defects_found"
MANUAL = "manual_defects"


@dataclass(frozen=True, slots=True)
class Found:
    """Defect pixels of one exposure, in the detector frame.

    Parameters
    ----------
    source : str
        Kind of the exposure: bias, dark or flat.
    pixels : array of int64, shape (pixel,)
        ``y * columns + x``, ascending.
    hot, cold : array of int64, shape (amp,)
    """

    source: str
    pixels: npt.NDArray[np.int64]
    hot: npt.NDArray[np.int64]
    cold: npt.NDArray[np.int64]


def find_defects(exposures: Stack, options: Defects, manual: Any = None) -> xr.Dataset:
    """Find the defects that exposures have in common; lazy.

    Parameters
    ----------
    exposures : Stack
        Biases, darks or flats, signature removed. A defect of any kind of exposure is one; within
        a kind it has to be found in so many of them as `options` say.
    options : Defects
    manual : xarray.Dataset, Delayed of one, or Choice of those, optional
        Boxes that are defects whatever the exposures say.

    Returns
    -------
    xarray.Dataset
        `defect` with dimensions (amp, y, x) in the readout frame, 1 where a pixel is bad; boxes are
        cut when the product is finished. Per exposure the hot and cold pixels of each amplifier.
    """
    import xarray as xr

    stack = exposures.measure(FOUND, FindDefects(options))
    if manual is not None:
        stack = stack.share(MANUAL, table(manual, defect_boxes))
    merged = stack.gather(
        MergeDefects(options, stack.detector), ("amp", "y", "x"), np.uint8, name="defects"
    )
    merged.attrs["units"] = "1"
    product = xr.Dataset({"defect": merged}).assign_coords(
        amp=list(stack.detector.amplifier_names), exposure=[e.exposure for e in stack.exposures]
    )
    for name in ("hot", "cold"):
        counts = stack.gather(
            _Counts(name, len(stack.detector.amplifiers)), ("exposure", "amp"), np.int64, name=name
        )
        counts.attrs["units"] = "1"
        product[f"n_{name}"] = counts
    product["dropped"] = stack.gather(dropped_exposures, ("exposure",), np.bool_, name="dropped")
    return product


@dataclass(frozen=True, slots=True)
class FindDefects:
    """Find the defects of one whole detector."""

    options: Defects

    def __call__(self, frame: Frame, context: Context) -> Found:
        """Return the pixels beyond the thresholds, and those of columns that are bad as a whole."""
        detector, options = context.detector, self.options
        kind = context.exposure.observation_type
        source = cast(Source, kind if kind in ("bias", "dark") else "flat")
        mask = assemble_array(detector, frame.writable_mask())
        found = search_image(
            detector,
            assemble_array(detector, frame.image),
            source,
            options,
            usable=(mask & np.uint16(NO_DATA)) == 0,
            saturated=(mask & np.uint16(SAT)) != 0,
            units=frame.units,
            seconds=_seconds(context.exposure),
        )
        return Found(source, np.flatnonzero(found.mask), found.hot, found.cold)


def _seconds(exposure: Exposure) -> float:
    time = exposure.dark_time if exposure.dark_time is not None else exposure.exposure_time
    return float("nan") if time is None else time


def _painted(found: Found, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(shape, np.bool_)
    mask.flat[found.pixels] = True
    return mask


@dataclass(frozen=True, slots=True)
class MergeDefects:
    """Merge the defects of all exposures, kind by kind."""

    options: Defects
    detector: Detector

    def __call__(
        self,
        values: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> npt.NDArray[np.uint8]:
        """Return 1 where a pixel is bad, shape (amp, y, x) in the readout frame."""
        shape = self.detector.shape
        sources: dict[str, list[Found]] = {}
        for item in values:
            if item is not None:
                sources.setdefault(item[FOUND].source, []).append(item[FOUND])
        if not sources:
            raise DataError("no exposure can be used, so no defects can be found")
        # One mask at a time: a hundred of a whole detector are more than a gigabyte.
        masks = {kind: (_painted(one, shape) for one in found) for kind, found in sources.items()}
        merged = merge_sources(masks, self.options.mode, self.options.fraction)
        manual = shared.get(MANUAL)
        boxes = manual.values if isinstance(manual, Choice) else [manual]
        return defect_map(
            self.detector, merged, [one for one in boxes if one is not None], self.options
        )


@dataclass(frozen=True, slots=True)
class _Counts:
    field: str
    amplifiers: int

    def __call__(
        self,
        values: Sequence[Mapping[str, Any] | None],
        exposures: Sequence[Exposure],
        shared: Mapping[str, Any],
    ) -> npt.NDArray[np.int64]:
        missing = np.full(self.amplifiers, -1, np.int64)
        return np.array(
            [missing if item is None else getattr(item[FOUND], self.field) for item in values]
        )
