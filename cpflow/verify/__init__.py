"""Verification: statistics of exposures and products, limits, verdicts, waivers."""

from cpflow.verify.bias import BiasLimits, verify_bias
from cpflow.verify.dark import DarkLimits, verify_dark
from cpflow.verify.defects import DefectLimits, Outliers, verify_defects
from cpflow.verify.flat import FlatLimits, verify_flat
from cpflow.verify.limits import Limit, Limits, Override
from cpflow.verify.residuals import Residuals

__all__ = [
    "BiasLimits",
    "DarkLimits",
    "DefectLimits",
    "FlatLimits",
    "Limit",
    "Limits",
    "Outliers",
    "Override",
    "Residuals",
    "verify_bias",
    "verify_dark",
    "verify_defects",
    "verify_flat",
]
