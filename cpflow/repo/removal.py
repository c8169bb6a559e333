"""Removing runs with their files: the records first, in one transaction, then the files."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cpflow.errors import CpflowError
from cpflow.registry import Removal
from cpflow.repo.repository import Repository

logger = logging.getLogger(__name__)


def remove_runs(
    repository: Repository,
    patterns: str | Sequence[str],
    *,
    force: bool = False,
    unlink: bool = False,
    dry_run: bool = False,
) -> Removal:
    """Remove RUNs, their datasets, the files of those and their logs (spec C22, C23).

    Raw files are left where they are. If the process dies between the transaction and the last
    file, what is left over belongs to no run: `cpflow doctor --clean` removes it.

    Parameters
    ----------
    repository : Repository
    patterns : str or sequence of str
        Names or globs.
    force : bool
        Although certifications, tags or chains would lose something.
    unlink : bool
        Take the runs out of chains that hold them.
    dry_run : bool
        Only say what would go.

    Raises
    ------
    NoDataError
        If no run matches.
    ConflictError
        If certifications or tags would be lost, and `force` is not given.
    CollectionError
        If a chain holds a run, and neither `unlink` nor `force` is given.
    AccessError
        If the user may not remove their files.
    """
    registry = repository.registry
    if dry_run:
        return registry.plan_run_removal(patterns)
    repository.store.check_writable(registry.plan_run_removal(patterns).runs)
    removed = registry.remove_runs(patterns, force=force, unlink=unlink)
    for path in removed.paths:
        try:
            repository.store.remove(path)
        except (OSError, CpflowError) as error:
            logger.warning("%s could not be deleted: %s", path, error)
    for run in removed.runs:
        try:
            repository.store.remove_logs(run)
        except OSError as error:
            logger.warning("the logs of %s could not be deleted: %s", run, error)
    _drop_parts(repository, removed.runs)
    return removed


def _drop_parts(repository: Repository, runs: Sequence[str]) -> None:
    """Remove what failed or interrupted runs have kept for another attempt."""
    for staging in repository.store.leftovers():
        if staging.facts().get("run") in runs:
            repository.store.discard(staging)
