"""Who may read and write what: shared directories, and errors that say what to do.

A directory is shared if its group may write and it hands its group on: mode 2770 or 2775, as
`cpflow init --shared GROUP` makes them. What is made inside gets the same access, whatever the
umask of him who makes it. Everywhere else the umask decides, as always.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cpflow.errors import AccessError

_SHARED = stat.S_ISGID | stat.S_IWGRP
# Another user may have made a directory and not shared it yet, or remove one that is empty.
_ATTEMPTS = 20
_PAUSE = 0.01


def is_shared(directory: Path) -> bool:
    """Whether what is made in a directory is for its group."""
    return directory.stat().st_mode & _SHARED == _SHARED


def make_directory(path: Path) -> None:
    """Make a directory and those above it; new ones are shared as the one that holds them is.

    Raises
    ------
    AccessError
        If the user may not.
    """
    for attempt in range(_ATTEMPTS):
        try:
            missing = [one for one in (path, *path.parents) if not one.exists()]
            path.mkdir(parents=True, exist_ok=True)
        except (FileNotFoundError, PermissionError) as error:
            if attempt + 1 < _ATTEMPTS:
                time.sleep(_PAUSE)
            elif isinstance(error, PermissionError):
                raise denied(error) from error
            else:
                raise
        else:
            for one in reversed(missing):
                share(one)
            return


def share(path: Path) -> None:
    """Give a new file or directory the access of the shared directory that holds it."""
    above = path.parent.stat().st_mode
    if above & _SHARED == _SHARED:
        give(path, above)


def share_tree(path: Path) -> None:
    """Give a new directory, and all that is in it, the access of the one that holds it."""
    if is_shared(path.parent):
        share(path)
        for directory, names, files in os.walk(path):
            for name in (*names, *files):
                share(Path(directory, name))


def give(path: Path, above: int) -> None:
    """Give a file or directory the access of one with mode `above`; its owner's stays as it is.

    What belongs to others is left alone, and so are links: they lead to files that are elsewhere.
    """
    with suppress(FileNotFoundError):
        found = path.lstat()
        if os.geteuid() not in (0, found.st_uid) or stat.S_ISLNK(found.st_mode):
            return
        wanted = above & 0o077
        if stat.S_ISDIR(found.st_mode):
            wanted |= stat.S_ISGID
        elif found.st_nlink > 1:
            return
        elif not found.st_mode & stat.S_IXUSR:
            wanted &= 0o066
        mode = stat.S_IMODE(found.st_mode) & 0o1700 | wanted
        if mode != stat.S_IMODE(found.st_mode):
            path.chmod(mode)


def check_writable(directory: Path) -> None:
    """Refuse a directory in which the user may make nothing.

    Parameters
    ----------
    directory : path
        Need not exist: the one above it that does is what counts then.

    Raises
    ------
    AccessError
        If the user may not.
    """
    with permitted():
        there = next(one for one in (directory, *directory.parents) if one.exists())
        if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))


@contextmanager
def permitted() -> Iterator[None]:
    """Turn what the system says of permissions into an error that says what to do.

    Raises
    ------
    AccessError
        Instead of a PermissionError within.
    """
    try:
        yield
    except PermissionError as error:
        raise denied(error) from error


def denied(error: PermissionError) -> AccessError:
    """Say who may not use what, and whose it is."""
    if error.filename is None:
        return AccessError(str(error))
    path = Path(os.fsdecode(error.filename))
    return AccessError(
        f"{path}: {error.strerror} for user {name_of_user(os.geteuid())}{owned(path)}",
        hint="if several people build in one repository, its owner runs "
        "`cpflow init REPO --shared GROUP` once, with a group that all of them are in",
    )


def owned(path: Path) -> str:
    """Say whose a file is, or the directory nearest above it that can be looked at."""
    for one in (path, *path.parents):
        try:
            found = one.stat()
        except OSError:
            continue
        what = "it" if one == path else str(one)
        return (
            f"; {what} belongs to {name_of_user(found.st_uid)}, group "
            f"{_name_of_group(found.st_gid)}, {stat.filemode(found.st_mode)}"
        )
    return ""


def name_of_user(number: int) -> str:
    """Return the name of a user, or the number where nobody has given one."""
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _name_of_group(number: int) -> str:
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
