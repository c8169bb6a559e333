"""Defects: pixels beyond the thresholds in most biases, darks or flats."""

from cpflow import Defects, GraphConfig, Isr, Select, find_defects, isr

INPUTS = {"raw": Select(observation_type=("bias", "dark", "flat"))}
NEEDS = ("bias", "dark?", "flat?")
PRODUCT = "defects"


class Config(GraphConfig):
    isr: Isr = Isr(bias=True, defect=False, interpolate=False)
    defects: Defects = Defects()


def build(raw, calibrations, config):
    return find_defects(isr(raw, calibrations, config.isr), config.defects)
