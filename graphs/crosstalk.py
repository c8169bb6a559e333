"""Crosstalk: what bright stars leave in the other amplifiers at the same time of the readout."""

from cpflow import GraphConfig, Isr, Select, isr
from cpflow.steps import CrosstalkMeasure, measure_crosstalk

INPUTS = {"raw": Select(observation_type="science")}
NEEDS = ("bias", "dark?", "defects?", "linearizer?", "ptc?", "cti?")
PRODUCT = "crosstalk"


class Config(GraphConfig):
    isr: Isr = Isr(bias=True, crosstalk=False, linearize=False, interpolate=False, variance=False)
    crosstalk: CrosstalkMeasure = CrosstalkMeasure()


def build_together(raws, calibrations, config):
    exposures = {
        detector: isr(raws[detector], calibrations[detector], config.isr) for detector in raws
    }
    return measure_crosstalk(exposures, config.crosstalk)
