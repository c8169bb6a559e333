"""Defects of combined products: a bias, a dark and flats, and those noted by hand."""

from cpflow import Defects, GraphConfig
from cpflow.steps import find_combined_defects

INPUTS = {}
NEEDS = ("bias?", "dark?", "flat?", "manual_defects?")
PRODUCT = "defects"


class Config(GraphConfig):
    defects: Defects = Defects(threshold="VALUE", dark_current=3.0, flat_fraction=0.9, mode="OR")


def build(raw, calibrations, config):
    return find_combined_defects(raw.detector, calibrations, config.defects)
