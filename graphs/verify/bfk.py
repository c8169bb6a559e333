"""Verification of a brighter-fatter kernel: the kernel itself is inspected."""

from cpflow import GraphConfig
from cpflow.verify import KernelLimits, verify_kernel

INPUTS = {}
NEEDS = ("bfk",)
PRODUCT = "bfk_verification"
VERIFIES = "bfk"


class Config(GraphConfig):
    limits: KernelLimits = KernelLimits()


def build(raw, calibrations, config):
    return verify_kernel(raw.detector, calibrations["bfk"], config.limits)
