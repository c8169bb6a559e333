"""Verifications with a chosen outcome, published as a run publishes its products."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import xarray as xr

from cpflow.io.zarr_product import content_hash, write_product
from cpflow.products import product_spec, verification_name
from cpflow.registry import DatasetRef, Lineage
from cpflow.repo import Repository
from cpflow.store import product_file_name
from cpflow.verify.rows import COLUMNS
from cpflow.verify.summary import summary

# Exposure, amplifier, test, verdict, and whether it is required.
Row = tuple[int, str, str, str]


def verification_table(rows: list[Row]) -> dict[str, np.ndarray]:
    """Columns of the contract; informational verdicts are of informational tests."""
    values: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for exposure, amp, test, verdict in rows:
        severity = "informational" if verdict == "informational" else "required" if test else ""
        given = {
            "exposure": exposure,
            "day_obs": -1 if exposure < 0 else exposure // 100000,
            "amp": amp,
            "statistic": test.lower(),
            "test": test,
            "units": "electron",
            "severity": severity,
            "verdict": verdict,
        }
        for name, dtype in COLUMNS.items():
            values[name].append(given.get(name, np.nan if dtype == "float64" else ""))
    return {name: np.array(values[name], dtype) for name, dtype in COLUMNS.items()}


def publish_verification(
    repository: Repository,
    product: DatasetRef,
    rows: list[Row],
    run: str = "u/me/verify",
    **changes: Any,
) -> DatasetRef:
    """Write and register a verification of a product; `changes` are of its attributes."""
    dataset = xr.Dataset({name: ("row", v) for name, v in verification_table(rows).items()})
    return publish_table(repository, product, dataset, run, **changes)


def publish_table(
    repository: Repository, product: DatasetRef, dataset: xr.Dataset, run: str, **changes: Any
) -> DatasetRef:
    """Write and register a verification whose table is given."""
    kind, data_id = verification_name(product.type), product.data_id
    filter_of = {} if data_id.physical_filter is None else {"filter": data_id.physical_filter}
    dataset.attrs = {
        "product": kind,
        "verifies": product.type,
        "candidate_id": product.id,
        "candidate_checksum": product.checksum,
        "candidate_run": product.run,
        "instrument": data_id.instrument,
        "detector": data_id.detector,
        **filter_of,
        **changes,
    }
    product_spec(kind).check(dataset)
    store = repository.store
    name = product_file_name(kind, data_id.instrument, data_id.detector, data_id.physical_filter)
    ref = DatasetRef(
        str(uuid.uuid4()),
        kind,
        data_id,
        run,
        store.relative(run, name),
        content_hash(dataset),
        provenance={"summary": summary(dataset)},
    )
    staged = store.staging(uuid.uuid4().hex).product(name)
    staged.parent.mkdir(parents=True)
    write_product(staged, dataset)
    store.publish(staged, ref.path)
    repository.registry.publish(run, [ref], lineages={ref.id: Lineage((), (product.id,))})
    return ref
