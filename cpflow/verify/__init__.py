"""Verification: statistics of exposures and products, limits, verdicts, waivers."""

from cpflow.verify.bias import BiasLimits, verify_bias
from cpflow.verify.limits import Limit, Limits, Override
from cpflow.verify.residuals import Residuals

__all__ = [
    "BiasLimits",
    "Limit",
    "Limits",
    "Override",
    "Residuals",
    "verify_bias",
]
