"""Photon transfer curve: gain, noise and brighter-fatter coefficients from pairs of flats."""

from cpflow import GraphConfig, Isr, Select, isr
from cpflow.steps import Ptc, measure_ptc

INPUTS = {"raw": Select(observation_type="flat")}
NEEDS = ("bias", "dark", "defects?", "crosstalk?", "linearizer?", "cti?", "flat?")
PRODUCT = "ptc"


class Config(GraphConfig):
    # Saturation is not masked: without its upper end a distribution has a smaller variance.
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
    ptc: Ptc = Ptc()


def build(raw, calibrations, config):
    return measure_ptc(isr(raw, calibrations, config.isr), config.ptc)
