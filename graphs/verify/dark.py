"""Verification of a dark: what is left of darks when it is subtracted, and the dark itself."""

from cpflow import GraphConfig, Isr, Select, isr
from cpflow.verify import DarkLimits, Residuals, verify_dark

INPUTS = {"raw": Select(observation_type="dark")}
NEEDS = ("bias", "dark", "defects?", "crosstalk?", "linearizer?", "ptc?", "cti?")
PRODUCT = "dark_verification"
VERIFIES = "dark"


class Config(GraphConfig):
    isr: Isr = Isr(bias=True, dark=True, gain="camera", interpolate=False)
    residuals: Residuals = Residuals()
    limits: DarkLimits = DarkLimits()


def build(raw, calibrations, config):
    residuals = isr(raw, calibrations, config.isr)
    return verify_dark(residuals, calibrations, config.residuals, config.limits)
