"""From means of superpixels to levels at their centres (spec 4.10 step 2)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from cpflow.kernels.bin_interpolation import fill_bins
from cpflow.kernels.focal_plane_sky import Placement, SuperpixelGrid
from cpflow.kernels.splines import Interpolation

Array = npt.NDArray[np.float64]


def superpixel_weights(
    placements: Iterable[Placement], grid: SuperpixelGrid, border: int = 0
) -> Array:
    """Return what the mean of each superpixel is of a model that is bilinear between centres.

    Parameters
    ----------
    placements : iterable of Placement
        Detectors whose rows and columns are parallel to those of the grid.
    grid : SuperpixelGrid
    border : int
        Pixels next to the border of each detector that have no part in a mean.

    Returns
    -------
    array of float64, shape (superpixels, superpixels)
        ``weights @ levels`` is the mean of the model over the pixels of all detectors in each
        superpixel; zero where there are none.
    """
    rows, columns = grid.shape
    total = np.zeros((rows, columns, rows, columns))
    counts = np.zeros(grid.shape)
    for placement in placements:
        height, width = placement.shape
        x = grid.to_grid(placement.to_focal_plane([(i, 0) for i in range(border, width - border)]))[
            :, 0
        ]
        y = grid.to_grid(
            placement.to_focal_plane([(0, j) for j in range(border, height - border)])
        )[:, 1]
        along_y, along_x = _hats(y, rows), _hats(x, columns)
        total += np.einsum("jl,ik->jilk", along_y, along_x)
        counts += np.outer(along_y.sum(axis=1), along_x.sum(axis=1))
    total /= np.where(counts > 0, counts, 1)[:, :, None, None]
    return total.reshape(rows * columns, rows * columns)


def _hats(positions: Array, size: int) -> Array:
    """Sum the two weights of each position, cell by cell: shape (cells, centres)."""
    sums = np.zeros((size, size))
    cells = np.clip(np.floor(np.round(positions + 0.5, 6)).astype(int), 0, size - 1)
    left = np.clip(np.floor(positions).astype(int), 0, size - 2)
    share = positions - left
    np.add.at(sums, (cells, left), 1 - share)
    np.add.at(sums, (cells, left + 1), share)
    return sums


def refine_levels(means: Array, weights: Array, kind: Interpolation, refinements: int) -> Array:
    """Return the levels at the centres of superpixels whose means are those measured.

    A superpixel at the border is covered in part, and its mean is not the level at its centre: on a
    camera with one detector a quarter of each of four is covered, and a model through their means
    has half the slope of the sky.

    Parameters
    ----------
    means : array of float64, shape (rows, columns)
        NaN where too little was seen; these are filled from the others each time.
    weights : array of float64
        Of `superpixel_weights`.
    kind : str
        How they are filled (`cpflow.kernels.bin_interpolation.fill_bins`).
    refinements : int
        How often the means that the model lacks are added to it; 0 is the reference. After n times
        a slope of the sky is known to 2^-n, a twist to 0.75^n.

    Returns
    -------
    array of float64, shape (rows, columns)

    Raises
    ------
    ValueError
        If there is no mean.
    """
    levels = fill_bins(means, kind)
    centres = means.copy()
    for _ in range(refinements):
        centres += means - (weights @ levels.ravel()).reshape(means.shape)
        levels = fill_bins(centres, kind)
    return levels
