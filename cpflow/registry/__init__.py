"""The registry: exposures, datasets, collections, certifications. No arrays."""

from cpflow.registry.chains import ChainMode, TreeLine
from cpflow.registry.explain import Explanation, Gap, Outcome
from cpflow.registry.lookup import Lookups
from cpflow.registry.raws import RawPlace
from cpflow.registry.records import (
    Certification,
    Collection,
    CollectionType,
    DataId,
    DatasetRef,
    DatasetType,
    DetectorRecord,
    FilterRecord,
    IngestResult,
    Lineage,
    RawUse,
    RunState,
    Waiver,
    WaiverCategory,
)
from cpflow.registry.registry import Registry
from cpflow.registry.removal import Removal
from cpflow.registry.transfer import Imported

__all__ = [
    "Certification",
    "ChainMode",
    "Collection",
    "CollectionType",
    "DataId",
    "DatasetRef",
    "DatasetType",
    "DetectorRecord",
    "Explanation",
    "FilterRecord",
    "Gap",
    "Imported",
    "IngestResult",
    "Lineage",
    "Lookups",
    "Outcome",
    "RawPlace",
    "RawUse",
    "Registry",
    "Removal",
    "RunState",
    "TreeLine",
    "Waiver",
    "WaiverCategory",
]
