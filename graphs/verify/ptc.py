"""Verification of a photon transfer curve: the curve itself is inspected."""

from cpflow import GraphConfig
from cpflow.verify import PtcLimits, verify_ptc

INPUTS = {}
NEEDS = ("ptc",)
PRODUCT = "ptc_verification"
VERIFIES = "ptc"


class Config(GraphConfig):
    limits: PtcLimits = PtcLimits()


def build(raw, calibrations, config):
    return verify_ptc(raw.detector, calibrations["ptc"], config.limits)
