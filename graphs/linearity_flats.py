"""Linearity of the amplifiers, from a ramp of single flats."""

from cpflow import GraphConfig, Isr, Select, isr
from cpflow.steps import Linearity, linearity_of_flats

INPUTS = {"raw": Select(observation_type="flat")}
NEEDS = ("bias", "dark", "defects?", "crosstalk?")
PRODUCT = "linearizer"


class Config(GraphConfig):
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
    linearity: Linearity = Linearity()


def build(raw, calibrations, config):
    return linearity_of_flats(isr(raw, calibrations, config.isr), config.linearity)
