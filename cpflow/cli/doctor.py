"""``cpflow doctor``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cpflow.cli.findings import FindingsShown
    from cpflow.findings import Finding
    from cpflow.repo import Repository


@click.command("doctor")
@click.argument("repo", required=False)
@click.option("--checksum", is_flag=True, help="Read all products and raw files, compare content.")
@click.option("--clean", is_flag=True, help="Remove what crashes left behind.")
@click.option("--upgrade", is_flag=True, help="Bring a repository of an older cpflow up to date.")
@click.option(
    "--cluster",
    metavar="NAME|FILE|ADDRESS",
    help="Start or reach it and ask each worker; with REPO, whether it can use that.",
)
@click.option(
    "--timeout",
    type=click.IntRange(1),
    default=120,
    show_default=True,
    help="Seconds to wait for the workers of --cluster.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    repo: str | None,
    checksum: bool,
    clean: bool,
    upgrade: bool,
    cluster: str | None,
    timeout: int,
    as_json: bool,
) -> None:
    """Look whether all is well, and say what to do where it is not.

    Without REPO: Python, packages, compiled kernels, this machine, and instruments, graphs and
    cluster profiles of your own. With it, also who may write there, space, locks and the database;
    registry, products and raw files are compared. Leftovers of crashes are warnings; what is
    missing or damaged is an error, and the exit code is 4.

    \b
    cpflow doctor                          can cpflow work here?
    cpflow doctor repo                     is this repository sound?
    cpflow doctor repo --cluster slurm     can the workers of this cluster use it?
    """
    from cpflow.cli.findings import FindingsShown
    from cpflow.environment import examine_environment
    from cpflow.environment.packages import versions
    from cpflow.errors import CpflowError, UsageError
    from cpflow.findings import error

    if repo is None and (checksum or clean or upgrade):
        raise UsageError("--checksum, --clean and --upgrade are for a repository", hint="name it")
    root = None if repo is None else _root(repo)
    shown = FindingsShown(as_json=as_json)
    shown.facts["versions"] = versions()
    shown.begin("environment")
    shown.add(examine_environment())
    shown.add(_profiles(root))
    repository: Repository | None = None
    failure: CpflowError | None = None
    with ExitStack() as stack:
        if root is not None:
            try:
                repository = _examined(shown, root, stack, upgrade=upgrade)
                _compare(shown, repository, checksum=checksum, clean=clean)
            except CpflowError as reason:
                from cpflow.repo.storage import unusable

                shown.add([unusable(root, reason)])
                failure = reason
        if cluster is not None:
            from cpflow.scheduler.cluster_check import examine_cluster

            shown.begin("cluster", f"cluster {cluster}")
            try:
                shown.add(examine_cluster(cluster, repository, root, timeout=timeout))
            except CpflowError as reason:
                shown.add([error("cluster", reason.message, reason.hint or "see its logs")])
                failure = failure or reason
    shown.end(failure)


def _profiles(root: Path | None) -> Iterator[Finding]:
    from cpflow.scheduler.own_profiles import examine_own_profiles

    return examine_own_profiles(root)


def _root(repo: str) -> Path:
    from cpflow.repo.config import read_config

    read_config(Path(repo))
    return Path(repo).resolve()


def _examined(shown: FindingsShown, root: Path, stack: ExitStack, *, upgrade: bool) -> Repository:
    """Open a repository; what it stands on is examined before, and is shown if it cannot be."""
    from cpflow.repo import Repository
    from cpflow.repo.storage import check_server, examine_database, examine_space, examine_storage

    shown.facts["root"] = str(root)
    shown.begin("repository", f"repository {root}")
    shown.add(examine_storage(root))
    check_server(root)
    if upgrade:
        before, after = Repository.upgrade(root)
        text = "up to date" if before == after else f"upgraded from {before} to {after}"
        shown.say(f"  schema {after}: {text}")
    repository = stack.enter_context(Repository(root))
    shown.facts["registry"] = repository.registry.url
    shown.add(examine_database(repository))
    shown.add(examine_space(repository))
    return repository


def _compare(shown: FindingsShown, repository: Repository, *, checksum: bool, clean: bool) -> None:
    from cpflow.cli.findings import CONTENT
    from cpflow.repo import doctor

    shown.begin(CONTENT)
    found = doctor.examine(repository, checksum=checksum)
    cleaned = doctor.clean(repository, found) if clean else []
    shown.clean(cleaned)
    left = [one for one in found if one not in cleaned]
    shown.add(left or [doctor.summary(repository)])
