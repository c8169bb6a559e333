"""Verification of gain and read noise: pairs of flats and their overscans."""

from cpflow import GraphConfig, Isr, Select, isr
from cpflow.verify import FlatPairs, GainLimits, verify_gain

INPUTS = {"raw": Select(observation_type="flat")}
NEEDS = ("bias", "dark", "ptc", "defects?", "crosstalk?", "linearizer?", "cti?")
PRODUCT = "gain_verification"
VERIFIES = "ptc"


class Config(GraphConfig):
    # As for the photon transfer curve itself.
    isr: Isr = Isr(
        bias=True,
        dark=True,
        saturation=False,
        suspect=False,
        linearize=False,
        widen_saturation_trails=False,
        interpolate=False,
        variance=False,
    )
    pairs: FlatPairs = FlatPairs()
    limits: GainLimits = GainLimits()


def build(raw, calibrations, config):
    flats = isr(raw, calibrations, config.isr)
    return verify_gain(flats, calibrations["ptc"], config.pairs, config.limits)
