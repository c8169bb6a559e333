"""Flat: bias and dark subtracted, scaled over the focal plane, clipped mean."""

from cpflow import Combine, GraphConfig, Isr, Select, combine, isr

INPUTS = {"raw": Select(observation_type="flat")}
NEEDS = ("bias", "dark", "defects?", "crosstalk?", "linearizer?", "ptc?", "cti?", "bfk?")
PRODUCT = "flat"


class Config(GraphConfig):
    isr: Isr = Isr(bias=True, dark=True)
    combine: Combine = Combine(scale="focal_plane", mask=("SAT", "DETECTED", "INTRP"))


def build_together(raws, calibrations, config):
    exposures = {
        detector: isr(raws[detector], calibrations[detector], config.isr) for detector in raws
    }
    return combine(exposures, config.combine)
