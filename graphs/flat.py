"""Flat of one chip: bias and dark subtracted, each exposure over its mean, clipped mean."""

from cpflow import Combine, GraphConfig, Isr, Select, combine, isr

INPUTS = {"raw": Select(observation_type="flat")}
NEEDS = ("bias", "dark", "defects?")
PRODUCT = "flat"


class Config(GraphConfig):
    isr: Isr = Isr(bias=True, dark=True)
    combine: Combine = Combine(scale="mean", mask=("SAT", "DETECTED", "INTRP"))


def build(raw, calibrations, config):
    return combine(isr(raw, calibrations, config.isr), config.combine)
