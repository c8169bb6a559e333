"""Verification: statistics of exposures and products, limits, verdicts, waivers."""

from cpflow.verify.bias import BiasLimits, verify_bias
from cpflow.verify.dark import DarkLimits, verify_dark
from cpflow.verify.defects import DefectLimits, Outliers, verify_defects
from cpflow.verify.flat import FlatLimits, verify_flat
from cpflow.verify.fringe import FringeLimits, verify_fringe
from cpflow.verify.limits import Limit, Limits, Override
from cpflow.verify.residuals import Residuals
from cpflow.verify.sky import SkyLimits, verify_sky

__all__ = [
    "BiasLimits",
    "DarkLimits",
    "DefectLimits",
    "FlatLimits",
    "FringeLimits",
    "Limit",
    "Limits",
    "Outliers",
    "Override",
    "Residuals",
    "SkyLimits",
    "verify_bias",
    "verify_dark",
    "verify_defects",
    "verify_flat",
    "verify_fringe",
    "verify_sky",
]
