"""Master dark: bias-subtracted, cosmic rays rejected, scaled by dark time, clipped mean."""

from cpflow import (
    Combine,
    CosmicRays,
    GraphConfig,
    Isr,
    Select,
    combine,
    isr,
    reject_cosmic_rays,
)

INPUTS = {"raw": Select(observation_type="dark")}
NEEDS = ("bias", "defects?", "crosstalk?", "linearizer?", "ptc?", "cti?")
PRODUCT = "dark"


class Config(GraphConfig):
    isr: Isr = Isr(bias=True)
    cosmic_rays: CosmicRays = CosmicRays()
    combine: Combine = Combine(scale="dark_time", mask=("SAT", "DETECTED", "INTRP", "CR"))


def build(raw, calibrations, config):
    exposures = reject_cosmic_rays(isr(raw, calibrations, config.isr), config.cosmic_rays)
    return combine(exposures, config.combine)
