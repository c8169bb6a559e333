"""The fringe frame of a filter: exposures of the sky, flattened and combined (spec 4.9).

Every exposure is divided by the level of its sky, so that the frame says by which fraction of the
sky the fringes brighten or darken a pixel. Objects are left out; the exposures have to be dithered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.camera import Detector
from cpflow.errors import ConfigurationError, RawError
from cpflow.kernels.background import bin_count, bin_statistics
from cpflow.kernels.chebyshev import ChebyshevSurface, fit_chebyshev
from cpflow.kernels.detection import DetectionCriteria, detect
from cpflow.kernels.planes import DETECTED, EDGE, NO_DATA, bits
from cpflow.kernels.statistics import IQR_TO_SIGMA
from cpflow.stack import Context, Failure, Frame, Planes, Stack
from cpflow.stack.geometry import (
    assemble,
    assemble_array,
    detector_spans,
    place,
    split_array,
    split_spans,
    to_detector_frame,
)
from cpflow.steps.combination import combine
from cpflow.steps.electronics import check_variance
from cpflow.steps.focal_plane import FOCAL_PLANE, MeasureLevel
from cpflow.steps.options import Combine, FringePattern

if TYPE_CHECKING:
    import xarray as xr

SMOOTH_SKY = "smooth_sky"
OBJECTS = "fringe_objects"
FIRST_PATTERN = "first_pattern"
# What is no sky, and where nothing is to be looked for.
_NO_SKY = bits(("BAD", "SAT", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "NO_DATA", "UNMASKEDNAN"))
_UNUSABLE = bits(("BAD", "NO_DATA", "UNMASKEDNAN"))
# With fewer exposures the median is no better than the exposures themselves.
_FEW = 3
# A sine's crest is 1.35 such widths high. What is higher in the median is a star in all exposures.
_CREST = 2.0


@dataclass(frozen=True, slots=True)
class SmoothSky:
    """The sky of one exposure without its fringes.

    `level` is the clipped mean of the whole exposure, `surface` a polynomial, both in its unit.
    `detected` has the pixels of objects, packed along the columns: shape (amp, rows, bytes), in the
    readout frame. So many pixels next to the border were not searched as `edge` says.
    """

    level: float
    surface: ChebyshevSurface
    detected: npt.NDArray[np.uint8] | None = None
    edge: int = 0


def combine_fringes(exposures: Stack, options: FringePattern, combination: Combine) -> xr.Dataset:
    """Combine exposures of the night sky to a fringe frame; lazy.

    Parameters
    ----------
    exposures : Stack
        Of one filter, dithered, signature removed, with a variance.
    options : FringePattern
    combination : Combine
        `mask` should have DETECTED. Its scale is not used: each exposure is divided by its sky.

    Returns
    -------
    xarray.Dataset
        As `cpflow.steps.combine` gives it. `image`: fringes as a fraction of the level of the sky,
        with a mean of about 0; `scale`: the level of the sky of each exposure.

    Raises
    ------
    ConfigurationError
        If the combination asks for a scale.

    Notes
    -----
    Spec 4.9. There fringes are objects where they are stronger than five times the noise, and are
    then missing from the frame, in part or altogether. Here the median of all exposures is taken
    off before objects are looked for (`options.passes`).
    """
    import dask.array as da

    if combination.scale != "none":
        raise ConfigurationError(
            f"combine.scale={combination.scale}, but fringes are relative to the sky",
            hint="-c combine.scale=none: each exposure is divided by the level of its sky",
        )
    scaled = combination.model_copy(update={"scale": "focal_plane"})
    check_variance(exposures, "finding objects")
    stack = exposures.measure(SMOOTH_SKY, MeasureSmoothSky(options))
    stack = stack.share(FOCAL_PLANE, _levels(stack))
    seen = stack
    if options.passes > 1 and len(stack.sources) >= _FEW:
        median = Combine(
            statistic="median",
            scale="focal_plane",
            mask=("SAT", "INTRP"),
            input_variance_below=0,
            check_no_data=combination.check_no_data,
        )
        first = combine(stack.then(FlattenSky()), median)
        seen = stack.apply(FIRST_PATTERN, assemble(first[["image"]], stack.detector))
    seen = seen.measure(OBJECTS, FindObjects(options))
    # The first pattern is for that measurement only: no band of the frame has to wait for it.
    product = combine(replace(seen, images=stack.images).then(FlattenSky()), scaled)
    image, mask = product["image"], product["mask"]
    fringes = da.map_blocks(less_one, image.data, mask.data, dtype=np.float32)
    product["image"] = image.copy(data=fringes)
    return product


def _levels(stack: Stack) -> Any:
    from dask.delayed import delayed

    return delayed(sky_levels, pure=False)(
        [e.exposure for e in stack.exposures],
        stack.measurements(),
        dask_key_name=f"fringe-levels-{stack.token[:16]}",
    )


def sky_levels(exposures: Sequence[int], measured: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Return the level of the sky by exposure id; of those that can be used."""
    return {
        id_: values[SMOOTH_SKY].level
        for id_, values in zip(exposures, measured, strict=True)
        if not any(isinstance(value, Failure) for value in values.values())
    }


def less_one(
    image: npt.NDArray[np.float32], mask: npt.NDArray[np.uint16]
) -> npt.NDArray[np.float32]:
    """Subtract the sky itself, which is 1; where nothing is known the image stays 0."""
    nothing = (mask & np.uint16(NO_DATA)) != 0
    return np.where(nothing, np.float32(0), image - np.float32(1))


