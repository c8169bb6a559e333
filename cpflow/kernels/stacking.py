"""Combine a stack block by block: the machinery under the clipped mean and the median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from cpflow.kernels.clipping import (
    CENTRE,
    COUNT,
    EVERYTHING,
    IQR_TO_SIGMA,
    MEAN,
    SPREAD,
    WIDTH,
    WORK,
    clip_block,
    clip_lost,
    start,
)
from cpflow.kernels.sorting import LANES, network, sort_columns
from cpflow.kernels.tiles import LARGEST, aligned, any_bit, load, load_clean, new_tile

# The variance of a median over that of a mean, for many normal values.
_MEDIAN_FACTOR = 0.5 * np.pi
_LANES = np.uint64(LANES)


@dataclass(frozen=True, slots=True)
class Combined:
    """A combined stack; every array has the shape of one exposure.

    Attributes
    ----------
    image : array of float32
        In the unit of the stack divided by that of the scale; NaN where no input was good.
    variance : array of float32
        Variance of `image`; NaN where there is none to give.
    mask : array of uint16
        OR of the masks of the good inputs, clipped ones included.
    good : array of uint16
        Inputs that were finite and not excluded, n.
    used : array of uint16
        Inputs that the last pass kept, m.
    """

    image: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint16]
    good: npt.NDArray[np.uint16]
    used: npt.NDArray[np.uint16]


class _Inputs(NamedTuple):
    """Pixels of all exposures, shape (exposures, pixels); no rows where there is no mask, say."""

    stack: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint16]
    variance: npt.NDArray[np.float32]
    inverse: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float64]


class _Outputs(NamedTuple):
    image: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint16]
    good: npt.NDArray[np.uint16]
    used: npt.NDArray[np.uint16]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _take_median(block, rows, good, fewest, work):  # type: ignore[no-untyped-def]
    """Leave the median of sorted columns where the passes leave their mean."""
    start(block, rows, good, fewest, 1.0 / IQR_TO_SIGMA, work)
    for lane in range(_LANES):
        iqr = work[WIDTH + lane]
        work[MEAN + lane] = work[CENTRE + lane]
        work[COUNT + lane] = good[lane]
        if good[lane] > 2:
            work[SPREAD + lane] = _MEDIAN_FACTOR * (IQR_TO_SIGMA * iqr) ** 2
        else:
            # The mean of two: their quartiles are half as far apart as they are.
            work[SPREAD + lane] = 2.0 * iqr**2
        work[CENTRE + lane] = 0.0
        work[WIDTH + lane] = EVERYTHING


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _store(work, good, union, no_good, first, last, out):  # type: ignore[no-untyped-def]
    image, used, variance = out.image[first:last], out.used[first:last], out.variance[first:last]
    for lane in range(np.uint64(image.shape[0])):
        image[lane] = work[MEAN + lane]
        m = work[COUNT + lane]
        used[lane] = np.int32(m)
        variance[lane] = work[SPREAD + lane] / m if m > 1.0 else np.nan
    counts, mask = out.good[first:last], out.mask[first:last]
    for lane in range(np.uint64(image.shape[0])):
        counts[lane] = good[lane]
        mask[lane] = union[lane] if good[lane] > 0 else no_good


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _take_input_variance(inputs, few, excluded, median, work, good, first, last, variance):  # type: ignore[no-untyped-def]
    """Replace output variances by those of the inputs, summed over the survivors."""
    for lane in range(np.uint64(last - first)):
        if good[lane] == 0 or not (few or good[lane] == 1):
            continue
        pixel = np.uint64(first) + lane
        centre, width, m = work[CENTRE + lane], work[WIDTH + lane], work[COUNT + lane]
        total = 0.0
        for exposure in range(inputs.stack.shape[0]):
            value = inputs.stack[exposure, pixel] * inputs.inverse[exposure]
            keep = abs(value) <= LARGEST and abs(np.float64(value) - centre) <= width
            if inputs.mask.shape[0] > 0:
                keep = keep and (inputs.mask[exposure, pixel] & excluded) == 0
            if keep:
                total += np.float64(inputs.variance[exposure, pixel]) * inputs.weight[exposure]
        factor = _MEDIAN_FACTOR if median and m > 2.0 else 1.0
        variance[pixel] = factor * total / (m * m)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _combine(inputs, few, excluded, median, clip, iterations, no_good, plan, tile, work, out):  # type: ignore[no-untyped-def]
    rows, pixels = inputs.stack.shape
    good = np.empty(LANES, np.int32)
    union = np.empty(LANES, np.uint16)
    size = tile.shape[0] * LANES
    for origin in range(0, pixels, size):
        clean = origin + size <= pixels and not any_bit(inputs.mask, origin, size)
        clean = clean and load_clean(inputs.stack, origin, inputs.inverse, tile)
        for part in range(tile.shape[0]):
            first = origin + part * LANES
            last = min(first + LANES, pixels)
            if first >= last:
                break
            block = tile[part]
            if clean:
                good[:] = rows
                union[:] = 0
                fewest = rows
            else:
                fewest = load(
                    inputs.stack, inputs.mask, first, last - first, excluded, inputs.inverse, block,
                    good, union,
                )  # fmt: skip
            sort_columns(block, plan)
            if median:
                _take_median(block, rows, good, fewest, work)
            elif clip_block(block, rows, good, fewest, clip, iterations, work):
                clip_lost(block, good, clip, iterations, work)
            _store(work, good, union, no_good, first, last, out)
            if inputs.variance.shape[0] > 0:
                _take_input_variance(
                    inputs, few, excluded, median, work, good, first, last, out.variance
                )


def _flat(
    array: npt.ArrayLike | None, dtype: type, shape: tuple[int, ...], name: str
) -> npt.NDArray[Any]:
    if array is None:
        return np.empty((0, 1), dtype)
    flat: npt.NDArray[Any] = np.ascontiguousarray(array, dtype)
    if flat.shape != shape:
        raise ValueError(f"{name} has shape {flat.shape}, the stack has {shape}")
    return flat.reshape(shape[0], -1)


def combine_stack(
    stack: npt.ArrayLike,
    mask: npt.NDArray[np.uint16] | None,
    *,
    excluded: int,
    scale: npt.ArrayLike | None,
    variance: npt.ArrayLike | None,
    clip: float,
    iterations: int,
    median: bool,
    no_good_pixels: int,
    input_variance_below: int,
) -> Combined:
    """Check and flatten the arguments of `clipped_mean` and its siblings, and combine.

    See `cpflow.kernels.clipped_mean.clipped_mean` for them; `median` takes the median instead.
    """
    pixels = np.ascontiguousarray(stack, np.float32)
    if pixels.ndim < 1 or pixels.shape[0] == 0:
        raise ValueError("there are no exposures to combine")
    exposures, shape = pixels.shape[0], pixels.shape[1:]
    if exposures > np.iinfo(np.uint16).max:
        raise ValueError(f"cannot count {exposures} exposures in 16 bits")
    if not (clip >= 0 and iterations >= 0):
        raise ValueError(f"clip ({clip}) and iterations ({iterations}) cannot be negative")
    scales = np.ones(exposures) if scale is None else np.asarray(scale, np.float64)
    if scales.shape != (exposures,) or not np.all(np.isfinite(scales) & (scales != 0)):
        raise ValueError(f"the scale has to be {exposures} finite numbers that are not zero")
    inputs = _Inputs(
        pixels.reshape(exposures, int(np.prod(shape))),
        _flat(mask, np.uint16, pixels.shape, "the mask"),
        _flat(variance, np.float32, pixels.shape, "the variance"),
        (1.0 / scales).astype(np.float32),
        1.0 / scales**2,
    )
    combined = Combined(
        image=np.empty(shape, np.float32),
        variance=np.empty(shape, np.float32),
        mask=np.empty(shape, np.uint16),
        good=np.empty(shape, np.uint16),
        used=np.empty(shape, np.uint16),
    )
    _combine(
        inputs,
        exposures < input_variance_below,
        np.uint16(excluded),
        median,
        float(clip),
        int(iterations),
        np.uint16(no_good_pixels),
        network(exposures),
        new_tile(exposures),
        aligned((WORK,), np.float64),
        _Outputs(
            combined.image.reshape(-1),
            combined.variance.reshape(-1),
            combined.mask.reshape(-1),
            combined.good.reshape(-1),
            combined.used.reshape(-1),
        ),
    )
    return combined
