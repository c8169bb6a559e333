"""The tree of errors that cpflow raises.

::

    CpflowError                       exit code 1
    ├── UsageError                    2   a wrong option, name or argument
    │   ├── ConfigurationError            an unknown or ill-typed configuration value
    │   ├── QueryError                    a data query that does not parse or resolve
    │   ├── InstrumentError               an instrument file that is not sound
    │   ├── AccessError                   a file or database that the user may not use
    │   └── CollectionError               a registry operation that is not allowed
    │       ├── MissingCollectionError
    │       ├── CollectionTypeError
    │       ├── CollectionCycleError      also a ValueError
    │       └── ConflictError             two datasets claim one place or one timespan
    ├── NoDataError                   3   nothing to work on
    ├── DataError                     4   an input frame or product cannot be used
    │   ├── RawError                      a raw file: names file, exposure, detector
    │   └── ProductError                  a product that breaks its specification
    ├── BuildError                    4   some products could not be built
    │   └── TaskError                     a task that ends its workers, or fails unexpectedly
    ├── StorageError                  4   a file system takes no more
    ├── VerificationError             5
    ├── CalibrationLookupError        6   also a LookupError
    │   ├── MissingCalibrationError
    │   └── AmbiguousCalibrationError
    ├── ClusterLostError              7
    └── InterruptedRunError         130   stopped by the user; the run can be resumed

Each error has an exit code for the command line, and may carry a hint: what to do about it.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import ClassVar

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says of a file system that takes no more."""


class CpflowError(Exception):
    """Base of every error that cpflow raises on purpose.

    Parameters
    ----------
    message : str
        What is wrong, in one line.
    hint : str, optional
        What to do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  hint: {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        # The default rebuilds from `args` alone and would lose keyword-only fields on their way
        # back from a worker process.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(
    cls: type[CpflowError], args: tuple[object, ...], state: dict[str, object]
) -> CpflowError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(CpflowError):
    """A command, option or argument that cannot be acted on."""

    exit_code = 2


class ConfigurationError(UsageError):
    """A configuration key or value that is unknown or has the wrong type."""


class QueryError(UsageError):
    """A data query that does not parse, or that names unknown fields.

    Parameters
    ----------
    message : str
        What is wrong.
    text : str, optional
        The whole query.
    column : int, optional
        Zero-based position in `text` at which it goes wrong.
    hint : str, optional
        What to do about it.
    """

    def __init__(
        self,
        message: str,
        *,
        text: str | None = None,
        column: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.text = text
        self.column = column

    def __str__(self) -> str:
        shown = super().__str__()
        if self.text is None or self.column is None:
            return shown
        begin = self.text.rfind("\n", 0, self.column) + 1
        end = self.text.find("\n", self.column)
        line = self.text[begin : len(self.text) if end < 0 else end]
        return f"{shown}\n  {line}\n  {' ' * (self.column - begin)}^"


class InstrumentError(UsageError):
    """An instrument file that does not describe a camera."""


class AccessError(UsageError):
    """A file or database that the user may not read, or not write."""


class CollectionError(UsageError):
    """An operation on collections that is not allowed."""


class MissingCollectionError(CollectionError):
    """A collection that does not exist."""


class CollectionTypeError(CollectionError):
    """An operation on a collection of the wrong type."""


class CollectionCycleError(CollectionError, ValueError):
    """A chain that would contain itself."""


class ConflictError(CollectionError):
    """Two datasets claim the same place, or the same time."""


class NoDataError(CpflowError):
    """A query or graph found nothing to work on."""

    exit_code = 3


class DataError(CpflowError):
    """Input data that cannot be used."""

    exit_code = 4


class RawError(DataError):
    """A raw frame that cannot be used.

    Parameters
    ----------
    message : str
        What is wrong with it.
    file : str, optional
        Path of the file.
    exposure : int, optional
        Exposure id, where it is known.
    detector : int, optional
        Detector id, where it is known.
    hint : str, optional
        What to do about it.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        exposure: int | None = None,
        detector: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.exposure = exposure
        self.detector = detector

    def __str__(self) -> str:
        where = [
            f"exposure {self.exposure}" if self.exposure is not None else "",
            f"detector {self.detector}" if self.detector is not None else "",
            f"file {self.file}" if self.file is not None else "",
        ]
        named = ", ".join(part for part in where if part)
        shown = f"{self.message} ({named})" if named else self.message
        return shown if self.hint is None else f"{shown}\n  hint: {self.hint}"


class ProductError(DataError):
    """A product that breaks its specification, or whose files do not match their checksums."""


class BuildError(CpflowError):
    """Some products of a run could not be built.

    Parameters
    ----------
    message : str
        Summary.
    causes : sequence of CpflowError
        One per product that failed.
    hint : str, optional
        What to do about it.
    """

    exit_code = 4

    def __init__(
        self, message: str, *, causes: Sequence[CpflowError] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.causes = tuple(causes)

    def __str__(self) -> str:
        listed = "".join(f"\n- {cause}" for cause in self.causes)
        return super().__str__() + listed


class TaskError(BuildError):
    """A task that ended the workers that ran it, or failed in a way that nobody foresaw.

    Parameters
    ----------
    message : str
        What happened to it.
    exposure, detector : int, optional
        What it was at work on.
    file : str, optional
        Path of the raw file.
    hint : str, optional
        What to do about it.
    """

    def __init__(
        self,
        message: str,
        *,
        exposure: int | None = None,
        detector: int | None = None,
        file: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.exposure = exposure
        self.detector = detector
        self.file = file


class StorageError(CpflowError):
    """A file system that is full, or over a quota; the run can be resumed."""

    exit_code = 4


class VerificationError(CpflowError):
    """A product that fails its quality tests."""

    exit_code = 5


class CalibrationLookupError(CpflowError, LookupError):
    """A calibration lookup that does not give exactly one dataset."""

    exit_code = 6


class MissingCalibrationError(CalibrationLookupError):
    """No calibration of the wanted type holds at the wanted time."""


class AmbiguousCalibrationError(CalibrationLookupError):
    """More than one certified calibration holds at the wanted time."""


class ClusterLostError(CpflowError):
    """The cluster went away; the run can be resumed."""

    exit_code = 7


class InterruptedRunError(CpflowError):
    """The user stopped the run; it can be resumed."""

    exit_code = 130
