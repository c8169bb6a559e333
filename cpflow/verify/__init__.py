"""Verification: statistics of exposures and products, limits, verdicts, waivers."""

from cpflow.verify.bfk import KernelLimits, verify_kernel
from cpflow.verify.bias import BiasLimits, verify_bias
from cpflow.verify.crosstalk import CrosstalkLimits, verify_crosstalk
from cpflow.verify.dark import DarkLimits, verify_dark
from cpflow.verify.defects import DefectLimits, Outliers, verify_defects
from cpflow.verify.flat import FlatLimits, verify_flat
from cpflow.verify.fringe import FringeLimits, verify_fringe
from cpflow.verify.gain import FlatPairs, GainLimits, verify_gain
from cpflow.verify.limits import Limit, Limits, Override
from cpflow.verify.linearity import LinearityLimits, Ramp, verify_linearity
from cpflow.verify.ptc import PtcLimits, verify_ptc
from cpflow.verify.residuals import Residuals
from cpflow.verify.sky import SkyLimits, verify_sky

__all__ = [
    "BiasLimits",
    "CrosstalkLimits",
    "DarkLimits",
    "DefectLimits",
    "FlatLimits",
    "FlatPairs",
    "FringeLimits",
    "GainLimits",
    "KernelLimits",
    "Limit",
    "Limits",
    "LinearityLimits",
    "Outliers",
    "Override",
    "PtcLimits",
    "Ramp",
    "Residuals",
    "SkyLimits",
    "verify_bias",
    "verify_crosstalk",
    "verify_dark",
    "verify_defects",
    "verify_flat",
    "verify_fringe",
    "verify_gain",
    "verify_kernel",
    "verify_linearity",
    "verify_ptc",
    "verify_sky",
]
