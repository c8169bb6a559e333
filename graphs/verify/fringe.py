"""Verification of a fringe frame: what is left of fringes when it is subtracted."""

from cpflow import GraphConfig, Isr, Select, isr
from cpflow.verify import FringeLimits, verify_fringe

INPUTS = {"raw": Select(observation_type="science")}
NEEDS = (
    *("bias", "dark", "flat", "fringe", "defects?"),
    *("crosstalk?", "linearizer?", "ptc?", "cti?", "bfk?"),
)
PRODUCT = "fringe_verification"
VERIFIES = "fringe"


class Config(GraphConfig):
    isr: Isr = Isr(bias=True, dark=True, flat=True, fringe=True)
    limits: FringeLimits = FringeLimits()


def build(raw, calibrations, config):
    return verify_fringe(isr(raw, calibrations, config.isr), config.limits)
