"""Fringe frame: the sky of each exposure flattened, objects left out, clipped mean, per filter."""

from cpflow import Combine, GraphConfig, Isr, Select, isr
from cpflow.steps import FringePattern, combine_fringes

INPUTS = {"raw": Select(observation_type="science")}
NEEDS = ("bias", "dark", "flat", "defects?", "crosstalk?", "linearizer?", "ptc?", "cti?", "bfk?")
PRODUCT = "fringe"


class Config(GraphConfig):
    isr: Isr = Isr(bias=True, dark=True, flat=True)
    fringe: FringePattern = FringePattern()
    combine: Combine = Combine(mask=("SAT", "DETECTED", "INTRP"))


def build(raw, calibrations, config):
    exposures = isr(raw, calibrations, config.isr)
    return combine_fringes(exposures, config.fringe, config.combine)
