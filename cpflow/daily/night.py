"""One night: ingest, verify what is in force, build, verify, certify for the day, report.

Everything has a name that follows from the day, and plans know what they were made from: a night
that is run again finds what is done, does what is missing, and changes nothing else.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpflow.daily.acceptance import accepted
from cpflow.daily.history import add_to_history, medians, read_history, unusual
from cpflow.daily.options import DailyOptions, Step
from cpflow.errors import (
    CalibrationLookupError,
    CpflowError,
    InterruptedRunError,
    NoDataError,
    UsageError,
)
from cpflow.graph import verifying_graph
from cpflow.locks import hold
from cpflow.permissions import make_directory
from cpflow.plan import Plan
from cpflow.registry import DatasetRef
from cpflow.report.verification import verification_report
from cpflow.scheduler import run_plan
from cpflow.scheduler.events import ignore
from cpflow.session import Repo
from cpflow.store import write_text
from cpflow.timespan import isoformat
from cpflow.verify.validity import day_of

if TYPE_CHECKING:
    from cpflow.exposure import Exposure
    from cpflow.scheduler import Profile
    from cpflow.scheduler.events import Listener

logger = logging.getLogger(__name__)

DIRECTORY = "daily"


@dataclass
class StepOutcome:
    """What a night came to for one product.

    `external` and `internal` are the verdicts of what was in force and of what was built;
    `certified` the collection that it went to.
    """

    product: str
    exposures: int
    note: str = ""
    external: str = ""
    internal: str = ""
    run: str = ""
    certified: str = ""
    failures: list[str] = field(default_factory=list)
    unusual: list[str] = field(default_factory=list)
    error: str = ""
    reports: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Daily:
    """What a night came to."""

    day_obs: int
    ingested: int
    refused: tuple[str, ...]
    """Files that could not be ingested, and why."""
    steps: tuple[StepOutcome, ...]
    directory: Path

    @property
    def exit_code(self) -> int:
        """0 all right, 4 something could not be read or built, 5 a verification failed."""
        if self.refused or any(step.error for step in self.steps):
            return 4
        failed = any("fail" in (step.external, step.internal) for step in self.steps)
        return 5 if failed else 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "day_obs": self.day_obs,
            "ingested": self.ingested,
            "refused": list(self.refused),
            "exit_code": self.exit_code,
            "steps": [asdict(step) for step in self.steps],
            "directory": str(self.directory),
        }


def run_night(
    repository: Repo,
    day_obs: int,
    options: DailyOptions,
    *,
    paths: Sequence[str | Path] = (),
    profile: Profile | None = None,
    listener: Listener | None = None,
) -> Daily:
    """Do what is done with a night; again, if it was done already.

    Parameters
    ----------
    repository : Repo
    day_obs : int
        Observing day, YYYYMMDD.
    options : DailyOptions
    paths : sequence of path
        Raw files to ingest first.
    profile : Profile, optional
        Where to run.
    listener : callable, optional
        Hears what happens.

    Raises
    ------
    UsageError
        If another process is at it.
    """
    try:
        day_of(day_obs)
    except ValueError as error:
        raise UsageError(f"{day_obs} is no observing day", hint="write it as 20210715") from error
    with locked(repository.root / DIRECTORY):
        report = repository.ingest(*paths) if paths else None
        night = _Night(repository, day_obs, options, profile, listener)
        outcomes = tuple(night.step(step) for step in options.steps)
        done = Daily(
            day_obs,
            0 if report is None else len(report.added),
            () if report is None else tuple(f"{r.path}: {r.error.message}" for r in report.refused),
            outcomes,
            night.directory,
        )
        write_text(night.directory / "summary.json", json.dumps(done.as_dict(), indent=1))
        return done


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of all nights of a repository.

    Raises
    ------
    UsageError
        If another process holds it.
    """
    path = directory / "lock"
    with ExitStack() as stack:
        try:
            handle = stack.enter_context(hold(path, seconds=0))
        except BlockingIOError as error:
            raise UsageError(
                f"another process is at a night of this repository: {path.read_text().strip()}",
                hint="wait for it; it does the same",
            ) from error
        handle.truncate(0)
        handle.write(f"pid {os.getpid()} on {socket.gethostname()}")
        handle.flush()
        yield


