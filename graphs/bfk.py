"""Brighter-fatter kernel, from the covariances of a photon transfer curve."""

from cpflow import GraphConfig
from cpflow.steps import BfKernel, solve_kernels

INPUTS = {}
NEEDS = ("ptc",)
PRODUCT = "bfk"


class Config(GraphConfig):
    kernel: BfKernel = BfKernel()


def build(raw, calibrations, config):
    return solve_kernels(raw.detector, calibrations["ptc"], config.kernel)
