"""How long a plan would take on a cluster, from what tasks took on one core.

Every figure is from ``benchmarks/task_times.py``: full-size LATISS frames (16 amplifiers of 2048 x
576 pixels), uncompressed and in the page cache, one thread on an AMD EPYC with AVX-512. Seconds are
for a million pixels of one raw frame, or of the product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cpflow.camera import Detector
from cpflow.plan.facts import kind_of, task_keys
from cpflow.sizes import size_text

if TYPE_CHECKING:
    from cpflow.plan.plan import Plan
    from cpflow.plan.product import PlannedProduct

_MEGA = 1e6
# Looks at a whole frame. Those that were not measured are taken for the slowest.
_LOOKS = {"measure-readout": 0.0044, "measure-level": 0.028, "measure-cosmic_rays": 0.062}
# A pair of flats, covariances and all: benchmarks/ptc_pairs.py, 1.2 s of LATISS.
_PAIR = 0.064
# A band, for each exposure; with calibrations that are images, or without any.
_BAND, _PLAIN_BAND = 0.0079, 0.0050
# Reading one calibration, and writing the bands and the product: of the product's pixels.
_CALIBRATION = 0.093
_FINISH = 0.135
# Processor time of the scheduler, which is one thread, for each task.
SCHEDULER_TASK_SECONDS = 0.00065


# Assumed: what a shared file system delivers to all workers together. Not measured anywhere.
FILE_SYSTEM = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Projection:
    """What a plan would take on so many cores."""

    cores: int
    core_seconds: float
    """Of all tasks together."""
    scheduler_seconds: float
    """What the scheduler takes for all tasks, one after the other."""
    last_seconds: float
    """From the first to the last task of one product: its tasks wait for each other."""
    bytes_to_read: int
    bytes_per_second: float
    """What the file system is taken to deliver."""

    @property
    def reading_seconds(self) -> float:
        """What the file system takes, one byte after the other."""
        return self.bytes_to_read / self.bytes_per_second

    @property
    def computing_seconds(self) -> float:
        """Wall time if the files were read without waiting."""
        return max(self.core_seconds / self.cores, self.scheduler_seconds) + self.last_seconds

    @property
    def seconds(self) -> float:
        """Wall time: cores, scheduler or file system, the slowest, and the end of the last."""
        return max(self.computing_seconds, self.reading_seconds + self.last_seconds)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What has to hold for it."""
        return (
            "a task takes what it took on one core of the machine that benchmarks/task_times.py "
            "ran on, and a look that was not timed there as much as the slowest",
            f"the file system delivers {size_text(self.bytes_per_second)}/s to all workers "
            "together (assumed, not measured)",
            f"the scheduler takes {1000 * SCHEDULER_TASK_SECONDS:g} ms a task, and no worker is "
            "lost",
        )


def project(plan: Plan, cores: int, *, file_system: float = FILE_SYSTEM) -> Projection:
    """Return how long a plan would take on so many cores.

    Parameters
    ----------
    plan : Plan
    cores : int
        One task runs on each; `Plan.in_flight` keeps them busy.
    file_system : float
        Bytes per second that all workers together get from it.

    Notes
    -----
    The sum of all tasks over the cores, or the scheduler's own time, or that of reading, whichever
    is longest; and at the end the tasks of one product that wait for each other.
    """
    total = sum(product.seconds[0] for product in plan.products)
    last = max(product.seconds[1] for product in plan.products)
    largest = max((p.detector for p in plan.products), key=lambda d: d.shape[0] * d.shape[1])
    total += sum(_of_looks(largest, solution.kinds) for solution in plan.together)
    return Projection(
        cores,
        total,
        plan.tasks * SCHEDULER_TASK_SECONDS,
        last,
        plan.bytes_to_read,
        file_system,
    )


def seconds_of(product: PlannedProduct) -> tuple[float, float]:
    """Return the core seconds of a product, and those from its first to its last task."""
    kinds = Counter(kind_of(key) for key in task_keys(product.dataset))
    return _of_product(product.detector, len(product.raws), kinds)


def _raw(detector: Detector) -> float:
    rows, columns = detector.raw_shape
    return rows * columns * len(detector.amplifiers) / _MEGA


def _of_looks(detector: Detector, kinds: Mapping[str, int]) -> float:
    slowest = max(_LOOKS.values())
    looks = sum(
        count * _LOOKS.get(kind, slowest)
        for kind, count in kinds.items()
        if kind.startswith("measure-")
    )
    pairs = sum(count for kind, count in kinds.items() if kind.startswith("pair-"))
    return _raw(detector) * (looks + pairs * _PAIR)


def _of_product(
    detector: Detector, exposures: int, kinds: Mapping[str, int]
) -> tuple[float, float]:
    """Return the seconds of all tasks of a product, and of the longest row of them."""
    pixels = detector.shape[0] * detector.shape[1] / _MEGA
    images = sum(kind.startswith("rows-") for kind in kinds)
    bands = sum(count for kind, count in kinds.items() if kind.endswith("-band"))
    combining = 0.0
    if bands:
        combining = _raw(detector) * exposures * (_BAND if images else _PLAIN_BAND)
    reading, finishing = images * pixels * _CALIBRATION, pixels * _FINISH
    total = _of_looks(detector, kinds) + combining + reading + finishing
    one = {kind: 1 for kind in kinds if kind.startswith(("measure-", "pair-"))}
    row = _of_looks(detector, one) + combining / max(1, bands) + finishing
    return total, row
