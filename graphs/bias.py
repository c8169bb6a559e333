"""Master bias: overscan-subtracted, trimmed, clipped mean."""

from cpflow import Combine, GraphConfig, Isr, Select, combine, isr

INPUTS = {"raw": Select(observation_type="bias")}
NEEDS = ("defects?", "ptc?")
PRODUCT = "bias"


class Config(GraphConfig):
    isr: Isr = Isr()
    combine: Combine = Combine(mask=("SAT", "DETECTED", "INTRP"))


def build(raw, calibrations, config):
    return combine(isr(raw, calibrations, config.isr), config.combine)
