"""Construct, verify and certify CCD calibrations as lazy Dask graphs.

Start with `Repo`; write graphs with `Select`, `GraphConfig`, `isr` and `combine`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public names and where they live; loaded when first asked for, so that `import cpflow` and the
# command line start without numpy, xarray or a database.
_PUBLIC = {
    "Combine": "cpflow.steps",
    "CosmicRays": "cpflow.steps",
    "CpflowError": "cpflow.errors",
    "GraphConfig": "cpflow.graph.config",
    "Isr": "cpflow.steps",
    "Overscan": "cpflow.steps",
    "Repo": "cpflow.session",
    "Select": "cpflow.graph.select",
    "Timespan": "cpflow.timespan",
    "assemble": "cpflow.steps",
    "combine": "cpflow.steps",
    "isr": "cpflow.steps",
    "reject_cosmic_rays": "cpflow.steps",
    "open_stack": "cpflow.stack",
}

__all__ = [
    "Combine",
    "CosmicRays",
    "CpflowError",
    "GraphConfig",
    "Isr",
    "Overscan",
    "Repo",
    "Select",
    "Timespan",
    "__version__",
    "assemble",
    "combine",
    "isr",
    "open_stack",
    "reject_cosmic_rays",
]

if TYPE_CHECKING:
    from cpflow.errors import CpflowError
    from cpflow.graph.config import GraphConfig
    from cpflow.graph.select import Select
    from cpflow.session import Repo
    from cpflow.stack import open_stack
    from cpflow.steps import (
        Combine,
        CosmicRays,
        Isr,
        Overscan,
        assemble,
        combine,
        isr,
        reject_cosmic_rays,
    )
    from cpflow.timespan import Timespan


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'cpflow' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
