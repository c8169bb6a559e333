"""Configuration values of the steps: the reference's defaults, corrected (spec, 2 to 4)."""

from cpflow.steps.options.electro_optical import BfKernel, CrosstalkMeasure, Cti, Linearity, Ptc
from cpflow.steps.options.images import Combine, CosmicRays, Defects, FringePattern, Sky
from cpflow.steps.options.isr import Isr, Vignette
from cpflow.steps.options.overscan import FitType, Overscan, ParallelOverscan

__all__ = [
    "BfKernel",
    "Combine",
    "CosmicRays",
    "CrosstalkMeasure",
    "Cti",
    "Defects",
    "FitType",
    "FringePattern",
    "Isr",
    "Linearity",
    "Overscan",
    "ParallelOverscan",
    "Ptc",
    "Sky",
    "Vignette",
]
