"""Collections from one repository to another: certification, chains, lineage and files (spec 5.2).

::

    DIR/collections.json      records of the registry
    DIR/products/<uuid>/      one zarr group per product
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpflow.errors import CollectionError, ConflictError, NoDataError, ProductError, UsageError
from cpflow.permissions import make_directory
from cpflow.registry import DataId, Imported
from cpflow.registry.names import check_collection_name
from cpflow.repo.content import content_problem
from cpflow.repo.repository import Repository
from cpflow.store import Staging, product_file_name, sync_tree, write_text

logger = logging.getLogger(__name__)

RECORDS = "collections.json"
FILES = "products"


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds."""

    directory: Path
    collections: tuple[str, ...]
    datasets: int
    certifications: int


def export_collections(
    repository: Repository,
    directory: str | Path,
    collections: str | Sequence[str],
    *,
    types: Sequence[str] | None = None,
) -> Exported:
    """Write collections with all that hangs below them, and their products, into a new directory.

    Raw frames do not come along. The directory appears complete or not at all.

    Parameters
    ----------
    repository : Repository
    directory : path
        Must not exist.
    collections : str or sequence of str
        Names, not patterns.
    types : sequence of str, optional
        Product types; by default all.

    Raises
    ------
    UsageError
        If the directory exists.
    ProductError
        If a product is missing or damaged.
    """
    target = Path(directory)
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} exists", hint="name a new directory")
    records = repository.registry.export_records(collections, types)
    hidden = target.parent / f".{target.name[:80]}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"
    try:
        (hidden / FILES).mkdir(parents=True)
        for one in records["datasets"]:
            if one["stored"]:
                copy = hidden / FILES / one["id"]
                _copy_product(repository.store.absolute(one["path"]), copy)
                _check_content(copy, one)
        write_text(hidden / RECORDS, json.dumps(records, indent=1))
        sync_tree(hidden)
        hidden.rename(target)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return Exported(
        target,
        tuple(one["name"] for one in records["collections"]),
        len(records["datasets"]),
        len(records["certifications"]),
    )


def import_collections(repository: Repository, directory: str | Path) -> Imported:
    """Bring in what `export_collections` wrote; what is here already is skipped.

    Chains that exist here keep their children. Everything is checked first; then the products are
    put in place and all records go in with one transaction.

    Raises
    ------
    NoDataError
        If there is no export.
    UsageError, ProductError
        If it is not sound.
    ConflictError
        If something here differs from what is brought; nothing is imported then.
    """
    source = Path(directory)
    records = read_records(source)
    known = {ref.id: ref for ref in repository.registry.datasets()}
    places = {(ref.run, ref.type, ref.data_id.key) for ref in known.values()}
    wanted = [one for one in records["datasets"] if one["id"] not in known]
    paths = {one["id"]: _place(repository, one, places) for one in wanted}
    store = repository.store
    staging = store.staging(f"import{uuid.uuid5(uuid.NAMESPACE_URL, str(source.resolve())).hex}")
    placed: list[str] = []
    with store.locked(staging):
        runs = sorted({one["run"] for one in wanted})
        staging.write_facts({"run": f"import of {source}", "runs": runs})
        files = [one for one in wanted if one["stored"]]
        for one in files:
            _stage(staging, source, one)
        try:
            for one in files:
                store.publish(staging.product(one["id"]), paths[one["id"]])
                placed.append(paths[one["id"]])
            result = repository.registry.import_records(
                records, path_of=lambda ref: paths.get(ref.id, ref.path)
            )
        except BaseException:
            for path in placed:
                store.remove(path)
            raise
        store.discard(staging)
    for name in result.kept_chains:
        logger.warning("chain %s exists here with other children and was left as it is", name)
    return result


def read_records(directory: Path) -> dict[str, Any]:
    """Read the records of an export, and refuse what no export holds.

    Raises
    ------
    NoDataError
        If there is no export.
    UsageError
        If it is not sound.
    """
    path = directory / RECORDS
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoDataError(
            f"{directory} holds no export: there is no {RECORDS}",
            hint="`cpflow export-collections` writes one",
        ) from None
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"{path} cannot be read: {said}",
            hint="name the directory that `cpflow export-collections` made",
        ) from error
    try:
        for one in records["collections"]:
            check_collection_name(one["name"])
        for one in records["datasets"]:
            if str(uuid.UUID(one["id"])) != one["id"]:
                raise ValueError(f"{one['id']!r} is not a UUID")
            check_collection_name(one["run"])
            DataId(**one["data_id"])
            if not (isinstance(one["checksum"], str) and isinstance(one["stored"], bool)):
                raise ValueError(f"dataset {one['id']} lacks its checksum")
    except CollectionError as error:
        raise UsageError(f"{path} is not sound: {error.message}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is not sound: {error!r}") from error
    found: dict[str, Any] = records
    return found


def _place(repository: Repository, one: Mapping[str, Any], taken: set[tuple[str, str, str]]) -> str:
    """Path of a product here. It comes from run and data id, never from the export."""
    data_id = DataId(**one["data_id"])
    if (one["run"], one["type"], data_id.key) in taken:
        raise ConflictError(
            f"run {one['run']} holds another {one['type']} ({data_id}) here",
            hint="the same run name was used in both repositories: remove one of the runs",
        )
    name = product_file_name(
        one["type"], data_id.instrument, data_id.detector, data_id.physical_filter
    )
    return repository.store.relative(one["run"], name)


def _stage(staging: Staging, source: Path, one: Mapping[str, Any]) -> None:
    copy = staging.product(one["id"])
    shutil.rmtree(copy, ignore_errors=True)
    _copy_product(source / FILES / one["id"], copy)
    _check_content(copy, one)


def _copy_product(source: Path, target: Path) -> None:
    """Copy plain files and directories only: a link could lead anywhere."""
    if not source.is_dir() or source.is_symlink():
        raise ProductError(
            f"product {source} is missing", hint="`cpflow doctor` compares store and registry"
        )
    for path in source.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ProductError(f"{path} is neither a file nor a directory")
    make_directory(target.parent)
    shutil.copytree(source, target)


def _check_content(path: Path, one: Mapping[str, Any]) -> None:
    problem = content_problem(path, one["checksum"])
    if problem is not None:
        raise ProductError(
            f"{one['type']} {one['id']} of run {one['run']}: {problem}",
            hint="`cpflow doctor --checksum` checks all products of a repository",
        )
