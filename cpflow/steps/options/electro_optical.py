"""Options of products that are curves and tables (spec electro-optical)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from cpflow.options import Options


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
    least_ratios: int = Field(50, ge=2)
    """With fewer a coefficient is not valid: its error cannot be trusted."""
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

    @model_validator(mode="after")
    def _measured_lags(self) -> Self:
        if self.fit_lags is not None and self.fit_lags > self.max_lag:
            raise ValueError(f"fit_lags is {self.fit_lags}, but max_lag only {self.max_lag}")
        return self


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
