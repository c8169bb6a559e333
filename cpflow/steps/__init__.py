"""Steps of a calibration: lazy stacks and datasets in, lazy ones out."""

from cpflow.stack.geometry import assemble
from cpflow.steps.combination import combine
from cpflow.steps.options import Combine, Isr, Overscan, ParallelOverscan
from cpflow.steps.signature import isr

__all__ = ["Combine", "Isr", "Overscan", "ParallelOverscan", "assemble", "combine", "isr"]
