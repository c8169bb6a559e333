"""Verification of a linearizer: a ramp of flats that it corrected."""

from cpflow import GraphConfig, Isr, Select, isr
from cpflow.verify import LinearityLimits, Ramp, verify_linearity

INPUTS = {"raw": Select(observation_type="flat")}
NEEDS = ("bias", "dark", "linearizer", "defects?", "crosstalk?")
PRODUCT = "linearizer_verification"
VERIFIES = "linearizer"


class Config(GraphConfig):
    isr: Isr = Isr(
        bias=True,
        dark=True,
        saturation=False,
        suspect=False,
        widen_saturation_trails=False,
        interpolate=False,
        variance=False,
    )
    ramp: Ramp = Ramp()
    limits: LinearityLimits = LinearityLimits()


def build(raw, calibrations, config):
    flats = isr(raw, calibrations, config.isr)
    return verify_linearity(flats, calibrations["linearizer"], config.ramp, config.limits)
