"""Verification of crosstalk: measured again where it was subtracted."""

from cpflow import GraphConfig, Isr, Select, isr
from cpflow.steps import CrosstalkMeasure
from cpflow.verify import CrosstalkLimits, verify_crosstalk

INPUTS = {"raw": Select(observation_type="science")}
NEEDS = ("bias", "crosstalk", "dark?", "defects?", "linearizer?", "ptc?", "cti?")
PRODUCT = "crosstalk_verification"
VERIFIES = "crosstalk"


class Config(GraphConfig):
    isr: Isr = Isr(
        bias=True, crosstalk_mask=None, linearize=False, interpolate=False, variance=False
    )
    crosstalk: CrosstalkMeasure = CrosstalkMeasure()
    limits: CrosstalkLimits = CrosstalkLimits()


def build_together(raws, calibrations, config):
    exposures = {
        detector: isr(raws[detector], calibrations[detector], config.isr) for detector in raws
    }
    return verify_crosstalk(exposures, calibrations, config.crosstalk, config.limits)
