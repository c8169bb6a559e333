"""What the system refuses, as errors that say what to do."""

from __future__ import annotations

import errno
import os

from cpflow.errors import NO_ROOM, AccessError, CpflowError, StorageError, UsageError

_REMEDIES = {
    errno.ENOENT: "is it spelled right, and is there the directory that it is to be in?",
    errno.ENOTDIR: "a part of that path is a file: name another one",
    errno.EEXIST: "a part of that path is a file: name another one",
    errno.EISDIR: "that is a directory: name a file",
    errno.EROFS: "it is mounted so that it cannot be written: name another place",
    errno.ENAMETOOLONG: "take a shorter name",
    errno.EMFILE: "raise the limit of open files: ulimit -n 4096",
}


def refused_by_system(error: OSError) -> CpflowError:
    """Return what an error of the operating system is to a user: which file, and what to type."""
    if isinstance(error, PermissionError):
        from cpflow.permissions import denied

        return denied(error)
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if name is not None]
    place = " -> ".join(names) or "a file, or standard output"
    said = error.strerror or str(error)
    if error.errno in NO_ROOM:
        return StorageError(f"{place}: {said}", hint="make room, then give the same command again")
    return AccessError(f"{place}: {said}", hint=_REMEDIES.get(error.errno or 0))


def not_encodable(error: UnicodeError) -> CpflowError:
    """Return what it is to a user that letters cannot be read or written in some encoding."""
    if isinstance(error, UnicodeDecodeError):
        return UsageError(
            f"a file that should be text in UTF-8 is not: {error.reason} at byte {error.start}",
            hint="is it another file, an image perhaps? else save it as UTF-8",
        )
    return UsageError(
        f"letters that this terminal's encoding does not have: {error}",
        hint="export LC_ALL=C.UTF-8, and unset PYTHONUTF8 and PYTHONIOENCODING",
    )


def unforeseen(error: Exception) -> CpflowError:
    """Return what an error that nobody foresaw is to a user; the log of level DEBUG has more."""
    import logging

    logging.getLogger(__name__).debug("where it happened", exc_info=error)
    said = str(error).strip().splitlines()
    return CpflowError(
        f"{type(error).__name__}: {said[0] if said else 'no message'}",
        hint="this is a mistake in cpflow, please report it; "
        "`cpflow --log-level DEBUG` before the command shows where it happened",
    )
