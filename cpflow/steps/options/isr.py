"""Options of instrument signature removal (spec 2.2)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cpflow.options import Options
from cpflow.steps.options.overscan import Overscan, ParallelOverscan


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
    """Pixels by which bad and saturated ones grow: their neighbours got a doubtful correction."""
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
