"""Verification of a sky frame: how uneven the sky is when its structure is subtracted."""

from cpflow import GraphConfig, Isr, Select, isr
from cpflow.verify import SkyLimits, verify_sky

INPUTS = {"raw": Select(observation_type="science")}
NEEDS = (
    *("bias", "dark", "flat", "sky", "fringe?", "defects?"),
    *("crosstalk?", "linearizer?", "ptc?", "cti?", "bfk?"),
)
PRODUCT = "sky_verification"
VERIFIES = "sky"


class Config(GraphConfig):
    isr: Isr = Isr(bias=True, dark=True, flat=True, sky=True)
    limits: SkyLimits = SkyLimits()


def build(raw, calibrations, config):
    return verify_sky(isr(raw, calibrations, config.isr), config.limits)
