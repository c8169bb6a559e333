"""The sky over the focal plane in superpixels: added up over detectors, seen by one (spec 4.10).

Focal-plane coordinates are in mm; a detector's pixel (x, y) lies at ``matrix @ (x, y) + offset``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpflow.kernels.background import bin_count, bin_edges
from cpflow.kernels.bin_interpolation import fill_bins, interpolate_bins
from cpflow.kernels.masks import Mask
from cpflow.kernels.splines import Interpolation
from cpflow.kernels.statistics import clipped_statistics

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a detector lies in the focal plane.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    matrix : array of float64, shape (2, 2)
        From pixels (x, y) to mm: the pixel size times a rotation, or a reflection.
    offset : array of float64, shape (2,)
        Position in mm of the centre of pixel (0, 0).
    """

    shape: tuple[int, int]
    matrix: Array
    offset: Array

    def to_focal_plane(self, points: npt.ArrayLike) -> Array:
        """Map pixels (x, y), shape (..., 2), to mm."""
        return np.asarray(np.asarray(points, np.float64) @ self.matrix.T + self.offset)

    def to_pixels(self, points: npt.ArrayLike) -> Array:
        """Map mm, shape (..., 2), to pixels (x, y)."""
        inverse = np.linalg.inv(self.matrix)
        return np.asarray((np.asarray(points, np.float64) - self.offset) @ inverse.T)

    @property
    def corners(self) -> Array:
        """Outer corners of the corner pixels in mm, shape (4, 2)."""
        rows, columns = self.shape
        x, y = (-0.5, columns - 0.5), (-0.5, rows - 0.5)
        return self.to_focal_plane([[a, b] for b in y for a in x])


@dataclass(frozen=True, slots=True)
class SuperpixelGrid:
    """Superpixels that cover a focal plane, with one more around it.

    Attributes
    ----------
    origin : array of float64, shape (2,)
        Position in mm of the centre of superpixel 1 along x and y: the corner of the focal plane.
    size : array of float64, shape (2,)
        Superpixels in mm along x and y.
    shape : (int, int)
        Rows and columns.
    """

    origin: Array
    size: Array
    shape: tuple[int, int]

    def to_grid(self, points: npt.ArrayLike) -> Array:
        """Map mm, shape (..., 2), to positions (x, y) where superpixel centres are whole."""
        return np.asarray((np.asarray(points, np.float64) - self.origin) / self.size + 1.0)

    def from_grid(self, positions: npt.ArrayLike) -> Array:
        """Map positions on the grid, shape (..., 2), to mm."""
        return np.asarray((np.asarray(positions, np.float64) - 1.0) * self.size + self.origin)


def superpixel_grid(
    placements: Iterable[Placement], x_size: float, y_size: float
) -> SuperpixelGrid:
    """Lay superpixels over all detectors of a camera.

    Parameters
    ----------
    placements : iterable of Placement
    x_size, y_size : float
        Size of a superpixel in mm.

    Returns
    -------
    SuperpixelGrid

    Raises
    ------
    ValueError
        If there is no detector or a size is not positive.

    Notes
    -----
    Spec 4.10 step 1: ``ceil(extent / size) + 2`` superpixels along an axis. The centre of number 1,
    not its edge, is at the corner of the focal plane, so that the middle ones are all measured.
    """
    corners = [placement.corners for placement in placements]
    if not corners or not min(x_size, y_size) > 0:
        raise ValueError("superpixels need detectors to cover and a positive size")
    points = np.concatenate(corners)
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    size = np.array([x_size, y_size], np.float64)
    # A millionth of a superpixel is rounding, not an extent.
    columns, rows = (np.ceil(extent / size - 1e-6).astype(int) + 2).tolist()
    return SuperpixelGrid(low, size, (rows, columns))


