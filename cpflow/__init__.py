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
    "Defects": "cpflow.steps",
    "GraphConfig": "cpflow.graph.config",
    "Isr": "cpflow.steps",
    "Overscan": "cpflow.steps",
    "Repo": "cpflow.session",
    "Select": "cpflow.graph.select",
    "assemble": "cpflow.steps",
    "combine": "cpflow.steps",
    "find_defects": "cpflow.steps",
    "isr": "cpflow.steps",
    "reject_cosmic_rays": "cpflow.steps",
    "open_stack": "cpflow.stack",
}

__all__ = [
    "Combine",
    "CosmicRays",
    "Defects",
    "GraphConfig",
    "Isr",
    "Overscan",
    "Repo",
    "Select",
    "__version__",
    "assemble",
    "combine",
    "find_defects",
    "isr",
    "open_stack",
    "reject_cosmic_rays",
]

if TYPE_CHECKING:
    from cpflow.graph.config import GraphConfig
    from cpflow.graph.select import Select
    from cpflow.session import Repo
    from cpflow.stack import open_stack
    from cpflow.steps import (
        Combine,
        CosmicRays,
        Defects,
        Isr,
        Overscan,
        assemble,
        combine,
        find_defects,
        isr,
        reject_cosmic_rays,
    )


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'cpflow' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
