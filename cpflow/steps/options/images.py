"""Options of image products (spec 3 and 4)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from cpflow.kernels.planes import bits
from cpflow.options import Options


class CosmicRays(Options):
    """Cosmic rays (spec 4.2); the values are the reference's of today.

    `method` lacosmic is L.A.Cosmic with the values and meanings of astroscrappy: of the others only
    `grow`, `persistent`, `max_pixels` (then pixels, not seeds) and `too_many` count with it. It
    takes 11 s and 0.9 GiB for a frame of 4000 x 4000 pixels.
    """

    enabled: bool = True
    method: Literal["morphological", "lacosmic"] = "morphological"
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
    lacosmic_sigclip: float = Field(4.5, gt=0)
    """Least Laplacian of a ray, in standard deviations of its noise."""
    lacosmic_sigfrac: float = Field(0.3, gt=0, le=1)
    """Neighbours of a ray need this fraction of it."""
    lacosmic_objlim: float = Field(5.0, gt=0)
    """Least Laplacian relative to the fine structure of the image, which stars have."""
    lacosmic_iterations: int = Field(4, ge=1)


class Defects(Options):
    """Defects found in exposures or in combined products, and merged (spec 4.6, 4.7).

    None switches a rule off.
    """

    threshold: Literal["STDEV", "VALUE"] = "STDEV"
    threshold_bias: Literal["STDEV", "VALUE"] | None = None
    """Of biases, where it is not `threshold`; the next two likewise."""
    threshold_dark: Literal["STDEV", "VALUE"] | None = None
    threshold_flat: Literal["STDEV", "VALUE"] | None = None
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
    """A defect in all, in any, or in more than `fraction` of the exposures of a kind; for combined
    products, of the images of a kind."""
    fraction: float = Field(0.7, ge=0, lt=1)
    bad_pixels: bool = True
    """Combined products: pixels flagged BAD, which have no good input, are defects."""
    midline: Literal["never", "always", "as_found"] = "as_found"
    """Flats of E2V detectors: rows where the halves meet are never defects, always, or as any."""
    midline_rows: int = Field(1, ge=1)
    """How many, on either side."""


class FringePattern(Options):
    """Fringe frame: the sky of each exposure, and objects that are left out (spec 4.9)."""

    bin_size: int = Field(128, ge=8)
    """Pixels of the bins that the background is fitted to; wider than fringes are."""
    degree: int = Field(6, ge=0, le=12)
    """Total degree of the background, a Chebyshev polynomial."""
    detection_sigma: float = Field(1.0, gt=0)
    """Pixels of the Gaussian that exposures are smoothed with."""
    detection_threshold: float = Field(5.0, gt=0)
    detection_grow: float = Field(2.4, ge=0)
    """Objects grow by so many sigma."""
    passes: Literal[1, 2] = 2
    """2: objects are found over a first pattern, the median of all exposures, if there are at least
    three. 1 is the reference, which takes strong fringes for objects."""


class Sky(Options):
    """Sky frame: what is left of the sky where a model of the focal plane is taken off (4.10)."""

    superpixel_mm: float = Field(40.96, gt=0)
    """Size of the superpixels of the focal plane. A focal plane less than half as wide, or without
    sizes in mm, has superpixels as large as itself."""
    min_fraction: float = Field(0.1, ge=0, le=1)
    """A superpixel with fewer of its pixels is filled from the others."""
    interpolation: Literal["AKIMA", "CUBIC", "LINEAR", "CONSTANT"] = "LINEAR"
    """How superpixels are filled. The reference's AKIMA turns noise into slopes at the corners."""
    refinements: int = Field(20, ge=0)
    """How often the model is mended until its superpixels have the means that were measured. 0 is
    the reference, whose model has half the slope of the sky where there is one detector."""
    scale_from: Literal["measured", "filled"] = "measured"
    """The level of an exposure is the mean of the superpixels that were measured, or, as in the
    reference, the median of all, those that are extrapolated included: with one detector it takes
    the slope of the sky for its level."""
    by_type: bool = False
    """Detectors of one type have a model of their own."""
    binning: int = Field(64, ge=1)
    """Pixels of the bins in which superpixels are interpolated bilinearly."""
    bin_size: int = Field(32, ge=1)
    """Pixels of the bins of the sky frame."""
    bin_fraction: float = Field(0.1, ge=0, le=1)
    """A bin with fewer usable pixels has no value in an exposure."""
    detection_sigma: float = Field(5.0, gt=0)
    """Pixels of the Gaussian that exposures are smoothed with."""
    detection_threshold: float = Field(2.5, gt=0)
    detection_grow: float = Field(2.4, ge=0)
    """Objects grow by so many sigma."""
    detection_iterations: int = Field(3, ge=1)
    background_bin_size: int = Field(256, ge=8)
    """Pixels of the bins of the background that objects are found over; at least 4 bins. Over the
    reference's 1024 the structure of the sky itself is an object: of a wave of 2 % and 3000 pixels
    a fifth was masked in all of five exposures."""
    replacement_bin_size: int = Field(256, ge=8)
    """Pixels of the bins of the background that objects are replaced by in superpixels; at least 8
    bins."""
    clip: float = Field(3.0, gt=0)
    iterations: int = Field(3, ge=1)


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
