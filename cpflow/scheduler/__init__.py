"""Cluster profiles, execution, resume, provenance and commit."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Public names and where they live; loaded when first asked for. Profiles are read, and completed
# in a shell, without what it takes to run a plan.
_PUBLIC = {
    "Event": "cpflow.scheduler.events",
    "Listener": "cpflow.scheduler.events",
    "Profile": "cpflow.scheduler.profiles",
    "Run": "cpflow.scheduler.run",
    "load_profile": "cpflow.scheduler.profile_files",
    "run_plan": "cpflow.scheduler.run",
}

__all__ = ["Event", "Listener", "Profile", "Run", "load_profile", "run_plan"]

if TYPE_CHECKING:
    from cpflow.scheduler.events import Event, Listener
    from cpflow.scheduler.profile_files import load_profile
    from cpflow.scheduler.profiles import Profile
    from cpflow.scheduler.run import Run, run_plan


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'cpflow.scheduler' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value
