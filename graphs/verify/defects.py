"""Verification of a defect list: what still stands out in biases, darks or flats."""

from cpflow import GraphConfig, Isr, Select, isr
from cpflow.verify import DefectLimits, Outliers, verify_defects

INPUTS = {"raw": Select(observation_type=("bias", "dark", "flat"))}
NEEDS = ("defects", "bias", "ptc?")
PRODUCT = "defects_verification"
VERIFIES = "defects"


class Config(GraphConfig):
    isr: Isr = Isr(bias=True, gain="camera", interpolate=False, widen_saturation_trails=False)
    outliers: Outliers = Outliers()
    limits: DefectLimits = DefectLimits()


def build(raw, calibrations, config):
    return verify_defects(isr(raw, calibrations, config.isr), config.outliers, config.limits)
