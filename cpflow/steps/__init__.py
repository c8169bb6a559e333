"""Steps of a calibration: lazy stacks and datasets in, lazy ones out."""

from cpflow.stack.geometry import assemble
from cpflow.steps.bf_kernel import solve_kernels
from cpflow.steps.combination import combine
from cpflow.steps.combined_defects import find_combined_defects
from cpflow.steps.cosmic_rays import reject_cosmic_rays
from cpflow.steps.crosstalk import measure_crosstalk
from cpflow.steps.cti import measure_cti
from cpflow.steps.defects import find_defects
from cpflow.steps.fringe_pattern import combine_fringes
from cpflow.steps.linearity import linearity_of_flats, solve_linearity
from cpflow.steps.options import (
    BfKernel,
    Combine,
    CosmicRays,
    CrosstalkMeasure,
    Cti,
    Defects,
    FringePattern,
    Isr,
    Linearity,
    Overscan,
    ParallelOverscan,
    Ptc,
    Sky,
)
from cpflow.steps.ptc import measure_ptc
from cpflow.steps.signature import isr
from cpflow.steps.sky import combine_sky

__all__ = [
    "BfKernel",
    "Combine",
    "CosmicRays",
    "CrosstalkMeasure",
    "Cti",
    "Defects",
    "FringePattern",
    "Isr",
    "Linearity",
    "Overscan",
    "ParallelOverscan",
    "Ptc",
    "Sky",
    "assemble",
    "combine",
    "combine_fringes",
    "combine_sky",
    "find_combined_defects",
    "find_defects",
    "isr",
    "linearity_of_flats",
    "measure_crosstalk",
    "measure_cti",
    "measure_ptc",
    "reject_cosmic_rays",
    "solve_kernels",
    "solve_linearity",
]
