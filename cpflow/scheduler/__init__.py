"""Cluster profiles, execution, resume, provenance and commit."""

from cpflow.scheduler.events import Event, Listener
from cpflow.scheduler.profile_files import load_profile
from cpflow.scheduler.profiles import Profile
from cpflow.scheduler.run import Run, run_plan

__all__ = ["Event", "Listener", "Profile", "Run", "load_profile", "run_plan"]
