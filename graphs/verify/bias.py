"""Verification of a bias: what is left of biases when it is subtracted."""

from cpflow import GraphConfig, Isr, Select, isr
from cpflow.verify import BiasLimits, Residuals, verify_bias

INPUTS = {"raw": Select(observation_type="bias")}
NEEDS = ("bias", "defects?", "ptc?")
PRODUCT = "bias_verification"
VERIFIES = "bias"


class Config(GraphConfig):
    isr: Isr = Isr(bias=True, gain="camera")
    residuals: Residuals = Residuals()
    limits: BiasLimits = BiasLimits()


def build(raw, calibrations, config):
    residuals = isr(raw, calibrations, config.isr)
    return verify_bias(residuals, calibrations, config.residuals, config.limits)
