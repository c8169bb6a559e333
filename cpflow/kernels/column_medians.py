"""Exact medians of the columns of an image some of whose pixels do not count."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def column_medians(
    values: npt.NDArray[np.float32], good: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return the median of the good pixels of each column.

    Parameters
    ----------
    values : array of float32, shape (rows, columns)
        Finite where `good`.
    good : array of bool, same shape

    Returns
    -------
    array of float64, shape (columns,)
        The mean of the two middle ones where their number is even; NaN for a column without any.

    Notes
    -----
    What does not count is put in equal parts below and above all others, which leaves the middle
    where it is: then one rank is asked of all columns, for which numpy has vector code.
    """
    rows = values.shape[0]
    if rows == 0:
        return np.full(values.shape[1], np.nan)
    ordered = np.array(values.T, order="C")
    count = good.sum(axis=0)
    incomplete = np.flatnonzero(count < rows)
    if incomplete.size:
        bad = ~good[:, incomplete].T
        part = ordered[incomplete]
        part[bad] = np.inf
        # Of an odd number, one more above.
        part[bad & (np.cumsum(bad, axis=1) % 2 == 0)] = -np.inf
        ordered[incomplete] = part
    middle = rows // 2
    ordered.partition(middle, axis=1)
    upper = ordered[:, middle].astype(np.float64)
    if rows == 1:
        return np.where(count > 0, upper, np.nan)
    lower = ordered[:, :middle].max(axis=1).astype(np.float64)
    even = count % 2 == 0
    single = lower if rows % 2 == 0 else upper
    with np.errstate(invalid="ignore"):
        both = (lower + upper) / 2
    return np.where(count > 0, np.where(even, both, single), np.nan)
