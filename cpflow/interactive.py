"""A run as a notebook sees it: progress while it goes on, then its log, report and products."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from cpflow.errors import UsageError
from cpflow.plan import Plan
from cpflow.scheduler import Profile, Run, load_profile, run_plan

if TYPE_CHECKING:
    from cpflow.report.product import Report
    from cpflow.report.verification import VerificationReport


@dataclass(frozen=True)
class BuiltRun(Run):
    """A run as a notebook holds it: with its log, and the report of its product."""

    log: tuple[str, ...] = field(default=(), repr=False)

    @property
    def report(self) -> Report | VerificationReport:
        """The report of the product; shown in a notebook, or ``report.save("bias.html")``.

        That of a run that verified is about all its verifications.

        Raises
        ------
        UsageError
            If the run has several products.
        """
        from cpflow.report.product import Report
        from cpflow.report.verification import verification_report

        if any(ref.type.endswith("_verification") for ref in self.datasets):
            return verification_report(self.plan.repository, self.name)
        if len(self.datasets) != 1:
            raise UsageError(f"the run has {len(self.datasets)} products, name one of them")
        return Report(self.plan.repository, self.datasets[0])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(str(ref))}</td><td>{escape(ref.checksum[:19])}</td></tr>"
            for ref in self.datasets
        )
        return f"<p>{escape(repr(self))}</p><table>{rows}</table>"


class _Lines(logging.Handler):
    """Keeps the log lines of one run."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line; how far it has come is of no interest afterwards."""
        if record.name == "cpflow.report.progress":
            return
        self.lines.append(f"{record.levelname}: {record.getMessage()}")


def run_interactively(
    plan: Plan, client: Any = None, *, cluster: str | Profile | None = None, **options: Any
) -> BuiltRun:
    """Run a plan with progress shown, and keep what is logged; `plan.run` of a notebook.

    Parameters
    ----------
    plan : Plan
    client : distributed.Client, optional
        An open client to run on.
    cluster : str or Profile, optional
        Where to run otherwise: a profile, its name or its file, or an address.
    **options
        Those of `cpflow.scheduler.run_plan`.

    Raises
    ------
    UsageError
        If both a client and a cluster are named.
    """
    from cpflow.report.progress import progress_listener

    if cluster is not None:
        if client is not None or "profile" in options:
            raise UsageError("name a client or a cluster, not both")
        options["profile"] = load_profile(cluster, repo_root=plan.repository.root)
    handler = _Lines()
    package = logging.getLogger("cpflow")
    level = package.level
    package.addHandler(handler)
    if package.getEffectiveLevel() > logging.INFO:
        package.setLevel(logging.INFO)
    try:
        with progress_listener() as listener:
            run = run_plan(plan, client=client, **{"listener": listener, **options})
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
    return BuiltRun(**vars(run), log=tuple(handler.lines))
