"""Logging of the command line: to standard error, short or long, and to a file."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

from cpflow.errors import UsageError

_SHORT = "%(levelname)s: %(message)s"
_LONG = "%(asctime)s %(levelname)s %(name)s (%(process)d): %(message)s"


class _StandardError(logging.Handler):
    """Writes to what is standard error when a line comes: while bars are drawn, above these."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


class _File(logging.FileHandler):
    """Writes to a file, until that takes no more: then it says so, once."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Give up."""
        error = sys.exc_info()[1]
        logging.getLogger("cpflow").removeHandler(self)
        with suppress(OSError):
            self.close()
        logging.getLogger("cpflow").warning("no more is logged in %s: %s", self.baseFilename, error)


def configure(level: str, *, long: bool = False, file: str | None = None) -> None:
    """Set up the log of one command.

    Raises
    ------
    UsageError
        If there is no such level, or the file cannot be written.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise UsageError(f"there is no log level {level!r}", hint="DEBUG, INFO, WARNING or ERROR")
    logger = logging.getLogger("cpflow")
    logger.setLevel(number)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [_StandardError()]
    if file is not None:
        try:
            handlers.append(_File(file, encoding="utf-8"))
        except OSError as error:
            raise UsageError(
                f"--log-file {file} cannot be written: {error.strerror}",
                hint="name a file in a directory that exists",
            ) from error
    for handler in handlers:
        # The log of a run takes more: what is shown is decided here, not by the logger alone.
        handler.setLevel(number)
        handler.setFormatter(logging.Formatter(_LONG if long else _SHORT))
        logger.addHandler(handler)
    logger.propagate = False
    # When a scheduler is lost, Dask's client logs a traceback beside the error that cpflow raises.
    logging.getLogger("distributed.client").addFilter(lambda record: number <= logging.DEBUG)
