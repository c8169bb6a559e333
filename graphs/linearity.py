"""Linearity of the amplifiers, from the pairs of a photon transfer curve."""

from cpflow import GraphConfig
from cpflow.steps import Linearity, solve_linearity

INPUTS = {}
NEEDS = ("ptc",)
PRODUCT = "linearizer"


class Config(GraphConfig):
    linearity: Linearity = Linearity()


def build(raw, calibrations, config):
    return solve_linearity(raw.detector, calibrations["ptc"], config.linearity)
