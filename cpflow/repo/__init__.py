"""Repositories: registry and store under one root."""

from cpflow.repo.exposures import Exposures
from cpflow.repo.repository import Repository

__all__ = ["Exposures", "Repository"]
