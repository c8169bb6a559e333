"""Exposures of one detector as a lazy stack."""

from cpflow.stack.frame import Context, Failure, Frame, Measurement, Operation, Planes
from cpflow.stack.stack import Measure, Stack, open_stack
from cpflow.stack.tasks import BandStack, Source

__all__ = [
    "BandStack",
    "Context",
    "Failure",
    "Frame",
    "Measure",
    "Measurement",
    "Operation",
    "Planes",
    "Source",
    "Stack",
    "open_stack",
]
