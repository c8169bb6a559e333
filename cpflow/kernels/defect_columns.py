"""Columns that are bad as a whole: blinking ones, and those with many defects (spec 4.6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpflow.kernels.masks import Mask


@dataclass(frozen=True, slots=True)
class ColumnRules:
    """When a column is bad. The defaults are the reference's today; None switches a rule off.

    Attributes
    ----------
    blinking_count : int or None
        A detector column with at least so many defects blinks: the gaps between them are filled.
    blinking_gap : int
        But for gaps where successive defects are at least so many rows apart.
    bad_count : int or None
        An amplifier's column with at least so many defects is filled from end to end (1000 for
        LATISS).
    saturated_count : int or None
        The same for saturated pixels (20 for a LATISS bias or dark).
    saturated_dilation : int
        Columns by which saturated pixels are first widened to either side (2 for LATISS).
    """

    blinking_count: int | None = 50
    blinking_gap: int = 30
    bad_count: int | None = None
    saturated_count: int | None = None
    saturated_dilation: int = 0

    def __post_init__(self) -> None:
        """Refuse counts that every column has."""
        for count in (self.blinking_count, self.bad_count, self.saturated_count):
            if count is not None and count < 1:
                raise ValueError(f"a column is not bad for {count} pixels; None is 'never'")
        if self.blinking_gap < 1 or self.saturated_dilation < 0:
            raise ValueError("blinking_gap has to be positive, saturated_dilation zero or more")


def fill_blinking_columns(mask: Mask, rules: ColumnRules) -> tuple[Mask, int]:
    """Fill the gaps of columns with many defects.

    Parameters
    ----------
    mask : array of bool, shape (rows, columns)
        Defects of a detector: a column counts over all its rows.
    rules : ColumnRules

    Returns
    -------
    mask : array of bool, shape (rows, columns)
        A new mask.
    columns : int
        How many blink.

    Notes
    -----
    Spec 4.6 step 8. The rows with defects are split where two successive ones differ by
    `blinking_gap` or more; each part is filled from its first to its last row.
    """
    filled = np.array(mask, np.bool_)
    if rules.blinking_count is None:
        return filled, 0
    blinking = np.flatnonzero(np.count_nonzero(mask, axis=0) >= rules.blinking_count)
    for column in blinking:
        rows = np.flatnonzero(mask[:, column])
        for part in np.split(rows, np.flatnonzero(np.diff(rows) >= rules.blinking_gap) + 1):
            filled[part[0] : part[-1] + 1, column] = True
    return filled, len(blinking)


def fill_columns(
    mask: Mask, boxes: npt.NDArray[np.int64], rules: ColumnRules, saturated: Mask | None = None
) -> tuple[Mask, int]:
    """Fill columns of amplifiers that have many defects or saturated pixels.

    Parameters
    ----------
    mask : array of bool, shape (rows, columns)
        Defects of a detector.
    boxes : array of int64, shape (amplifiers, 4)
        x0, y0, width, height of each amplifier.
    rules : ColumnRules
    saturated : array of bool, shape (rows, columns), optional
        Saturated pixels.

    Returns
    -------
    mask : array of bool, shape (rows, columns)
        A new mask.
    columns : int
        Columns of amplifiers that were filled.

    Notes
    -----
    Spec 4.6 steps 7 and 9.
    """
    filled = np.array(mask, np.bool_)
    full = None
    if saturated is not None and rules.saturated_count is not None:
        full = np.array(saturated, np.bool_)
        for shift in range(1, min(rules.saturated_dilation, full.shape[1] - 1) + 1):
            full[:, shift:] |= saturated[:, :-shift]
            full[:, :-shift] |= saturated[:, shift:]
    count = 0
    for x0, y0, width, height in boxes:
        place = slice(y0, y0 + height), slice(x0, x0 + width)
        bad = np.zeros(width, np.bool_)
        if rules.bad_count is not None:
            bad |= np.count_nonzero(mask[place], axis=0) >= rules.bad_count
        if full is not None and rules.saturated_count is not None:
            bad |= np.count_nonzero(full[place], axis=0) >= rules.saturated_count
        filled[place][:, bad] = True
        count += int(np.count_nonzero(bad))
    return filled, count
