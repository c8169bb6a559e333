"""Verification of a flat: flats that are divided by it."""

from cpflow import GraphConfig, Isr, Select, isr
from cpflow.verify import FlatLimits, Residuals, verify_flat

INPUTS = {"raw": Select(observation_type="flat")}
NEEDS = ("bias", "dark", "flat", "defects?", "crosstalk?", "linearizer?", "ptc?", "cti?", "bfk?")
PRODUCT = "flat_verification"
VERIFIES = "flat"


class Config(GraphConfig):
    # Gains as in the flat, which holds those that were not applied.
    isr: Isr = Isr(bias=True, dark=True, flat=True, interpolate=False)
    residuals: Residuals = Residuals()
    limits: FlatLimits = FlatLimits()


def build_together(raws, calibrations, config):
    flats = {detector: isr(raws[detector], calibrations[detector], config.isr) for detector in raws}
    return verify_flat(flats, calibrations, config.residuals, config.limits)
