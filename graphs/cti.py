"""Charge transfer inefficiency: what flats of several fluxes leave in the first overscan pixels."""

from cpflow import GraphConfig, Isr, Select
from cpflow.steps import Cti, measure_cti

INPUTS = {"raw": Select(observation_type="flat")}
NEEDS = ("linearizer?", "ptc?")
PRODUCT = "cti"


class Config(GraphConfig):
    # Of ISR only overscan, saturation, linearity and gain count: frames stay raw.
    isr: Isr = Isr(gain="camera")
    cti: Cti = Cti()


def build(raw, calibrations, config):
    return measure_cti(raw, calibrations, config.isr, config.cti)
