"""Products with a fault put into them, published as a run of their own."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace

import xarray as xr

from cpflow.io.zarr_product import content_hash, write_product
from cpflow.registry import DatasetRef, Lineage
from cpflow.repo import Repository
from cpflow.store import product_file_name


def publish_altered(
    repository: Repository, ref: DatasetRef, run: str, change: Callable[[xr.Dataset], None]
) -> DatasetRef:
    """Change a product's values in memory and publish it in another RUN."""
    dataset = repository.open_dataset(ref).load()
    change(dataset)
    data_id, store = ref.data_id, repository.store
    name = product_file_name(
        ref.type, data_id.instrument, data_id.detector, data_id.physical_filter
    )
    altered = replace(
        ref,
        id=str(uuid.uuid4()),
        run=run,
        path=store.relative(run, name),
        checksum=content_hash(dataset),
    )
    staged = store.staging(uuid.uuid4().hex).product(name)
    staged.parent.mkdir(parents=True)
    write_product(staged, dataset)
    store.publish(staged, altered.path)
    repository.registry.publish(run, [altered], lineages={altered.id: Lineage((), ())})
    return altered
