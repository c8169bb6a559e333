"""Whether the workers of a profile have the memory that a plan takes."""

from __future__ import annotations

import math
from bisect import bisect_left

from cpflow.errors import UsageError
from cpflow.plan import Plan
from cpflow.scheduler.profiles import AddressProfile, Profile, ThreadsProfile
from cpflow.sizes import size_text

# What Dask lets a worker fill before it starts no more tasks: distributed.worker.memory.pause.
PAUSE = 0.8
# A limit is to catch what goes astray. Below this, libraries that load would.
_LEAST_LIMIT = 2**30


def worker_memory(plan: Plan, profile: Profile, *, band_rows: int | None = None) -> int:
    """Return the memory limit, in bytes, that each worker needs for a plan.

    At the peak that the plan states a worker is not yet paused. The measurements of all products
    in flight are counted for each worker, since a band needs those of all exposures.
    """
    taken = plan.memory(
        profile.worker.threads, in_flight=plan.in_flight(profile.cores), band_rows=band_rows
    )
    return max(_LEAST_LIMIT, math.ceil(taken / PAUSE))


def check_workers(plan: Plan, profile: Profile) -> None:
    """Refuse a profile whose workers are too small for a plan, before anything runs.

    Raises
    ------
    UsageError
        If they are, with the band height that would fit.
    """
    memory = profile.worker.memory
    if memory is None or isinstance(profile, ThreadsProfile):
        return
    needed = worker_memory(plan, profile)
    if needed <= memory:
        return
    tasks = profile.worker.threads
    raise UsageError(
        f"workers with {size_text(memory)} are too small: {tasks} task{'s' * (tasks > 1)} of this "
        f"plan at once take{'s' * (tasks == 1)} a worker of {size_text(needed)}",
        hint=_remedy(plan, profile, memory),
    )


def _remedy(plan: Plan, profile: Profile, memory: int) -> str:
    rows = fitting_rows(plan, profile, memory)
    if rows is not None:
        return f"--band-rows {rows} fits"
    least = worker_memory(plan, profile, band_rows=1)
    whose = "" if isinstance(profile, AddressProfile) else " (worker.memory of the profile)"
    return f"no height of bands fits: give each worker {size_text(least)}{whose}" + (
        ", or fewer threads" if profile.worker.threads > 1 else ""
    )


def fitting_rows(plan: Plan, profile: Profile, memory: int) -> int | None:
    """Return the largest band height whose tasks fit into workers of a size, if there is one."""
    most = max(product.facts.band_rows for product in plan.products)
    # Memory grows with the height: the first one that is too large ends those that fit.
    too_large = bisect_left(
        range(1, most + 1),
        True,
        key=lambda rows: worker_memory(plan, profile, band_rows=rows) > memory,
    )
    return too_large or None
