"""From bins to pixels: empty bins filled, then splines along both axes (spec 4.10)."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from cpflow.kernels.splines import Interpolation, interpolate_nodes


def fill_bins(
    values: npt.ArrayLike, kind: Interpolation = "AKIMA", good: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float64]:
    """Fill empty bins from those of the row, then from those of the column.

    Parameters
    ----------
    values : array of float, shape (rows, columns)
    kind : str
        Interpolation, and extrapolation, with all the good bins of a row or column; where they are
        too few for it, AKIMA turns to CUBIC, LINEAR, CONSTANT (`cpflow.kernels.splines`).
    good : array of bool, shape (rows, columns), optional
        Bins to keep; NaN is never good.

    Returns
    -------
    array of float64, shape (rows, columns)
        A row without a good bin is filled along the columns, where rows that were filled count.

    Raises
    ------
    ValueError
        If no bin is good, or the shapes differ.

    Notes
    -----
    Spec 4.10 step 2.
    """
    filled = np.array(values, np.float64)
    if filled.ndim != 2 or (good is not None and good.shape != filled.shape):
        raise ValueError(f"bins in rows and columns are wanted, not of shape {filled.shape}")
    if good is not None:
        filled[~good] = np.nan
    filled[~np.isfinite(filled)] = np.nan
    if np.isnan(filled).all():
        raise ValueError("no bin has a value to fill the others from")
    for lines in (filled, filled.T):
        for line in lines:
            known = ~np.isnan(line)
            if known.any() and not known.all():
                places = np.flatnonzero(known)
                curve = interpolate_nodes(places, line[known], kind)
                line[~known] = curve.evaluate(np.flatnonzero(~known))
    return filled


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(nodes, coefficients, pieces, stops, columns, out):  # type: ignore[no-untyped-def]
    """Evaluate the cubics of each row, run by run of pixels that share one."""
    for y in range(out.shape[0]):
        line = out[y]
        x = np.uint64(0)
        for run in range(len(pieces)):
            c0, c1 = coefficients[0, run, y], coefficients[1, run, y]
            c2, c3 = coefficients[2, run, y], coefficients[3, run, y]
            node = nodes[pieces[run]]
            for pixel in range(x, np.uint64(stops[run])):
                step = columns[pixel] - node
                line[pixel] = c0 + step * (c1 + step * (c2 + step * c3))
            x = np.uint64(stops[run])


def interpolate_bins(
    values: npt.ArrayLike,
    y_centres: npt.ArrayLike,
    x_centres: npt.ArrayLike,
    shape: tuple[int, int],
    kind: Interpolation = "CUBIC",
    rows: slice | None = None,
) -> npt.NDArray[np.float32]:
    """Interpolate bins to pixels, first along y in each column of bins, then along x.

    Parameters
    ----------
    values : array of float, shape (bins in y, bins in x)
        All finite (`fill_bins`).
    y_centres, x_centres : array of float, shape (bins,)
        Middle of each bin in pixels; pixel centres are whole numbers.
    shape : (int, int)
        Rows and columns of the image.
    kind : str
        ``"CUBIC"`` is the natural spline; with too few bins LINEAR or CONSTANT, see
        `cpflow.kernels.splines`.
    rows : slice, optional
        Rows of the image to return; all by default. A row comes out the same whatever is asked for.

    Returns
    -------
    array of float32, shape (rows, columns)
        Beyond the outer centres, continued with the slope and curvature there.

    Raises
    ------
    ValueError
        If a bin is not finite or centres do not fit.

    Notes
    -----
    Spec 4.10 step 3 and the last line of 4.10; afw `BackgroundMI`.
    """
    table = np.asarray(values, np.float64)
    if not np.isfinite(table).all():
        raise ValueError("empty bins have to be filled before bins are interpolated")
    chosen = range(shape[0])[rows or slice(None)]
    along_y = interpolate_nodes(y_centres, table, kind).evaluate(np.array(chosen, np.float64))
    along_x = interpolate_nodes(x_centres, np.ascontiguousarray(along_y.T), kind)
    columns = np.arange(shape[1], dtype=np.float64)
    pieces = along_x.pieces(columns)
    # Pixels beyond the outer centres have polynomials of their own.
    zone = (columns < along_x.nodes[0]).astype(int) - (columns > along_x.nodes[-1]).astype(int)
    starts = np.flatnonzero(np.diff(pieces, prepend=-1) | np.diff(zone, prepend=9))
    image = np.empty((len(chosen), shape[1]), np.float32)
    _evaluate(
        along_x.nodes,
        np.stack(along_x.powers(columns[starts])),
        pieces[starts],
        np.append(starts[1:], shape[1]),
        columns,
        image,
    )
    return image
