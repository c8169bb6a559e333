"""One product of a plan: what it is made from, its lazy dataset, and what decides its values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cpflow.camera import Detector
from cpflow.exposure import Exposure, RawFile
from cpflow.graph import Graph, Resolved
from cpflow.plan.facts import Facts, facts_of
from cpflow.plan.lookup import Calibration, identity_of, source_identity
from cpflow.plan.projection import seconds_of
from cpflow.stack import Stack

if TYPE_CHECKING:
    import xarray as xr

    from cpflow.registry import DatasetRef


@dataclass(frozen=True)
class PlannedProduct:
    """One product to build: its inputs and its lazy dataset in the readout frame."""

    type: str
    instrument: str
    detector: Detector
    physical_filter: str | None
    raws: tuple[tuple[Exposure, RawFile], ...]
    calibrations: Mapping[str, Calibration]
    stack: Stack
    dataset: xr.Dataset
    graph: Graph
    resolved: Resolved
    step: str = ""
    """Of a chain."""
    also_from: tuple[tuple[Exposure, RawFile], ...] = ()
    """Raw frames of all detectors that decide its scale; the same object for all of these."""
    also_with: tuple[DatasetRef | PlannedProduct, ...] = ()
    """Calibrations of those."""
    also_identity: str = ""
    """Hash of these two, taken once for all products that have them."""

    @property
    def slug(self) -> str:
        """A short name that is unique within the plan."""
        parts = [self.step or self.type, str(self.detector.id)]
        if self.physical_filter is not None:
            parts.append(self.physical_filter)
        return "-".join(parts)

    @property
    def label(self) -> str:
        """The product in a person's words."""
        parts = [f"{self.type} of {self.instrument} detector {self.detector.id}"]
        if self.physical_filter is not None:
            parts.append(f"filter {self.physical_filter}")
        return ", ".join(parts)

    @cached_property
    def facts(self) -> Facts:
        """Tasks, bytes to read and peak memory, all of it read off the lazy graph."""
        return facts_of(self)

    @cached_property
    def seconds(self) -> tuple[float, float]:
        """Core seconds of all tasks, and from the first to the last (`cpflow.plan.projection`)."""
        return seconds_of(self)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything about the inputs that decides the values of the product."""
        return {
            "type": self.type,
            "instrument": self.instrument,
            "detector": self.detector.id,
            "physical_filter": self.physical_filter,
            "raws": [[_record(e), raw.checksum] for e, raw in self.raws],
            "calibrations": identity_of(self.calibrations),
            "also": self.also_identity,
            "graph": self.graph.source_hash,
            "config": self.resolved.as_dict(),
            "camera": repr(self.detector),
            "band_rows": self.stack.band_rows,
            "drop_bad": self.stack.drop_bad,
        }

    @cached_property
    def token(self) -> str:
        """Hash of everything that decides the values."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    @cached_property
    def promises(self) -> tuple[PlannedProduct, ...]:
        """Products of the same plan that this one is made with."""
        return tuple(s for s in self.made_with if isinstance(s, PlannedProduct))

    @cached_property
    def made_with(self) -> tuple[DatasetRef | PlannedProduct, ...]:
        """All calibrations that decide it, each once, those of other detectors among them."""
        own = (s for calibration in self.calibrations.values() for s in calibration.sources)
        return tuple({source_identity(s): s for s in (*own, *self.also_with)}.values())


def identity_of_others(
    raws: Sequence[tuple[Exposure, RawFile]], sources: Sequence[DatasetRef | PlannedProduct]
) -> str:
    """Return the hash of what else decides a product: raw frames, and calibrations of these."""
    content = [
        [[raw.detector, _record(e), raw.checksum] for e, raw in raws],
        [source_identity(source) for source in sources],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _record(exposure: Exposure) -> list[Any]:
    """Return what a record says that may decide values: it can be corrected after ingest."""
    return [
        exposure.exposure,
        exposure.observation_type,
        exposure.physical_filter,
        exposure.exposure_time,
        exposure.dark_time,
        sorted((key, repr(value)) for key, value in exposure.extra.items()),
    ]
