"""Small previews of images: plain block means."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _average(images, factor, ignore_nan, means):  # type: ignore[no-untyped-def]
    frames, rows, columns = images.shape
    sums = np.empty(means.shape[2])
    counts = np.empty(means.shape[2])
    for frame in range(frames):
        for row in range(means.shape[1]):
            sums[:] = 0.0
            counts[:] = 0.0
            for y in range(row * factor, min((row + 1) * factor, rows)):
                line = images[frame, y]
                for column in range(means.shape[2]):
                    for x in range(column * factor, min((column + 1) * factor, columns)):
                        value = np.float64(line[x])
                        known = value == value or not ignore_nan
                        sums[column] += value if known else 0.0
                        counts[column] += 1.0 if known else 0.0
            for column in range(means.shape[2]):
                means[frame, row, column] = sums[column] / counts[column]


def bin_image(
    image: npt.NDArray[Any], factor: int, *, ignore_nan: bool = True
) -> npt.NDArray[np.float32]:
    """Average an image over square blocks.

    Parameters
    ----------
    image : array, shape (..., rows, columns)
    factor : int
        Rows and columns of a block. Blocks at the upper edges average what is there.
    ignore_nan : bool
        Leave NaN out of a block; one without anything else is NaN. Otherwise one NaN makes its
        block NaN.

    Returns
    -------
    array of float32, shape (..., ceil(rows/factor), ceil(columns/factor))
        In the unit of the image.

    Raises
    ------
    ValueError
        If the factor is below 1 or the image has fewer than two dimensions.
    """
    if factor < 1:
        raise ValueError(f"blocks of {factor} pixels cannot be averaged")
    if image.ndim < 2:
        raise ValueError(f"an image has rows and columns, not the shape {image.shape}")
    *outer, rows, columns = image.shape
    means = np.empty((*outer, -(-rows // factor), -(-columns // factor)), np.float32)
    frames = int(np.prod(outer, dtype=np.int64))
    _average(
        np.ascontiguousarray(image).reshape(frames, rows, columns),
        factor,
        ignore_nan,
        means.reshape(frames, *means.shape[-2:]),
    )
    return means
