"""The order of work: several products at once, but never the whole plan."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cpflow.errors import CpflowError, MissingCalibrationError
from cpflow.plan import Plan, PlannedProduct, together_of
from cpflow.scheduler.binding import Binding
from cpflow.scheduler.events import Event, Listener
from cpflow.scheduler.executors import Executor
from cpflow.scheduler.finish import Finished
from cpflow.scheduler.jobs import Job, product_job, solution_jobs
from cpflow.scheduler.summary import log_summary
from cpflow.scheduler.task_errors import product_error
from cpflow.store import Staging

logger = logging.getLogger(__name__)


@dataclass
class Flow:
    """Computes the products of a plan, a bounded number at a time.

    In the order of the plan, except that a product waits for those that it is made with, and for a
    solution over detectors. While the last tasks of one run, those of the next one begin. Values
    do not depend on how many are in flight, since each task is a function of its inputs.

    Parameters
    ----------
    plan : Plan
    staging : Staging
    runner : Executor
    listener : callable
    run_of : callable
        Returns the RUN that a product goes to.
    in_flight : int
        Products, or parts of a solution, that are computed at once.
    made : mapping of str to path
        By slug, the products that an earlier attempt has published, and where they are.
    """

    plan: Plan
    staging: Staging
    runner: Executor
    listener: Listener
    run_of: Callable[[PlannedProduct], str]
    in_flight: int
    made: Mapping[str, Path] = field(default_factory=dict)
    finished: dict[str, Finished] = field(default_factory=dict)
    failed: dict[str, CpflowError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._binding = Binding(self.staging, self.made)
        self._left = {p.slug: p for p in self.plan.products if p.slug not in self.made}
        self._waits: dict[str, set[str]] = {}
        self._needed_by: dict[str, list[PlannedProduct]] = {}
        for product in self.plan.products:
            self._waits[product.slug] = {
                source.slug for source in product.promises if source.slug not in self.made
            }
            for slug in self._waits[product.slug]:
                self._needed_by.setdefault(slug, []).append(product)
        self._running: dict[str, _Running] = {}
        self._prepared: dict[str, Job] = {}
        self._together: dict[str, Mapping[str, Mapping[Any, Any]]] = {}
        self._solving: dict[str, _Solving] = {}
        self._unsolved: dict[str, CpflowError] = {}

    def run(self) -> None:
        """Compute everything that can be; what cannot is in `failed` then.

        Raises
        ------
        InterruptedRunError, ClusterLostError
            And whatever else is not the fault of one product, such as a full disk.
        """
        for product in self.plan.products:
            if product.slug in self.made:
                self.listener(Event("kept", product.label, detector=product.detector.id))
        while True:
            while len(self._running) < self.in_flight and self._start_next():
                pass
            if not self._running:
                break
            self._take()

    # -- what is next -----------------------------------------------------------------------

    def _start_next(self) -> bool:
        """Start something that waits for nothing; False if there is no such thing now."""
        if self._start_part():
            return True
        for product in list(self._left.values()):
            if self._waits[product.slug]:
                continue
            together = self._together_of(product)
            if self._solving.keys() & together.keys() and product.slug not in self._prepared:
                continue
            if self._ready(product, together):
                del self._left[product.slug]
                job = self._prepared.pop(product.slug)
                self._submit(product.slug, product, job, self._started(product, job))
                return True
            if self._start_part():
                return True
        return False

    def _start_part(self) -> bool:
        """Start a part of a solution over detectors."""
        for key, solving in self._solving.items():
            if solving.waiting and (len(solving.waiting) > 1 or not solving.running):
                job = solving.waiting.popleft()
                solving.running += 1
                self._submit(job.key, solving.product, job, solving.progress, solves=key)
                return True
        return False

    def _together_of(self, product: PlannedProduct) -> Mapping[str, Mapping[Any, Any]]:
        if product.slug not in self._together:
            self._together[product.slug] = together_of(product)
        return self._together[product.slug]

    def _ready(self, product: PlannedProduct, together: Mapping[str, Mapping[Any, Any]]) -> bool:
        """Whether all is there that a product takes; a solution that is not is begun."""
        if product.slug not in self._prepared:
            run = self.run_of(product)
            self._prepared[product.slug] = product_job(product, self.plan, run, self.staging)
        unknown = self._binding.unknown(self._prepared[product.slug].nodes, together)
        for key in unknown:
            if key in self._unsolved:
                self._fail(product, self._unsolved[key])
                return False
            if key not in self._solving:
                jobs = solution_jobs(key, together[key], self.staging)
                label = f"{product.type} of {product.instrument}, all detectors"
                progress = _Progress(self.listener, label, sum(len(job.nodes) for job in jobs))
                self._solving[key] = _Solving(product, deque(jobs), progress)
        return not unknown

    def _started(self, product: PlannedProduct, job: Job) -> _Progress:
        if job.kept or job.kept_values:
            self.listener(
                Event("resumed", product.label, job.kept, job.parts, detector=product.detector.id)
            )
            logger.info(
                "%s: %d of %d parts are done already, and %d values of tasks",
                product.label,
                job.kept,
                job.parts,
                job.kept_values,
                extra={"detector": product.detector.id},
            )
        return _Progress(
            self.listener,
            product.label,
            len(job.nodes),
            product.detector.id,
            product.facts.bytes_to_read,
        )

    def _submit(
        self,
        name: str,
        product: PlannedProduct,
        job: Job,
        progress: _Progress,
        *,
        solves: str | None = None,
    ) -> None:
        value = self._binding.bind(job.key, job.nodes, product.promises)
        self._running[name] = _Running(product, progress, solves)
        self.runner.submit(name, value, progress.tick)

    # -- what is done -----------------------------------------------------------------------

    def _take(self) -> None:
        """Wait for the next job, and take what it yields."""
        outcome = self.runner.completed()
        running = self._running.pop(outcome.name, None)
        if running is None:
            # A part of a solution that failed meanwhile.
            return
        error = None if outcome.error is None else product_error(outcome.error, running.product)
        if running.solves is not None:
            self._solved(running.solves, outcome.name, outcome.value, error)
        elif error is not None:
            self._fail(running.product, error)
        else:
            self._finish(running.product, outcome.value)
            running.progress.finish()

    def _solved(self, key: str, name: str, value: Any, error: CpflowError | None) -> None:
        solving = self._solving.get(key)
        if solving is None:
            return
        if error is not None:
            # The same for all detectors: none of them can be scaled.
            self._unsolved[key] = error
            del self._solving[key]
            return
        if name == key:
            solving.progress.finish()
        solving.running -= 1
        self._binding.solutions[name] = value
        solving.parts.append(name)
        if name == key:
            del self._solving[key]
            for part in solving.parts[:-1]:
                del self._binding.solutions[part]

    def _finish(self, product: PlannedProduct, result: Finished) -> None:
        self.finished[product.slug] = result
        for other in self._needed_by.get(product.slug, ()):
            self._waits[other.slug].discard(product.slug)
        log_summary(product, result)

    def _fail(self, product: PlannedProduct, error: CpflowError) -> None:
        """Leave out a product, and all that are made with it, the nearest first."""
        failing = deque([(product, error)])
        while failing:
            one, why = failing.popleft()
            if one.slug in self.failed:
                continue
            self.failed[one.slug] = why
            self._left.pop(one.slug, None)
            self._prepared.pop(one.slug, None)
            event = Event.of_error(
                "failed" if one is product else "blocked",
                one.label,
                why,
                detector=one.detector.id,
            )
            logger.error(
                "%s failed: %s",
                one.label,
                why,
                extra={"detector": event.detector, "exposure": event.exposure},
            )
            self.listener(event)
            for other in self._needed_by.get(one.slug, ()):
                missing = MissingCalibrationError(
                    f"{other.label} is not built: the {one.type} that it needs failed",
                    hint=f"see to {one.label} first",
                )
                failing.append((other, missing))


class _Progress:
    """Tells how many tasks of something are done."""

    def __init__(
        self,
        listener: Listener,
        label: str,
        total: int,
        detector: int | None = None,
        size: int = 0,
    ) -> None:
        self.listener, self.label, self.total, self.detector = listener, label, total, detector
        self.done = 0
        listener(Event("started", label, 0, total, detector=detector, size=size))

    def tick(self, key: str) -> None:
        """One more task is done."""
        self.done = min(self.done + 1, self.total)
        self._tell("progress", key)

    def finish(self) -> None:
        """All are."""
        self.done = self.total
        self._tell("finished")

    def _tell(self, kind: Literal["progress", "finished"], key: str = "") -> None:
        self.listener(
            Event(kind, self.label, self.done, self.total, key=key, detector=self.detector)
        )


@dataclass
class _Running:
    """A job that was submitted."""

    product: PlannedProduct
    progress: _Progress
    solves: str | None


@dataclass
class _Solving:
    """A solution over detectors on its way; the last of the waiting jobs needs all others."""

    product: PlannedProduct
    waiting: deque[Job]
    progress: _Progress
    running: int = 0
    parts: list[str] = field(default_factory=list)
