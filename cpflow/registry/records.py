"""What the registry takes and gives back: plain frozen records, no database."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from cpflow.errors import CpflowError, UsageError
from cpflow.timespan import Timespan, isoformat, utc_to_tai

DIMENSIONS = ("instrument", "exposure", "detector", "physical_filter")


class CollectionType(StrEnum):
    """The four types of collection (spec 2.1)."""

    RUN = "RUN"
    TAGGED = "TAGGED"
    CALIBRATION = "CALIBRATION"
    CHAINED = "CHAINED"


class RunState(StrEnum):
    """How far a RUN came; only a complete one is certified without asking (spec V37)."""

    RUNNING = "running"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


class DataId(NamedTuple):
    """Values of the dimensions that identify a dataset of one type.

    Examples
    --------
    >>> str(DataId("LATISS", 0))
    'instrument=LATISS, detector=0'
    """

    instrument: str
    detector: int | None = None
    physical_filter: str | None = None
    exposure: int | None = None

    @classmethod
    def of(cls, value: DataId | Mapping[str, Any] | tuple[Any, ...]) -> DataId:
        """Take a data id from a mapping (other keys are ignored) or a tuple in field order."""
        if isinstance(value, DataId):
            return value
        if isinstance(value, Mapping):
            if value.get("instrument") is None:
                raise UsageError("the data id names no instrument")
            return cls(**{key: value[key] for key in cls._fields if key in value})
        return cls(*value)

    def restricted(self, dimensions: tuple[str, ...], what: str) -> DataId:
        """Keep the given dimensions only.

        Raises
        ------
        UsageError
            If the data id lacks one of them.
        """
        missing = [name for name in dimensions if getattr(self, name) is None]
        if missing:
            raise UsageError(f"a {what} is identified by {', '.join(missing)} too: {self} lacks it")
        return DataId(**{name: getattr(self, name) for name in dimensions})

    @property
    def key(self) -> str:
        """One string that is equal exactly when the data ids are."""
        parts = (self.instrument, self.exposure, self.detector, self.physical_filter)
        return "|".join("" if part is None else str(part) for part in parts)

    def __str__(self) -> str:
        return ", ".join(
            f"{name}={getattr(self, name)}"
            for name in DIMENSIONS
            if getattr(self, name) is not None
        )


@dataclass(frozen=True, slots=True)
class DatasetType:
    """A kind of dataset: `dimensions` identify one, a calibration can be certified."""

    name: str
    dimensions: tuple[str, ...]
    is_calibration: bool = True


@dataclass(frozen=True, slots=True)
class DatasetRef:
    """One dataset that the registry knows: what, where, and how it came to be.

    `created` is TAI nanoseconds. `stored` is false once the file was given up and only the record
    is kept.
    """

    id: str
    """UUID."""
    type: str
    data_id: DataId
    run: str
    path: str
    checksum: str = ""
    size: int = 0
    created: int = field(default_factory=lambda: utc_to_tai(time.time_ns()))
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False)
    stored: bool = True

    def __str__(self) -> str:
        return f"{self.type} ({self.data_id}) in {self.run}"


@dataclass(frozen=True, slots=True)
class RawUse:
    """A raw frame that went into a product."""

    instrument: str
    exposure: int
    detector: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a product was made from: raw frames, and ids of the datasets applied to them."""

    raws: tuple[RawUse, ...] = ()
    datasets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection by name; `children` belong to a chain, `state` and `facts` to a RUN."""

    name: str
    type: CollectionType
    doc: str = ""
    created: int = 0
    state: RunState | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    children: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Certification:
    """A dataset in force over a span of time in a CALIBRATION collection."""

    collection: str
    dataset: DatasetRef
    timespan: Timespan
    verdict: str | None = None
    reason: str | None = None

    def __str__(self) -> str:
        return (
            f"{self.dataset.type} {self.dataset.id} ({self.dataset.data_id}) of run "
            f"{self.dataset.run}, {self.timespan}"
        )


@dataclass(frozen=True, slots=True)
class DetectorRecord:
    """A detector of an instrument. `geometry` is its layout where only headers give one."""

    id: int
    name: str
    geometry: Mapping[str, Any] | None = None
    raft: str | None = None
    name_in_raft: str | None = None
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class FilterRecord:
    """A physical filter and the band that it belongs to."""

    name: str
    band: str | None = None


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of one exposure that was added.

    `record` and the values of `raws` (by detector) are ``added``, ``already`` or ``updated``;
    `changes` has the old and new value of each updated column; `error` says why nothing was done.
    """

    instrument: str
    exposure: int
    record: str = "refused"
    raws: Mapping[int, str] = field(default_factory=dict)
    changes: Mapping[str, tuple[object, object]] = field(default_factory=dict)
    error: CpflowError | None = None


class WaiverCategory(StrEnum):
    """Why a failed test is accepted."""

    PERMANENT = "permanent"
    UNCORRECTABLE = "uncorrectable"
    BELOW_SCIENCE_IMPACT = "below-science-impact"
    THRESHOLD_WRONG = "threshold-wrong"


@dataclass(frozen=True, slots=True)
class Waiver:
    """A failed test that somebody documented.

    `detector`, `amp`, `exposure`, `physical_filter` and `candidate` (a checksum) narrow what it is
    about; None is all of them. Times are TAI nanoseconds; `expires` None is never.
    """

    id: str
    """UUID."""
    product: str
    test: str
    instrument: str
    category: WaiverCategory
    comment: str
    author: str
    created: int
    detector: int | None = None
    amp: str | None = None
    exposure: int | None = None
    physical_filter: str | None = None
    candidate: str | None = None
    reference: str | None = None
    expires: int | None = None
    revoked: int | None = None
    revoked_by: str | None = None
    revoked_comment: str | None = None

    @property
    def short(self) -> str:
        """The beginning of the id, as it is shown."""
        return self.id[:8]

    @property
    def scope(self) -> str:
        """What it is about, for a person."""
        parts = [self.instrument]
        for name in ("detector", "physical_filter", "amp", "exposure", "candidate"):
            value = getattr(self, name)
            if value is not None:
                shown = str(value)[:19] if name == "candidate" else value
                parts.append(f"{name}={shown}")
        return ", ".join(parts)

    @property
    def is_broad(self) -> bool:
        """Whether nothing but the instrument narrows it."""
        own = (self.detector, self.amp, self.exposure, self.physical_filter, self.candidate)
        return all(value is None for value in own)

    def state(self, at: int) -> str:
        """Return "in force", "expired", "revoked" or "not yet made" at an instant.

        It is in force from the instant at which it was made to that at which it expires, which is
        not in it.
        """
        if at < self.created:
            return "not yet made"
        if self.revoked is not None and at >= self.revoked:
            return "revoked"
        if self.expires is not None and at >= self.expires:
            return "expired"
        return "in force"

    def __str__(self) -> str:
        until = "never expires" if self.expires is None else f"until {isoformat(self.expires)}"
        return (
            f"{self.short}: {self.product} {self.test} ({self.scope}), {self.category}, {until}, "
            f"by {self.author}: {self.comment}"
        )