def add_to_superpixels(
    image: npt.NDArray[np.float32],
    placement: Placement,
    grid: SuperpixelGrid,
    usable: Mask | None = None,
    *,
    clip: float = 3.0,
    iterations: int = 3,
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Measure the sky of one detector in the superpixels that it covers.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
        Any unit.
    placement : Placement
        Its shape is that of the image.
    grid : SuperpixelGrid
    usable : array of bool, shape (rows, columns), optional
        Pixels that count.
    clip, iterations
        Of the clipped mean.

    Returns
    -------
    sums : array of float64, shape of the grid
        Clipped mean times the number of usable pixels. Add those of all detectors, in a fixed
        order, and divide by their counts (`superpixel_levels`).
    counts : array of int64, shape of the grid
        Usable pixels.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    Spec 4.10 step 1. The pixels of a superpixel are those with their centre in its box on the
    detector; of a detector that is rotated by another angle than a right one, in the bounding box.
    """
    if image.shape != placement.shape or (usable is not None and usable.shape != image.shape):
        raise ValueError(f"an image of {image.shape} on a detector of {placement.shape} pixels")
    sums = np.zeros(grid.shape)
    counts = np.zeros(grid.shape, np.int64)
    covered = grid.to_grid(placement.corners)
    # A superpixel reaches half of its size from its centre.
    first = np.maximum(np.floor(covered.min(axis=0) + 0.5).astype(int), 0)
    last = np.minimum(
        np.floor(covered.max(axis=0) + 0.5).astype(int), np.array(grid.shape)[::-1] - 1
    )
    for j in range(first[1], last[1] + 1):
        for i in range(first[0], last[0] + 1):
            ends = [[i + a, j + b] for a in (-0.5, 0.5) for b in (-0.5, 0.5)]
            pixels = placement.to_pixels(grid.from_grid(ends))
            # The same rounding at a common edge gives a pixel to one of the two.
            low, high = (
                np.ceil(np.round(f(pixels, axis=0), 6)).astype(int) for f in (np.min, np.max)
            )
            place = (slice(max(low[1], 0), max(high[1], 0)), slice(max(low[0], 0), max(high[0], 0)))
            part = image[place]
            if part.size == 0:
                continue
            found = clipped_statistics(
                part, None if usable is None else usable[place], clip, iterations
            )
            if found.used > 0:
                sums[j, i], counts[j, i] = found.mean * found.n, found.n
    return sums, counts


def superpixel_levels(
    sums: npt.ArrayLike,
    counts: npt.ArrayLike,
    full_count: float,
    *,
    min_fraction: float = 0.1,
    kind: Interpolation = "AKIMA",
) -> Array:
    """Divide sums by counts and fill the superpixels that saw too little.

    Parameters
    ----------
    sums, counts : array, shape (rows, columns)
        Added over all detectors.
    full_count : float
        Pixels of a superpixel that detectors cover from end to end.
    min_fraction : float
        Of `full_count`; with fewer pixels a superpixel is filled from the others.
    kind : str
        How (`cpflow.kernels.bin_interpolation.fill_bins`).

    Returns
    -------
    array of float64, shape (rows, columns)
        In the unit of the images. Its median is the scale of the exposure.

    Raises
    ------
    ValueError
        If no superpixel saw enough.

    Notes
    -----
    Spec 4.10 step 2.
    """
    total, number = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    good = (number > 0) & (number >= min_fraction * full_count)
    if not good.any():
        raise ValueError("no superpixel has enough pixels to tell the level of the sky")
    return fill_bins(np.divide(total, number, where=good, out=np.full(total.shape, np.nan)), kind)


def sky_on_detector(
    levels: npt.ArrayLike,
    grid: SuperpixelGrid,
    placement: Placement,
    *,
    binning: int = 64,
    kind: Interpolation = "AKIMA",
    rows: slice | None = None,
) -> npt.NDArray[np.float32]:
    """Interpolate the superpixels to the pixels of a detector.

    Parameters
    ----------
    levels : array of float, shape (rows, columns)
        Of all superpixels (`superpixel_levels`).
    grid : SuperpixelGrid
    placement : Placement
    binning : int
        The grid is interpolated bilinearly at the centres of bins of about so many pixels, and
        these with splines to all pixels.
    kind : str
        Of the splines.
    rows : slice, optional
        Rows of the detector to return; all by default.

    Returns
    -------
    array of float32, shape (rows, columns)
        In the unit of the levels.

    Raises
    ------
    ValueError
        If the levels have another shape than the grid or the binning is not positive.

    Notes
    -----
    Spec 4.10 step 3. Where a detector reaches beyond the outermost centres, the mean.
    """
    table = np.asarray(levels, np.float64)
    if table.shape != grid.shape:
        raise ValueError(f"a grid of {grid.shape} superpixels has levels of shape {table.shape}")
    edges = [bin_edges(n, bin_count(n, binning)) for n in placement.shape]
    y, x = ((e[:-1] + e[1:]) / 2 - 0.5 for e in edges)
    points = np.stack(np.meshgrid(x, y), axis=-1)
    values = _bilinear(table, grid.to_grid(placement.to_focal_plane(points)))
    lost = np.isnan(values)
    values[lost] = table.mean() if lost.all() else values[~lost].mean()
    return interpolate_bins(values, y, x, placement.shape, kind, rows)


def _bilinear(table: Array, positions: Array) -> Array:
    """Interpolate between the four superpixels around each position (x, y); NaN outside."""
    rows, columns = table.shape
    x, y = positions[..., 0], positions[..., 1]
    i = np.clip(np.floor(x).astype(int), 0, max(columns - 2, 0))
    j = np.clip(np.floor(y).astype(int), 0, max(rows - 2, 0))
    u, v = x - i, y - j
    right, above = np.minimum(i + 1, columns - 1), np.minimum(j + 1, rows - 1)
    low = table[j, i] + u * (table[j, right] - table[j, i])
    high = table[above, i] + u * (table[above, right] - table[above, i])
    outside = (x < 0) | (x > columns - 1) | (y < 0) | (y > rows - 1)
    return np.where(outside, np.nan, low + v * (high - low))
