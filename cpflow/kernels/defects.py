"""Defects: pixels of a bias, a dark or a flat that stand out, amplifier by amplifier (spec 4.6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cpflow.kernels.defect_columns import ColumnRules, fill_blinking_columns, fill_columns
from cpflow.kernels.masks import Mask
from cpflow.kernels.statistics import clipped_statistics

Source = Literal["bias", "dark", "flat"]
ThresholdType = Literal["STDEV", "VALUE"]


@dataclass(frozen=True, slots=True)
class DefectThresholds:
    """How far from its amplifier's level a pixel may be. The defaults are the reference's today.

    Attributes
    ----------
    kind : str
        ``"STDEV"``: in clipped standard deviations of the amplifier; ``"VALUE"``: in the units
        below.
    sigma_bright, sigma_dark : float
        For STDEV; the latter is negative and is not used for darks.
    dark_current : float
        For VALUE, darks: electron/s above the level.
    bias : float
        For VALUE, biases: adu above the level.
    flat_fraction : float
        For VALUE, flats: a pixel below this fraction of the level is cold.
    border_rows, border_columns : int
        Rows and columns next to the detector's border that are not searched (7 in 2021).
    """

    kind: ThresholdType = "STDEV"
    sigma_bright: float = 4.8
    sigma_dark: float = -5.0
    dark_current: float = 5.0
    bias: float = 1000.0
    flat_fraction: float = 0.8
    border_rows: int = 0
    border_columns: int = 0

    def __post_init__(self) -> None:
        """Refuse thresholds on the wrong side of the level."""
        if self.kind not in ("STDEV", "VALUE"):
            raise ValueError(f"defect thresholds are STDEV or VALUE, not {self.kind!r}")
        if not (self.sigma_bright > 0 and self.dark_current > 0 and self.bias > 0):
            raise ValueError("sigma_bright, dark_current and bias have to be positive")
        if not (self.sigma_dark < 0 and 0 < self.flat_fraction < 1):
            raise ValueError("sigma_dark has to be negative, flat_fraction between 0 and 1")
        if self.border_rows < 0 or self.border_columns < 0:
            raise ValueError("a border cannot be negative")


@dataclass(frozen=True, slots=True)
class AmplifierDefects:
    """Defects of one amplifier.

    Attributes
    ----------
    hot, cold : array of bool, shape of the amplifier
        Pixels at or beyond the thresholds.
    level, sigma : float
        Clipped mean and standard deviation of the usable pixels, in the unit of the image; NaN if
        there are none.
    """

    hot: Mask
    cold: Mask
    level: float
    sigma: float


def find_amplifier_defects(
    image: npt.NDArray[np.float32],
    source: Source,
    thresholds: DefectThresholds,
    *,
    usable: Mask | None = None,
    exposure_time: float = 1.0,
    gain: float = 1.0,
) -> AmplifierDefects:
    """Find the defects of one amplifier.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
        Imaging pixels of the amplifier; adu, or electrons with a gain of 1.
    source : str
        ``"bias"``, ``"dark"`` or ``"flat"``: which thresholds apply.
    thresholds : DefectThresholds
        Its borders are those of a detector, and not used here.
    usable : array of bool, shape (rows, columns), optional
        Pixels to look at. Others count neither in the level nor as defects, and neither do those
        that are not finite.
    exposure_time : float
        Seconds of dark current in a dark: 1 for a combined one, which is per second. NaN is
        taken as 1.
    gain : float
        Electrons per unit of the image.

    Returns
    -------
    AmplifierDefects

    Raises
    ------
    ValueError
        If the source is unknown, shapes differ, the gain is not positive or the exposure time is
        negative.

    Notes
    -----
    Spec 4.6 steps 3, 4 and 6, with these differences: masks are respected; a bias in STDEV mode is
    searched on both sides; without any scatter (sigma = 0) a pixel has to differ from the level to
    be a defect; a VALUE is compared as it is, whatever the scatter.
    """
    if source not in ("bias", "dark", "flat"):
        raise ValueError(f"defects are found in a bias, a dark or a flat, not in {source!r}")
    if not (gain > 0 and math.isfinite(gain)) or exposure_time < 0:
        raise ValueError(f"a gain of {gain} or an exposure time of {exposure_time} cannot be")
    if image.ndim != 2 or (usable is not None and usable.shape != image.shape):
        raise ValueError("an amplifier's image and its usable pixels differ in shape")
    statistics = clipped_statistics(image, usable)
    level, sigma = statistics.mean, statistics.stdev
    nothing = np.zeros(image.shape, np.bool_)
    if statistics.used == 0:
        return AmplifierDefects(nothing, nothing.copy(), math.nan, math.nan)
    bright, dark = _limits(source, thresholds, level, sigma, exposure_time, gain)
    residual = image.astype(np.float64) - level
    searched = np.isfinite(residual) if usable is None else np.isfinite(residual) & usable
    # At zero scatter the limits are zero; what equals the level is then no defect.
    hot = searched & (residual >= bright) & (residual > 0)
    cold = searched & (residual <= dark) & (residual < 0)
    return AmplifierDefects(hot, cold, level, sigma)


def _limits(
    source: Source,
    thresholds: DefectThresholds,
    level: float,
    sigma: float,
    exposure_time: float,
    gain: float,
) -> tuple[float, float]:
    """Residuals at which pixels are hot and cold; infinite where that side is not searched."""
    if thresholds.kind == "STDEV":
        # A single pixel has no scatter, and is at the level.
        scatter = 0.0 if math.isnan(sigma) else sigma
        cold = -math.inf if source == "dark" else thresholds.sigma_dark * scatter
        return thresholds.sigma_bright * scatter, cold
    if source == "dark":
        seconds = 1.0 if math.isnan(exposure_time) else exposure_time
        return thresholds.dark_current * seconds / gain, -math.inf
    if source == "bias":
        return thresholds.bias, -math.inf
    return math.inf, (thresholds.flat_fraction - 1.0) * level


@dataclass(frozen=True, slots=True)
class DetectorDefects:
    """Defects of a detector; the amplifiers are in the order of the boxes given.

    Attributes
    ----------
    mask : array of bool, shape (rows, columns)
        All defect pixels, filled columns included. `masks.boxes_from_mask` makes boxes of them.
    hot, cold : array of int64, shape (amplifiers,)
        Pixels beyond the thresholds, before columns were filled.
    level, sigma : array of float64, shape (amplifiers,)
        Clipped mean and standard deviation, in the unit of the image.
    blinking_columns : int
        Detector columns with so many defects that the gaps were filled.
    filled_columns : int
        Columns of amplifiers that were filled from end to end.
    """

    mask: Mask
    hot: npt.NDArray[np.int64]
    cold: npt.NDArray[np.int64]
    level: npt.NDArray[np.float64]
    sigma: npt.NDArray[np.float64]
    blinking_columns: int
    filled_columns: int


def find_defects(
    image: npt.NDArray[np.float32],
    boxes: npt.ArrayLike,
    source: Source,
    thresholds: DefectThresholds | None = None,
    columns: ColumnRules | None = None,
    *,
    usable: Mask | None = None,
    saturated: Mask | None = None,
    exposure_time: float = 1.0,
    gains: Sequence[float] | npt.NDArray[np.float64] | None = None,
) -> DetectorDefects:
    """Find the defects of a detector.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
        Assembled detector; adu, or electrons with gains of 1.
    boxes : array of integers, shape (amplifiers, 4)
        x0, y0, width, height of each amplifier.
    source : str
        ``"bias"``, ``"dark"`` or ``"flat"``.
    thresholds : DefectThresholds, optional
    columns : ColumnRules, optional
        When a column is bad as a whole.
    usable : array of bool, shape (rows, columns), optional
        Pixels to look at; the borders of `thresholds` are taken away from them.
    saturated : array of bool, shape (rows, columns), optional
        Saturated pixels, for the rule about saturated columns.
    exposure_time : float
        Seconds, see `find_amplifier_defects`.
    gains : array of float, shape (amplifiers,), optional
        Electrons per unit of the image; 1 by default.

    Returns
    -------
    DetectorDefects

    Raises
    ------
    ValueError
        If a shape or number does not fit, or an amplifier reaches beyond the image.

    Notes
    -----
    Spec 4.6. A border is one of the detector: the reference crops every amplifier, also on sides
    where it touches another one.
    """
    chosen = DefectThresholds() if thresholds is None else thresholds
    table = np.asarray(boxes, np.int64).reshape(-1, 4)
    strength = np.ones(len(table)) if gains is None else np.asarray(gains, np.float64)
    if image.ndim != 2 or strength.shape != (len(table),):
        raise ValueError(f"{len(table)} amplifiers have gains of shape {strength.shape}")
    for flags in (usable, saturated):
        if flags is not None and flags.shape != image.shape:
            raise ValueError(f"an image of {image.shape} has flags of {flags.shape} pixels")
    ends = table[:, :2] + table[:, 2:]
    if (table < 0).any() or (ends > np.array(image.shape[::-1])).any():
        raise ValueError(f"an amplifier reaches beyond the {image.shape} pixels of the image")
    searched = np.ones(image.shape, np.bool_) if usable is None else usable.copy()
    searched &= ~edge_frame(image.shape, chosen.border_rows, chosen.border_columns)
    mask = np.zeros(image.shape, np.bool_)
    hot, cold = np.zeros(len(table), np.int64), np.zeros(len(table), np.int64)
    level, sigma = np.full(len(table), np.nan), np.full(len(table), np.nan)
    for i, (x0, y0, width, height) in enumerate(table):
        place = slice(y0, y0 + height), slice(x0, x0 + width)
        found = find_amplifier_defects(
            image[place],
            source,
            chosen,
            usable=searched[place],
            exposure_time=exposure_time,
            gain=float(strength[i]),
        )
        mask[place] |= found.hot | found.cold
        hot[i], cold[i] = np.count_nonzero(found.hot), np.count_nonzero(found.cold)
        level[i], sigma[i] = found.level, found.sigma
    rules = ColumnRules() if columns is None else columns
    mask, blinking = fill_blinking_columns(mask, rules)
    mask, filled = fill_columns(mask, table, rules, saturated)
    return DetectorDefects(mask, hot, cold, level, sigma, blinking, filled)


def edge_frame(shape: tuple[int, ...], rows: int, columns: int) -> Mask:
    """Flag the pixels next to the border of a detector.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the detector.
    rows, columns : int
        Width of the frame at the first and last rows, and at the first and last columns.

    Returns
    -------
    array of bool, shape (rows, columns)

    Raises
    ------
    ValueError
        If a width is negative.

    Notes
    -----
    Spec 4.7, `edgesAsDefects`: 5 and 5 for LATISS.
    """
    if rows < 0 or columns < 0:
        raise ValueError(f"a frame cannot be {rows} rows and {columns} columns wide")
    frame = np.ones(shape, np.bool_)
    frame[rows : shape[0] - rows, columns : shape[1] - columns] = False
    return frame