@dataclass(frozen=True, slots=True)
class MeasureSmoothSky:
    """Measure the level of the sky and its shape (spec 4.9)."""

    options: FringePattern

    def __call__(self, frame: Frame, context: Context) -> SmoothSky:
        """Return level and shape, in the unit of the frame.

        Raises
        ------
        RawError
            If there is no sky.
        """
        level = MeasureLevel()(frame, context).mean
        image = assemble_array(context.detector, frame.image)
        mask = assemble_array(context.detector, frame.writable_mask())
        return SmoothSky(level, _fit(image, (mask & np.uint16(_NO_SKY)) == 0, self.options))


def _fit(
    image: npt.NDArray[np.float32], sky: npt.NDArray[np.bool_], options: FringePattern
) -> ChebyshevSurface:
    rows, columns = image.shape
    counts = bin_count(rows, options.bin_size), bin_count(columns, options.bin_size)
    try:
        return fit_chebyshev(bin_statistics(image, counts, sky), options.degree)
    except ValueError as error:
        raise RawError(
            f"its background cannot be fitted: {error}",
            hint="leave it out of the query, or --drop-bad 1",
        ) from error


@dataclass(frozen=True, slots=True)
class FindObjects:
    """Find the objects of a whole exposure over its sky, and over its fringes where known."""

    options: FringePattern
    wants_variance: bool = True

    def __call__(self, frame: Frame, context: Context) -> SmoothSky:
        """Return the sky with the pixels of objects; over known fringes, fitted without them.

        Raises
        ------
        RawError
            If there is no sky.
        """
        if frame.variance is None:
            raise ValueError("objects are found with a variance plane: isr.variance=true")
        options, detector = self.options, context.detector
        sky: SmoothSky = context.measured[SMOOTH_SKY]
        image = assemble_array(detector, frame.image)
        mask = assemble_array(detector, frame.writable_mask())
        first: Planes | None = context.shared.get(FIRST_PATTERN)
        if first is not None:
            image -= np.float32(sky.level) * _fringes(assemble_array(detector, first.image))
        found = detect(
            image - sky.surface.evaluate(),
            assemble_array(detector, frame.variance),
            criteria(options),
            usable=(mask & np.uint16(_UNUSABLE)) == 0,
        )
        surface = sky.surface
        if first is not None:
            dark = ((mask & np.uint16(_NO_SKY)) == 0) & ~found.mask & ~found.edge
            surface = _fit(image, dark, options)
        rows = range(detector.imaging_shape[0])
        packed = np.packbits(split_array(detector, found.mask, rows), axis=-1)
        return SmoothSky(sky.level, surface, packed, criteria(options).kernel_width // 2)


def criteria(options: FringePattern) -> DetectionCriteria:
    """Return how objects are detected."""
    return DetectionCriteria(
        sigma=options.detection_sigma,
        threshold=options.detection_threshold,
        grow_factor=options.detection_grow,
    )


def _fringes(pattern: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return a first pattern, of mean 1, less 1; flat where it is higher than fringes are."""
    fringes = pattern - np.float32(1)
    known = np.isfinite(fringes)
    if not known.any():
        return np.zeros_like(fringes)
    q25, middle, q75 = np.percentile(fringes[known], [25, 50, 75])
    width = _CREST * IQR_TO_SIGMA * (q75 - q25)
    fringes = np.clip(fringes, np.float32(middle - width), np.float32(middle + width))
    return np.where(known, fringes, np.float32(0))


@dataclass(frozen=True, slots=True)
class FlattenSky:
    """Give the sky the same level everywhere, and flag objects and the edge.

    The level stays: an error of the flat is a fraction of all the light, and a combination knows of
    it only what is in the image.
    """

    halo: int = 0

    def __call__(self, frame: Frame, context: Context) -> Frame:
        """Flatten a frame in place."""
        detector = context.detector
        sky: SmoothSky = context.measured.get(OBJECTS, context.measured[SMOOTH_SKY])
        parts: list[tuple[int, npt.NDArray[Any]]] = [
            (y0, sky.surface.evaluate(slice(y0, y1)))
            for y0, y1 in detector_spans(detector, frame.rows)
        ]
        frame.image -= split_spans(detector, frame.rows, parts)
        frame.image += np.float32(sky.level)
        if sky.detected is not None:
            here = sky.detected[:, frame.rows.start : frame.rows.stop]
            objects = np.unpackbits(here, axis=-1, count=frame.image.shape[2]).view(np.bool_)
            frame.writable_mask()[objects] |= np.uint16(DETECTED)
            _flag_border(frame, detector, sky.edge)
        return frame


def _flag_border(frame: Frame, detector: Detector, width: int) -> None:
    """Set EDGE on pixels next to the border of the detector."""
    rows, columns = detector.shape
    mask = frame.writable_mask()
    for a, amplifier in enumerate(detector.amplifiers):
        box = place(amplifier, frame.rows)
        y, x = np.arange(box.y0, box.y1), np.arange(box.x0, box.x1)
        view = to_detector_frame(amplifier, mask[a])
        view[np.minimum(y, rows - 1 - y) < width] |= np.uint16(EDGE)
        view[:, np.minimum(x, columns - 1 - x) < width] |= np.uint16(EDGE)
