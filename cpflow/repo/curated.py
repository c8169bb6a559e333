"""Curated calibrations: ECSV files whose names say from when they hold (spec V41, I10).

::

    DIR/<instrument>/<product>/<detector name>/<YYYYMMDDThhmmss>.ecsv

Names of directories are compared without regard to case. The time is UTC; each file holds until
the next one begins, the last without end.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpflow.errors import ConflictError, NoDataError, UsageError
from cpflow.permissions import make_directory
from cpflow.registry import Certification, CollectionType, DataId, DatasetRef
from cpflow.registry.names import check_collection_name
from cpflow.repo.repository import Repository
from cpflow.store import Staging, product_file_name
from cpflow.timespan import Timespan, from_iso

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger(__name__)

PRODUCTS = ("defects", "manual_defects", "crosstalk")
_NAME = re.compile(r"(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})\.(?:ecsv|fits)", re.ASCII)
_NAMESPACE = uuid.UUID("5d3c1f60-8a4e-4c55-9a57-6b1f0b0c7e11")


@dataclass(frozen=True, slots=True)
class CuratedFile:
    """One file: what it describes, and when that holds."""

    path: Path
    product: str
    detector: int
    stamp: str
    timespan: Timespan


@dataclass(slots=True)
class CuratedReport:
    """What became of each file."""

    collection: str
    certified: list[Certification] = field(default_factory=list)
    already: list[CuratedFile] = field(default_factory=list)
    new_chain: str | None = None
    """Chain that was made so that runs find the collection."""

    def __repr__(self) -> str:
        return (
            f"<CuratedReport {self.collection}: {len(self.certified)} certified, "
            f"{len(self.already)} certified already>"
        )


def write_curated(
    repository: Repository,
    directory: str | Path,
    *,
    instrument: str | None = None,
    collection: str | None = None,
) -> CuratedReport:
    """Bring curated calibrations into a repository and certify them.

    Every file is read before anything is written. What is certified identically is left alone, so
    that the same directory can be given again, and again after files were added to it.

    Parameters
    ----------
    repository : Repository
    directory : path
        Holds a directory of the instrument's name, or is that.
    instrument : str, optional
        May be left out if the repository has only one.
    collection : str, optional
        CALIBRATION collection, by default ``<instrument>/calib/curated``. That goes into a chain
        ``<instrument>/calib``, where runs look, unless there is one already.

    Raises
    ------
    NoDataError
        If there is no such file.
    UsageError
        If a file or directory has a name that means nothing, or the repository is of an older
        cpflow that did not know such a product.
    ProductError
        If a file cannot be used.
    ConflictError
        If something else is certified for a part of the time, or a file has changed under its name.
    """
    name = repository.instrument(instrument).name
    target = check_collection_name(collection or f"{name}/calib/curated")
    files = list(curated_files(repository, Path(directory), name))
    if not files:
        raise NoDataError(
            f"{directory} holds no curated {' or '.join(PRODUCTS)} of {name}",
            hint=f"looked for {name.lower()}/defects/<detector>/YYYYMMDDThhmmss.ecsv",
        )
    _check_types(repository, files)
    products = [(file, _read(repository, name, file)) for file in files]
    store = repository.store
    key = hashlib.sha256(f"curated\0{target}".encode()).hexdigest()
    staging = store.staging(key)
    report = CuratedReport(target)
    with store.locked(staging):
        runs = sorted({f"{_base(target)}/{file.stamp}Z" for file in files})
        staging.write_facts({"run": f"curated calibrations for {target}", "runs": runs})
        _write(repository, staging, name, products, report)
        store.discard(staging)
    chain = f"{name}/calib"
    if collection is None and chain not in repository.registry.collection_names():
        repository.registry.change_chain(chain, [target])
        report.new_chain = chain
    return report


def curated_files(repository: Repository, directory: Path, name: str) -> Iterator[CuratedFile]:
    """Yield the files of an instrument, with the time over which each holds."""
    if not directory.is_dir():
        raise NoDataError(
            f"{directory} is not a directory",
            hint=f"name the directory that holds {name.lower()}/defects/DETECTOR/*.ecsv",
        )
    below = _child(directory, name) or directory
    detectors = {record.name.lower(): record.id for record in repository.registry.detectors(name)}
    for product in PRODUCTS:
        place = _child(below, product)
        if place is None:
            continue
        for inside in sorted(path for path in place.iterdir() if path.is_dir()):
            if inside.name.lower() not in detectors:
                raise UsageError(
                    f"{inside}: {name} has no detector {inside.name!r}",
                    hint="`cpflow records REPO detector` lists them",
                )
            yield from _series(inside, product, detectors[inside.name.lower()])
    for other in sorted(path.name for path in below.iterdir() if path.is_dir()):
        if other.lower() not in PRODUCTS and _child(below, PRODUCTS[0]) is not None:
            logger.info("%s: passed over, cpflow takes %s", below / other, ", ".join(PRODUCTS))


def _check_types(repository: Repository, files: list[CuratedFile]) -> None:
    known = {kind.name for kind in repository.registry.dataset_types()}
    unknown = sorted({file.product for file in files} - known)
    if unknown:
        raise UsageError(
            f"{repository.root} was made by an older cpflow and cannot hold {', '.join(unknown)}",
            hint=f"cpflow doctor {repository.root} --upgrade adds what is new",
        )


def _child(directory: Path, name: str) -> Path | None:
    """Directory of this name, whatever its case."""
    found = (p for p in sorted(directory.iterdir()) if p.name.lower() == name.lower())
    return next((path for path in found if path.is_dir()), None)


def _series(directory: Path, product: str, detector: int) -> Iterator[CuratedFile]:
    begins: list[tuple[int, Path]] = []
    kinds = ("*.ecsv",) if product == "crosstalk" else ("*.ecsv", "*.fits")
    for path in sorted(path for kind in kinds for path in directory.glob(kind)):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise UsageError(
                f"{path}: the name does not say from when it holds",
                hint="YYYYMMDDThhmmss.ecsv, UTC; or .fits for defects",
            )
        year, month, day, hour, minute, second = match.groups()
        try:
            begin = from_iso(f"{year}-{month}-{day}T{hour}:{minute}:{second}", "utc")
        except ValueError as error:
            raise UsageError(f"{path}: {error}") from error
        begins.append((begin, path))
    ends = [begin for begin, _ in begins[1:]] + [None]
    for (begin, path), end in zip(begins, ends, strict=True):
        yield CuratedFile(path, product, detector, path.stem, Timespan(begin, end))


def _read(repository: Repository, instrument: str, file: CuratedFile) -> xr.Dataset:
    detector = repository.detector(instrument, file.detector)
    if file.product in ("defects", "manual_defects"):
        from cpflow.io.ecsv_defects import read_defects

        found: xr.Dataset = read_defects(
            file.path,
            instrument=instrument,
            detector=detector.id,
            shape=detector.shape,
            product=file.product,
        )
        return found.assign_attrs(product=file.product)
    from cpflow.io.ecsv_crosstalk import read_crosstalk

    names = [amplifier.name for amplifier in detector.amplifiers]
    return read_crosstalk(file.path, instrument=instrument, detector=detector.id, amplifiers=names)


def _write(
    repository: Repository,
    staging: Staging,
    instrument: str,
    products: list[tuple[CuratedFile, xr.Dataset]],
    report: CuratedReport,
) -> None:
    from cpflow.io.zarr_product import content_hash

    held = _held(repository, report.collection)
    types = sorted({file.product for file, _ in products})
    known = {ref.id: ref for ref in repository.registry.datasets(types)}
    taken = {(ref.run, ref.type, ref.data_id): ref for ref in known.values()}
    base = _base(report.collection)
    new: list[DatasetRef] = []
    rows: list[tuple[DatasetRef, Timespan]] = []
    staged: list[tuple[Path, str]] = []
    for file, product in products:
        checksum = content_hash(product)
        data_id = DataId(instrument, file.detector)
        if (file.product, data_id, checksum, file.timespan) in held:
            report.already.append(file)
            continue
        run = f"{base}/{file.stamp}Z"
        identity = f"{run}\0{file.product}\0{data_id.key}\0{checksum}"
        ref = known.get(str(uuid.uuid5(_NAMESPACE, identity)))
        if ref is None:
            if (run, file.product, data_id) in taken:
                raise ConflictError(
                    f"{file.path} is not what {run} holds for that time: its content has changed",
                    hint="put the new content into another --collection",
                )
            name = product_file_name(file.product, instrument, file.detector, None)
            ref = DatasetRef(
                str(uuid.uuid5(_NAMESPACE, identity)),
                file.product,
                data_id,
                run,
                repository.store.relative(run, name),
                checksum,
                provenance=_provenance(file, product),
            )
            path = staging.product(f"{len(new)}")
            new.append(_stage(path, product, ref))
            staged.append((path, ref.path))
        rows.append((ref, file.timespan))
    if not rows:
        return
    try:
        for path, target in staged:
            repository.store.publish(path, target)
        report.certified = repository.registry.put_in_force(
            report.collection, new, rows, own_runs=f"{base}/", reason="curated"
        )
    except BaseException:
        for _, target in staged:
            repository.store.remove(target)
        raise


def _base(collection: str) -> str:
    """Beginning of the names of the runs (spec 2.5)."""
    return collection.removesuffix("/curated") + "/curated"


def _held(repository: Repository, collection: str) -> set[tuple[str, DataId, str, Timespan]]:
    """Return what is certified there already."""
    registry = repository.registry
    if collection not in registry.collection_names():
        return set()
    if registry.collection(collection).type is not CollectionType.CALIBRATION:
        # Refused before any file is written.
        registry.register_collection(collection, CollectionType.CALIBRATION)
    return {
        (one.dataset.type, one.dataset.data_id, one.dataset.checksum, one.timespan)
        for one in registry.certified(collection)
    }


def _provenance(file: CuratedFile, product: xr.Dataset) -> dict[str, Any]:
    return {
        "curated": "/".join(file.path.parts[-4:]),
        "source_checksum": f"sha256:{hashlib.sha256(file.path.read_bytes()).hexdigest()}",
        "summary": {str(dim): size for dim, size in product.sizes.items()},
    }


def _stage(path: Path, product: xr.Dataset, ref: DatasetRef) -> DatasetRef:
    from cpflow.io.zarr_product import provenance_attributes, write_product

    shutil.rmtree(path, ignore_errors=True)
    make_directory(path.parent)
    write_product(path, product.assign_attrs(provenance_attributes(ref.provenance)))
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return replace(ref, size=size)
