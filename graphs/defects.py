"""Defects: pixels beyond the thresholds in most biases, darks or flats."""

from cpflow import Defects, GraphConfig, Isr, Select, find_defects, isr

INPUTS = {"raw": Select(observation_type=("bias", "dark", "flat"))}
NEEDS = ("bias", "dark?", "flat?", "manual_defects?")
PRODUCT = "defects"


class Config(GraphConfig):
    isr: Isr = Isr(bias=True, defect=False, interpolate=False)
    defects: Defects = Defects()


def build(raw, calibrations, config):
    exposures = isr(raw, calibrations, config.isr)
    return find_defects(exposures, config.defects, calibrations.get("manual_defects"))
