"""Options of the overscan (spec 2.6)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cpflow.options import Options

FitType = Literal[
    "MEAN",
    "MEANCLIP",
    "MEDIAN",
    "MEDIAN_PER_ROW",
    "MEAN_PER_ROW",
    "POLY",
    "CHEB",
    "LEG",
    "NATURAL_SPLINE",
    "CUBIC_SPLINE",
    "AKIMA_SPLINE",
]


class Overscan(Options):
    """Serial overscan (spec 2.6).

    `leading` and `trailing` columns next to and far from the imaging area are not used.
    """

    enabled: bool = True
    fit_type: FitType = "MEDIAN_PER_ROW"
    order: int = Field(1, ge=0)
    """Degree of a polynomial, or number of bins of a spline."""
    clip: float = Field(3.0, gt=0)
    integer: bool = True
    """Medians of raw counts are tie-aware (spec 3.3), so that no random dither is needed."""
    leading: int = Field(0, ge=0)
    trailing: int = Field(0, ge=0)
    max_deviation: float = Field(1000.0, gt=0)
    """Pixels farther than this from the median of the region are not used, adu."""
    cap_row_sigma: bool = True
    fill_empty_rows: bool = True
    noise_full_width: bool = False
    """Measure the noise on all columns, skipped ones included (ERA26)."""
    extend: bool = False
    """Take rows of the parallel overscan along (ERA26)."""


class ParallelOverscan(Options):
    """Parallel overscan (spec 2.6, ERA26): per column, after the serial one."""

    enabled: bool = False
    fit_type: FitType = "MEDIAN_PER_ROW"
    order: int = Field(1, ge=0)
    clip: float = Field(3.0, gt=0)
    leading: int = Field(3, ge=0)
    trailing: int = Field(3, ge=0)
    max_deviation: float = Field(100.0, gt=0)
    deviation_sign: Literal["positive", "absolute"] = "positive"
    saturation: float = Field(20000.0, gt=0)
    """Pixels of the region at or above this are bled charge, adu."""
    saturation_grow: int = Field(7, ge=0)
    smoothing_rejection: bool = True
