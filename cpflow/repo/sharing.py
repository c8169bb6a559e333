"""Repositories that a group of users builds in."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cpflow.errors import AccessError, UsageError
from cpflow.permissions import give, is_shared, owned
from cpflow.store import LOGS, PRODUCTS, STAGING

# Each job has a directory there with a script, which stays its owner's.
_JOBS = "batch"
_BUILT_IN = (PRODUCTS, STAGING, LOGS, "raw", _JOBS, "daily")
_READ_AND_WRITE, _READ = 0o2070, 0o2050


def share_with(root: Path, group: str, *, sqlite: bool) -> list[Path]:
    """Give a repository to a group, and all that is made in it later.

    Graph files and cluster profiles, which run code for everybody, stay their owner's. So does the
    root itself, except that SQLite has to make files beside the registry.

    Parameters
    ----------
    root : path
    group : str
        Name or number.
    sqlite : bool
        Whether the registry is a file in it.

    Returns
    -------
    list of path
        What belongs to other users and is not for the group: only they can change that.

    Raises
    ------
    UsageError
        If there is no such group.
    AccessError
        If the user is not in it, or the directory is another's.
    """
    number = _group(group)
    try:
        os.chown(root, -1, number)
        # Others may read if they could before.
        others = root.stat().st_mode & 0o005
        root.chmod(0o700 | (_READ_AND_WRITE if sqlite else _READ) | others)
    except PermissionError as error:
        raise AccessError(
            f"{root} cannot be shared with group {group}: {error.strerror}{owned(root)}",
            hint="its owner can, and must be in that group",
        ) from error
    for place in _BUILT_IN:
        (root / place).mkdir(exist_ok=True)
    left = []
    for path, access in _below(root, sqlite=sqlite):
        # What a run that goes on has renamed or removed is passed over.
        with suppress(FileNotFoundError):
            found = path.lstat()
            if os.geteuid() not in (0, found.st_uid):
                left += [] if _is_for(path, number, access) else [path]
            elif not _is_linked(found):
                os.chown(path, -1, number, follow_symlinks=False)
                give(path, access | others)
    return left


def not_shared(root: Path, *, sqlite: bool) -> list[Path]:
    """Return what the group of a shared repository cannot use; nothing if it is not shared.

    What is inside products is not looked at.
    """
    products = root / PRODUCTS
    if not (products.is_dir() and is_shared(products)):
        return []
    group = products.stat().st_gid
    left = []
    for path, access in _below(root, sqlite=sqlite, inside_products=False):
        with suppress(FileNotFoundError):
            left += [] if _is_for(path, group, access) else [path]
    return left


def _below(root: Path, *, sqlite: bool, inside_products: bool = True) -> Iterator[tuple[Path, int]]:
    """Yield everything in a repository, and what its group may do there."""
    for directory, names, files in os.walk(root):
        place = Path(directory).relative_to(root).parts[:1]
        if not inside_products and "zarr.json" in files:
            names.clear()
        for name in (*names, *files):
            built_in = (*place, name)[0] in _BUILT_IN and place != (_JOBS,)
            beside = sqlite and not place and name in files
            yield Path(directory, name), _READ_AND_WRITE if built_in or beside else _READ


def _is_for(path: Path, group: int, access: int) -> bool:
    found = path.lstat()
    if _is_linked(found):
        return True
    if stat.S_ISDIR(found.st_mode):
        needed = access if access == _READ_AND_WRITE else 0o050
    else:
        needed = access & 0o060 if path.suffix.startswith(".sqlite") else 0o040
    return found.st_gid == group and found.st_mode & needed == needed


def _is_linked(found: os.stat_result) -> bool:
    """Whether it may be a raw file that was linked into the repository: not ours to change."""
    return stat.S_ISLNK(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink > 1)


def _group(name: str) -> int:
    import grp

    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f"there is no group {name!r}", hint="`getent group` lists them") from None
