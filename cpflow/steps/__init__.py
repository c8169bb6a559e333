"""Steps of a calibration: lazy stacks and datasets in, lazy ones out."""

from cpflow.stack.geometry import assemble
from cpflow.steps.combination import combine
from cpflow.steps.cosmic_rays import reject_cosmic_rays
from cpflow.steps.options import Combine, CosmicRays, Isr, Overscan, ParallelOverscan
from cpflow.steps.signature import isr

__all__ = [
    "Combine",
    "CosmicRays",
    "Isr",
    "Overscan",
    "ParallelOverscan",
    "assemble",
    "combine",
    "isr",
    "reject_cosmic_rays",
]
