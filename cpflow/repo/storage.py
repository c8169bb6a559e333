"""What a repository stands on: its file system, who may write there, its database."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import shutil
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cpflow.errors import NO_ROOM, AccessError, CpflowError
from cpflow.findings import Finding, error, sound, warning
from cpflow.permissions import is_shared, name_of_user, owned
from cpflow.registry.check import network_file_system
from cpflow.registry.engine import as_url
from cpflow.repo.config import registry_url
from cpflow.repo.repository import Repository
from cpflow.repo.sharing import not_shared
from cpflow.sizes import size_text
from cpflow.store import LOGS, PRODUCTS, STAGING

_GIB = 2**30
_FEW_INODES = 10_000
_SHOWN = 3
_PATIENCE = 5
# "May we use TLS?" A server of PostgreSQL says S or N, and asks for nothing before.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


def examine_storage(root: Path) -> Iterator[Finding]:
    """Yield what is found of files and locks, without the registry: it may be out of reach."""
    denied = list(_denied(root))
    yield from denied or [sound("permissions", f"{name_of_user(os.geteuid())} may build here")]
    yield from _sharing(root)
    if not denied:
        yield _locks(root)


def examine_space(repository: Repository) -> Iterator[Finding]:
    """Compare what is free with the largest product, and the largest that was interrupted."""
    root = repository.root
    products = max((ref.size for ref in repository.registry.datasets()), default=0)
    staged = max((_size(one.path) for one in repository.store.stagings()), default=0)
    # A run holds its bands and the product that they are put together to.
    needed = max(2 * products, staged, _GIB)
    free = shutil.disk_usage(root).free
    if free < needed:
        yield warning(
            "space",
            f"{root} has {size_text(free)} free; the largest product has {size_text(products)}, "
            f"and takes twice that while it is made; the largest staging has {size_text(staged)}",
            "make room: `cpflow doctor REPO --clean` drops what was interrupted, `cpflow "
            "remove-run` what is not needed",
        )
    else:
        yield sound(
            "space", f"{size_text(free)} free, the largest product has {size_text(products)}"
        )
    found = os.statvfs(root)
    if found.f_files and found.f_favail < _FEW_INODES:
        yield warning(
            "space",
            f"{root} takes {found.f_favail} more files, however small; a product has hundreds",
            "delete small files on this disk, or have its owner give it more inodes",
        )


def examine_database(repository: Repository) -> Iterator[Finding]:
    """Say which database the registry is in; it has been opened, so its schema is this one's."""
    registry = repository.registry
    yield sound("registry", f"{registry.url}; {registry.database()}")
    try:
        registry.check_writable()
    except AccessError as failure:
        yield warning("registry", failure.message, failure.hint or "ask its owner for the right")


def check_server(root: Path) -> None:
    """Refuse a registry whose server does not answer within seconds; its driver waits a minute.

    Raises
    ------
    CpflowError
        If it does not.
    """
    url = as_url(registry_url(root))
    if url.get_backend_name() == "sqlite" or not url.host or url.host.startswith("/"):
        return
    port = url.port or 5432
    try:
        with socket.create_connection((url.host, port), _PATIENCE) as connection:
            connection.sendall(_SSL_REQUEST)
            if connection.recv(1) not in (b"S", b"N"):
                raise ConnectionError("what answers there is not PostgreSQL")
    except OSError as failure:
        shown = url.render_as_string(hide_password=True)
        raise CpflowError(
            f"the registry {shown} cannot be used: {failure.strerror or failure}",
            hint=f"see whether the server runs and lets you in: pg_isready -h {url.host} -p {port}",
        ) from failure


def unusable(root: Path, failure: CpflowError) -> Finding:
    """Say why a registry cannot be opened, and what to do."""
    remedy = failure.hint
    if remedy is None and as_url(registry_url(root)).get_backend_name() == "postgresql":
        remedy = "see that the server lets you in (psql); a password belongs in ~/.pgpass, mode 600"
    return error("registry", failure.message, remedy or "bring the database back from a backup")


def _denied(root: Path) -> Iterator[Finding]:
    # SQLite makes files beside the registry, and a first run makes the other places; then nobody
    # needs to write to the root.
    places = [root / name for name in (PRODUCTS, STAGING, LOGS)]
    there = [place for place in places if place.exists()]
    needed = there != places or as_url(registry_url(root)).get_backend_name() == "sqlite"
    for place in [root, *there] if needed else there:
        try:
            with tempfile.TemporaryFile(dir=place):
                continue
        except OSError as failure:
            yield warning(
                "permissions",
                f"{place}: {failure.strerror} for {name_of_user(os.geteuid())}{owned(place)}: "
                "nothing can be built",
                _remedy(failure),
            )


def _remedy(failure: OSError) -> str:
    if failure.errno == errno.EROFS:
        return "mount it so that it can be written, or build in another repository"
    if failure.errno in NO_ROOM:
        return "make room on that disk, or have your quota raised"
    return "its owner runs `cpflow init REPO --shared GROUP`, with a group that you are in"


def _sharing(root: Path) -> Iterator[Finding]:
    """Find what others of the group that shares a repository cannot use."""
    if root.stat().st_mode & stat.S_IWOTH:
        yield warning(
            "sharing",
            f"everybody on this machine may write {root}: graph files and cluster profiles there "
            "run as whoever uses them",
            f"chmod o-w {root}",
        )
    products = root / PRODUCTS
    if not products.is_dir():
        return
    found = products.stat()
    if is_shared(products):
        left = not_shared(root, sqlite=as_url(registry_url(root)).get_backend_name() == "sqlite")
        if left:
            shown = ", ".join(str(path) for path in left[:_SHOWN])
            more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
            yield warning(
                "sharing",
                f"the group of this repository cannot use {shown}{more}",
                f"who owns that, or root, runs: cpflow init {root} --shared {found.st_gid}",
            )
        else:
            yield sound("sharing", "all that is here is for its group")
    elif found.st_mode & stat.S_IWGRP and not _is_private(found):
        yield warning(
            "sharing",
            f"the group may write {products}, but does not get what is made there: mode "
            f"{stat.filemode(found.st_mode)} has no setgid bit, and the umask of each user decides",
            f"its owner runs: cpflow init {root} --shared {found.st_gid}",
        )


def _is_private(found: os.stat_result) -> bool:
    """Whether the group is that of one user alone, as many systems make for each."""
    try:
        group, user = grp.getgrgid(found.st_gid), pwd.getpwuid(found.st_uid)
    except KeyError:
        return False
    return user.pw_gid == found.st_gid and group.gr_name == user.pw_name and not group.gr_mem


def _locks(root: Path) -> Finding:
    """Take a lock twice: the second time must fail, or two runs of one plan get mixed up."""
    place = root / STAGING if (root / STAGING).is_dir() else root
    kind = network_file_system(place)
    where = f"{place}, on {kind}" if kind else str(place)
    try:
        with (
            tempfile.NamedTemporaryFile(dir=place, prefix="doctor-") as first,
            Path(first.name).open("rb") as second,
        ):
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return sound("locks", f"work in {where}")
        reason = "a second one is granted while the first is held"
    except OSError as failure:
        reason = failure.strerror or str(failure)
    return error(
        "locks",
        f"flock does not work in {where}: {reason}; every run needs a lock",
        "mount it with locks (NFS: without nolock; Lustre: -o flock), or have the repository on a "
        "local disk",
    )


def _size(directory: Path) -> int:
    return sum(
        (Path(place) / name).lstat().st_size
        for place, _, names in os.walk(directory)
        for name in names
    )