@dataclass(frozen=True)
class _Night:
    repository: Repo
    day_obs: int
    options: DailyOptions
    profile: Profile | None
    listener: Listener | None

    @property
    def directory(self) -> Path:
        return self.repository.root / DIRECTORY / str(self.day_obs)

    @property
    def raws(self) -> str:
        return f"{self.options.instrument}/raw/all"

    def step(self, step: Step) -> StepOutcome:
        """Do one product; an error is recorded, and the others go on."""
        query = (
            f"instrument='{self.options.instrument}' AND day_obs={self.day_obs} AND ({step.where})"
        )
        outcome = StepOutcome(step.product, 0)
        try:
            exposures = self.repository.exposures(query)
            outcome.exposures = len(exposures)
            if len(exposures) < step.min_exposures:
                outcome.note = f"{len(exposures)} exposures, {step.min_exposures} are needed"
                return outcome
            if step.external:
                self._external(step, exposures, outcome)
            if step.build:
                self._build(step, exposures, outcome)
        except InterruptedRunError:
            raise
        except CpflowError as error:
            logger.error("%s of %d: %s", step.product, self.day_obs, error)
            outcome.error = str(error)
        return outcome

    def _external(self, step: Step, exposures: Sequence[Exposure], outcome: StepOutcome) -> None:
        """Verify what is in force with the night's exposures."""
        graph = verifying_graph(step.product, self.repository.root).name
        try:
            plan = self._plan(graph, exposures, self.options.search_path, step.verify_config)
        except (CalibrationLookupError, NoDataError) as error:
            outcome.note = f"nothing is in force to verify: {error.message}"
            return
        refs = self._run(plan, f"external/{step.product}")
        outcome.external = self._judge(step, "external", refs, outcome)

    def _build(self, step: Step, exposures: Sequence[Exposure], outcome: StepOutcome) -> None:
        """Build from the night's exposures, verify it with them, and certify it for the day."""
        path = self.options.search_path
        refs = self._run(self._plan(step.product, exposures, path, step.config), step.product)
        outcome.run = refs[0].run
        graph = verifying_graph(step.product, self.repository.root).name
        plan = self._plan(
            graph, exposures, (outcome.run, *path), step.verify_config, candidate=outcome.run
        )
        checked = self._run(plan, f"internal/{step.product}")
        outcome.internal = self._judge(step, "internal", checked, outcome)
        if step.certify and outcome.internal == "pass":
            self._certify(step, refs, outcome)

    def _plan(
        self,
        graph: str,
        exposures: Sequence[Exposure],
        path: Sequence[str],
        config: Mapping[str, Any],
        candidate: str | None = None,
    ) -> Plan:
        return self.repository.plan(
            graph,
            exposures,
            inputs=(*path, self.raws),
            config=dict(config),
            candidate=candidate,
        )

    def _run(self, plan: Plan, name: str) -> tuple[DatasetRef, ...]:
        """Run a plan, unless its RUN is there and was made from the same."""
        base = f"{self.options.runs_of(self.day_obs)}/{name}"
        registry = self.repository.registry
        existing = set(registry.collection_names())
        count = 1
        while (run := base if count == 1 else f"{base}-{count}") in existing:
            found = registry.collection(run)
            if found.state == "complete" and found.facts.get("identity") == plan.identity:
                logger.info("%s is there already", run)
                return tuple(registry.datasets("*", collections=[run]))
            # Other exposures, other values or another version: what was made stays.
            count += 1
        built = run_plan(
            plan, output_run=run, profile=self.profile, listener=self.listener or ignore
        )
        return built.datasets

    def _judge(
        self, step: Step, kind: str, refs: Sequence[DatasetRef], outcome: StepOutcome
    ) -> str:
        """Return pass or fail, and note what failed and what is unusual."""
        history = self.repository.root / DIRECTORY / "history.ndjson"
        verdict = "pass"
        report = verification_report(self.repository, refs[0].run)
        for one in report.verified():
            ref, table = one.ref, one.columns
            good, failures = accepted(table, self.options.acceptance)
            if not good:
                verdict = "fail"
            label = f"{kind} {ref.data_id.detector}"
            outcome.failures += [f"{label}: {failure}" for failure in failures]
            record = {
                "day_obs": self.day_obs,
                "product": step.product,
                "kind": f"{kind}/{ref.data_id.key}",
                "verdict": "pass" if good else "fail",
                "failures": len(failures),
                "run": ref.run,
                "medians": medians(table),
            }
            notes = unusual(record, read_history(history), self.options.baseline)
            outcome.unusual += [f"{label}: {note}" for note in notes]
            add_to_history(history, [record])
        page = self.directory / f"{kind}-{step.product}.html"
        make_directory(page.parent)
        outcome.reports += [str(path) for path in report.save(page)]
        return verdict

    def _certify(self, step: Step, refs: Sequence[DatasetRef], outcome: StepOutcome) -> None:
        """Certify for the observing day, from noon to noon; what is held already stays."""
        collection = self.options.collection_of(step.product)
        noon = datetime.combine(day_of(self.day_obs), time(12))
        begin, end = noon.isoformat(), (noon + timedelta(days=1)).isoformat()
        existing = set(self.repository.registry.collection_names())
        held = self.repository.certified(collection, step.product) if collection in existing else []
        wanted = {ref.id for ref in refs}
        done = {
            c.dataset.id
            for c in held
            if c.timespan.begin is not None and isoformat(c.timespan.begin)[:19] == begin[:19]
        }
        if not wanted <= done:
            self.repository.certify(
                refs[0].run, collection, step.product, begin=begin, end=end, replace=True
            )
        outcome.certified = collection
