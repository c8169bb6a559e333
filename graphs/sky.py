"""Sky frame: a model of the focal plane off each exposure, the rest binned and averaged."""

from cpflow import GraphConfig, Isr, Select, isr
from cpflow.steps import Sky, combine_sky

INPUTS = {"raw": Select(observation_type="science")}
NEEDS = (
    "bias",
    "dark",
    "flat",
    "fringe?",
    "defects?",
    "crosstalk?",
    "linearizer?",
    "ptc?",
    "cti?",
    "bfk?",
)
PRODUCT = "sky"


class Config(GraphConfig):
    isr: Isr = Isr(bias=True, dark=True, flat=True)
    sky: Sky = Sky()


def build_together(raws, calibrations, config):
    exposures = {
        detector: isr(raws[detector], calibrations[detector], config.isr) for detector in raws
    }
    return combine_sky(exposures, config.sky)
