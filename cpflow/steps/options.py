"""Configuration values of the steps: the reference's defaults, corrected (spec, 2 and 3)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

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
    cti: bool = False
    """Put back the charge that the serial register deferred (spec 2.9)."""
    cti_transfers: bool = True
    """Also what each transfer left behind; the reference corrects local offset and trap alone."""
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
    """Subtract the structure that the sky frame has, times the level of the sky in the exposure;
    the level itself and its slope stay."""
    empirical_read_noise: bool = False
    """Take the read noise from the overscan instead of the camera file."""
    variance: bool = True
    nan_mask: bool = True
    widen_saturation_trails: bool = True
    interpolate: bool = True
    saturation_interpolation: bool = True
    grow_saturation: int = Field(1, ge=0, le=16)


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


class CrosstalkMeasure(Options):
    """Crosstalk from exposures with bright stars (spec electro-optical 4.1, 4.2)."""

    threshold: float = Field(30_000.0, gt=0)
    """Sources are as bright as this, in the unit of the exposures."""
    background_bin: int = Field(128, ge=0)
    """Pixels of a bin of the sky that is subtracted; 0 subtracts none."""
    grow: int = Field(20, ge=0)
    """Pixels around ghosts that are left out of the sky."""
    margin: int = Field(10, ge=0)
    """Pixels around bright stars that are no targets."""
    star_level: float | None = Field(1000.0, gt=0)
    """What is so far above the sky is a star and kept clear of; more than any ghost."""
    most: int = Field(5000, ge=1)
    """Ratios of a pair of amplifiers in one exposure, at most."""
    between_detectors: bool = False
    """Also from each detector of the run to each other one of the same size."""
    order: Literal[0, 1] = 0
    """1: also a term with the square of the source."""
    clip: float = Field(2.0, gt=0)
    rounds: int = Field(3, ge=0)
    weighted: bool = True
    significance: float = Field(3.0, ge=0)
    """A coefficient is valid if it is so many errors from zero."""
    reject_negative: bool = False
    zero_invalid: bool = False


class Ptc(Options):
    """Photon transfer curve (spec electro-optical 1)."""

    pair_by: Literal["time", "flux", "id"] = "time"
    flux_keyword: str = "CCOBFLUX"
    """Extra field of the exposure with its flux."""
    max_lag: int = Field(8, ge=1)
    """Covariances at so many lags along either axis, 0 among them."""
    clip: float = Field(5.5, gt=0)
    iterations: int = Field(3, ge=1)
    min_pixels: int = Field(10_000, ge=2)
    """An amplifier with fewer good pixels has no curve."""
    gain_correction: Literal["NONE", "SIMPLE", "FULL"] = "FULL"
    histogram: bool = False
    """Test whether the noise is normal; whole counts need noise of many adu for that."""
    min_p_value: float = Field(0.01, ge=0, le=1)
    fit_type: Literal["EXPAPPROXIMATION", "FULLCOVARIANCE", "FULLCOVARIANCE_NO_B", "POLYNOMIAL"] = (
        "FULLCOVARIANCE"
    )
    fit_lags: int | None = Field(None, ge=1)
    """Lags of the full covariance fit; all that are measured by default."""
    degree: int = Field(8, ge=2)
    """Highest power of the mean in the full covariance fit; 4 is the published equation 20."""
    min_mean: float = 0.0
    max_mean: float = 1e6
    """Pairs outside these means, in adu, are not fitted."""
    outlier_clip: float = Field(5.0, gt=0)
    subtract_long_range: bool = False
    polynomial_degree: int = Field(3, ge=1)


class Linearity(Options):
    """Linearity of the amplifiers (spec electro-optical 2)."""

    kind: Literal["squared", "polynomial", "lookup_table", "spline"] = "squared"
    abscissa: Literal["exposure_time", "flux"] = "exposure_time"
    flux_keyword: str = "CCOBFLUX"
    """Extra field of the exposure with the charge of a photodiode."""
    order: int = Field(3, ge=2)
    knots: int = Field(10, ge=2)
    nodes: tuple[float, ...] = ()
    """Nodes of a spline in adu, instead of `knots` equal ones."""
    table_size: int = Field(2**18, ge=1)
    min_adu: float = 30.0
    max_adu: float = 1e6
    max_deviation: float = Field(0.01, gt=0)
    """The curve turns off where it is so far from a line; more for a strongly curved one."""
    min_turnoff_adu: float = 1000.0
    fit_offset: bool = True
    clip: float = Field(5.0, gt=0)
    group: bool = False
    """Points of different illumination have slopes of their own."""
    group_gap: float = Field(0.1, gt=0)
    max_points: int = Field(500, ge=2)
    """Room for the points of a curve that is measured in the same plan."""


class Cti(Options):
    """Charge transfer inefficiency, measured in the overscan of flats (spec electro-optical 5)."""

    columns: int = Field(10, ge=2)
    """Overscan columns that hold the trail; the level of a row comes from those after them."""
    first: int = Field(2, ge=1)
    """Overscan columns, or rows, whose charge is counted as deferred by CTI itself."""
    clip: float = Field(3.0, gt=0)
    iterations: int = Field(3, ge=1)
    min_signal: float = Field(0.0, ge=0)
    """Flats with less, or with more than the next, are not fitted; electrons."""
    max_signal: float = Field(150_000.0, gt=0)
    significance: float = Field(5.0, gt=0)
    """A local offset or a trap is part of the correction if it is so many errors from none."""
    turnoff_tolerance: float = Field(1e-5, gt=0)
    """Serial CTI that grows by more than this with signal has turned off; such flats are not
    fitted."""

    @model_validator(mode="after")
    def _first_of_columns(self) -> Cti:
        if self.first > self.columns:
            raise ValueError(f"first ({self.first}) is more than columns ({self.columns})")
        return self


class BfKernel(Options):
    """Brighter-fatter kernel (spec electro-optical 3.1)."""

    method: Literal["average", "quadratic", "a_matrix", "covariance_model"] = "a_matrix"
    """From the fitted coefficients a, for which the curve is fitted with FULLCOVARIANCE. The
    reference averages covariances over squared flux, which has the higher orders in it: with flats
    up to 110,000 electrons it is a tenth too small."""
    side: int = Field(8, ge=3, le=10)
    """Lags of the kernel along either axis."""
    clip: float = Field(5.0, gt=0)
    model_flux: float = Field(25_000.0, gt=0)
    force_zero_sum: bool = True
    ignored_amplifiers: tuple[str, ...] = ()
    """Left out of the kernel of the detector."""


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
