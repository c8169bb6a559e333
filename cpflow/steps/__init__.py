"""Steps of a calibration: lazy stacks and datasets in, lazy ones out."""

from cpflow.stack.geometry import assemble
from cpflow.steps.combination import combine
from cpflow.steps.cosmic_rays import reject_cosmic_rays
from cpflow.steps.defects import find_defects
from cpflow.steps.options import Combine, CosmicRays, Defects, Isr, Overscan, ParallelOverscan
from cpflow.steps.signature import isr

__all__ = [
    "Combine",
    "CosmicRays",
    "Defects",
    "Isr",
    "Overscan",
    "ParallelOverscan",
    "assemble",
    "combine",
    "find_defects",
    "isr",
    "reject_cosmic_rays",
]
