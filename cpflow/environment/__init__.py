"""Can cpflow work here? Python, packages, kernels, this machine, files of one's own.

Nothing of it needs a repository. Workers of a cluster ask themselves the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from cpflow.environment.kernels import examine_kernels
from cpflow.environment.machine import examine_machine
from cpflow.environment.own_files import examine_own_files
from cpflow.environment.packages import examine_packages
from cpflow.findings import Finding

__all__ = ["examine_environment", "examine_kernels"]


def examine_environment() -> Iterator[Finding]:
    """Yield what is found, sound or not, of everything that cpflow stands on."""
    yield from examine_packages()
    yield from examine_kernels()
    yield from examine_machine()
    yield from examine_own_files()
