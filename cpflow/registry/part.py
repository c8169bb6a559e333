"""What every part of `Registry` stands on."""

from __future__ import annotations

import time

from cpflow.registry.database import Database
from cpflow.timespan import utc_to_tai


class RegistryPart:
    """One topic of the registry's public methods; the parts share a database.

    The modules beside this one hold functions that work inside a transaction that is given to
    them, and one subclass each that opens the transaction.
    """

    _db: Database


def now() -> int:
    """Return the time, in TAI nanoseconds."""
    return utc_to_tai(time.time_ns())
