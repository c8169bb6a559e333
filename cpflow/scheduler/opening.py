"""The beginning of a run: its output, and a name that nobody else has taken."""

from __future__ import annotations

import logging
import os
import shutil
import socket
from datetime import UTC, datetime
from typing import Any

from cpflow.errors import UsageError
from cpflow.plan import Plan
from cpflow.registry import CollectionType
from cpflow.registry.names import check_collection_name
from cpflow.scheduler.publication import run_names
from cpflow.store import Staging, being_run

logger = logging.getLogger(__name__)


def check_output(
    plan: Plan, output: str | None, output_run: str | None, *, resumed: str | None
) -> None:
    """Refuse an output that cannot be published, before anything is computed.

    Parameters
    ----------
    plan : Plan
    output, output_run : str, optional
        Chain and RUN.
    resumed : str, optional
        RUN of an earlier attempt: what it has published is kept.

    Raises
    ------
    UsageError
        If the chain is none, the RUN exists, or an input does not.
    AccessError
        If the user may not write to the repository.
    """
    # A name that cannot be is refused before anything is computed; the run's is longer.
    for name in (output, output_run, None if output is None else f"{output}/00000000T000000Z"):
        if name is not None:
            check_collection_name(name)
    registry = plan.repository.registry
    names = set(registry.collection_names())
    for name in plan.inputs:
        registry.collection(name)
    if output is not None and output in names:
        kind = registry.collection(output).type
        if kind is not CollectionType.CHAINED:
            raise UsageError(
                f"output {output} exists and is a {kind} collection, not a chain",
                hint="name another one with -o",
            )
    for name in () if output_run is None else run_names(plan, output_run):
        check_collection_name(name)
        if name in names and output_run != resumed:
            raise _exists(name)
    plan.repository.check_writable([str(output_run or output)])


def open_run(
    staging: Staging, plan: Plan, output: str | None, output_run: str | None
) -> dict[str, Any]:
    """Return the facts of the interrupted run in `staging`, or those of a new one.

    Its name is written down while nobody else chooses one: a RUN is of one plan only, and what is
    published under a name that two have would be at odds with the registry.

    Raises
    ------
    UsageError
        If the RUN exists, or another plan is building it; nothing is left then.
    """
    facts = staging.facts()
    if facts:
        logger.info("resuming run %s", facts["run"])
    # What a client left that went away; its tasks may still be writing there.
    shutil.rmtree(staging.products, ignore_errors=True)
    store = plan.repository.store
    try:
        with store.naming():
            facts = facts or _new_run(staging, plan, output, output_run)
            _refuse_same_run(staging, plan, str(facts["run"]))
            facts.update(pid=os.getpid(), host=socket.gethostname())
            staging.write_facts(facts)
    except UsageError:
        if not staging.facts():
            store.discard(staging)
        raise
    return facts


def _new_run(
    staging: Staging, plan: Plan, output: str | None, output_run: str | None
) -> dict[str, Any]:
    started = datetime.now(UTC)
    taken = set(plan.repository.registry.collection_names())
    if output_run is not None:
        run = output_run
        for name in taken.intersection(run_names(plan, run)):
            raise _exists(name)
    else:
        # Interrupted runs have names, too.
        taken |= {str(other.facts().get("run")) for other in plan.repository.store.stagings()}
        first = run = f"{output}/{started.strftime('%Y%m%dT%H%M%SZ')}"
        count = 1
        while taken.intersection(run_names(plan, run)):
            count += 1
            run = f"{first}-{count}"
    return {
        "run": run,
        "output": output,
        "identity": plan.identity,
        "graph": plan.graph.name,
        "query": plan.query,
        "started": started.isoformat(timespec="seconds"),
    }


def _refuse_same_run(staging: Staging, plan: Plan, run: str) -> None:
    for other in plan.repository.store.in_use():
        facts = other.facts()
        if other.path != staging.path and facts.get("run") == run:
            raise being_run("another plan for the same run", facts)


def _exists(name: str) -> UsageError:
    return UsageError(f"run {name} exists", hint="name another one with --output-run")
