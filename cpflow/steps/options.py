"""Configuration values of the steps: the reference's defaults, corrected (spec, 2 and 3)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from cpflow.kernels.planes import bits
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


class Vignette(Options):
    """The circle of the focal plane, in mm, that the optics let light through to (spec 2.12)."""

    enabled: bool = False
    x: float = 0.0
    y: float = 0.0
    radius: float = Field(100.0, gt=0)


class Isr(Options):
    """Instrument signature removal: which corrections are made, and how (spec 2.2).

    `crosstalk`, `linearize` and `defect` take effect where such a calibration is found; the other
    calibrations have to be there if they are asked for.
    """

    saturation: bool = True
    suspect: bool = True
    saturation_stage: Literal["raw", "overscan_subtracted"] = "raw"
    saturation_level: float | None = Field(None, gt=0)
    """Overrides the camera's, adu."""
    overscan: Overscan = Overscan()
    parallel_overscan: ParallelOverscan = ParallelOverscan()
    bias: bool = False
    crosstalk: bool = True
    crosstalk_mask: float | None = Field(45000.0, gt=0)
    """Flag CROSSTALK where a source is so bright, adu; None flags nothing."""
    linearize: bool = True
    gain: Literal["none", "camera", "ptc"] = "none"
    """Multiply by the gains of the camera file or of a photon transfer curve: electrons."""
    defect: bool = True
    """Mask defects as BAD, if a defect list is found."""
    edge_suspect: int = Field(0, ge=0)
    """Flag SUSPECT so many pixels at the edge."""
    edge_level: Literal["detector", "amp"] = "detector"
    vignette: Vignette = Vignette()
    brighter_fatter: bool = False
    brighter_fatter_method: Literal["flux_conserving", "coulton"] = "flux_conserving"
    """Moving charge between pixels, or the formula of Coulton et al. (2018), which the reference
    uses: it loses 7e-4 of a bright star's flux, and leaves 20 times more of the effect."""
    brighter_fatter_iterations: int = Field(10, ge=1, le=30)
    brighter_fatter_threshold: float = Field(1000.0, gt=0)
    """The iteration ends when all pixels together change by less, electrons."""
    brighter_fatter_grow: int = Field(2, ge=0, le=16)
    """Pixels around bad ones that are left out of the correction."""
    dark: bool = False
    """Subtract the dark, scaled by the exposure's dark time."""
    flat: bool = False
    fringe: bool = False
    """Subtract the fringes, as strong as they are in the exposure."""
    sky: bool = False
    """Subtract the sky frame, as bright as the sky is in the exposure."""
    empirical_read_noise: bool = False
    """Take the read noise from the overscan instead of the camera file."""
    variance: bool = True
    nan_mask: bool = True
    widen_saturation_trails: bool = True
    interpolate: bool = True
    saturation_interpolation: bool = True
    grow_saturation: int = Field(1, ge=0, le=16)


class CosmicRays(Options):
    """Cosmic rays (spec 4.2); the values are the reference's of today."""

    enabled: bool = True
    min_sigma: float = Field(6.0, gt=0)
    min_sum: float = Field(150.0, ge=0)
    """Least signal of a ray, in the unit of the image."""
    noise_factor: float = Field(2.0, ge=0)
    star_factor: float = Field(0.35, gt=0)
    iterations: int = Field(6, ge=0)
    psf_fwhm: float = Field(3.0, gt=0)
    grow: int = Field(2, ge=0)
    max_pixels: int = Field(1_000_000, ge=1)
    persistent: float = Field(0.5, gt=0, le=1)
    """A pixel flagged in more than this fraction of the exposures is hot, not hit."""
    too_many: Literal["warn", "fail"] = "fail"
    """What happens to an exposure with more than `max_pixels` seeds."""


class Defects(Options):
    """Defects found in single exposures and merged (spec 4.6, 4.7); None switches a rule off."""

    threshold: Literal["STDEV", "VALUE"] = "STDEV"
    sigma_bright: float = Field(4.8, gt=0)
    sigma_dark: float = Field(-5.0, lt=0)
    dark_current: float = Field(5.0, gt=0)
    """VALUE, darks: electron/s above the level."""
    bias: float = Field(1000.0, gt=0)
    """VALUE, biases: adu above the level."""
    flat_fraction: float = Field(0.8, gt=0, lt=1)
    """VALUE, flats: a pixel below this fraction of the level is bad."""
    border_rows: int = Field(0, ge=0)
    """Rows next to the detector's border that are not searched."""
    border_columns: int = Field(0, ge=0)
    edge_rows: int = Field(0, ge=0)
    """Rows next to the detector's border that are defects."""
    edge_columns: int = Field(0, ge=0)
    blinking_count: int | None = Field(50, ge=1)
    """A column with so many defects is filled between them."""
    blinking_gap: int = Field(30, ge=1)
    """But not where they are so many rows apart."""
    column_bad_count: int | None = Field(None, ge=1)
    """An amplifier's column with so many defects is bad as a whole."""
    column_saturated_count: int | None = Field(None, ge=1)
    column_saturated_dilation: int = Field(0, ge=0)
    mode: Literal["AND", "OR", "FRACTION"] = "FRACTION"
    """A defect in all, in any, or in more than `fraction` of the exposures of a kind."""
    fraction: float = Field(0.7, ge=0, lt=1)


class Combine(Options):
    """Combination of exposures (spec 3.1)."""

    statistic: Literal["clipped_mean", "mean", "median"] = "clipped_mean"
    clip: float = Field(3.0, gt=0)
    iterations: int = Field(3, ge=1)
    mask: tuple[str, ...] = ("SAT", "DETECTED", "INTRP")
    """Planes that keep a pixel out."""
    scale: Literal["none", "exposure_time", "dark_time", "mean", "focal_plane"] = "none"
    input_variance_below: int = Field(5, ge=0)
    """With fewer exposures than this, the variance comes from theirs."""
    no_good_pixels: str = "BAD"
    check_no_data: bool = True
    censor_mask: bool = True
    """Clear every plane but `no_good_pixels` in the product."""
    percentiles: tuple[float, ...] = (0.0, 5.0, 16.0, 50.0, 84.0, 95.0, 100.0)

    @field_validator("mask", "no_good_pixels")
    @classmethod
    def _known_planes(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        bits([value] if isinstance(value, str) else value)
        return value

    @field_validator("percentiles")
    @classmethod
    def _in_range(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= level <= 100 for level in value):
            raise ValueError("percentiles lie between 0 and 100")
        return value
