"""Electro-optical products as FITS tables in the layouts that the field uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import NoDataError, ProductError, UsageError
from cpflow.registry import DatasetRef
from cpflow.repo.repository import Repository
from cpflow.timespan import from_mjd

if TYPE_CHECKING:
    import xarray as xr

    from cpflow.exposure import Exposure

_DAY = 86_400_000_000_000


def export_tables(repository: Repository, ref: DatasetRef, path: Path) -> None:
    """Write a ``ptc``, ``linearizer`` or ``bfk`` as FITS (spec electro-optical 1.14, 2.6, 3.3).

    Parameters
    ----------
    repository : Repository
    ref : DatasetRef
    path : pathlib.Path
        It appears complete or not at all.

    Raises
    ------
    UsageError
        If the file's name does not end in ``.fits``.
    """
    from cpflow.io.fits_kernel import write_kernel
    from cpflow.io.fits_linearizer import write_linearizer
    from cpflow.io.fits_ptc import write_ptc

    if path.suffix != ".fits":
        raise UsageError(f"{ref.type} are written as FITS", hint="name the file .fits")
    detector = repository.detector(ref.data_id.instrument, int(ref.data_id.detector or 0))
    product = repository.open_dataset(ref).compute()
    meta = {
        "DET_NAME": detector.name,
        "DET_SER": detector.serial or None,
        "CALIB_ID": ref.id,
        "RUN": ref.run,
        "CALIB_CREATION_DATETIME": ref.provenance.get("created"),
    }
    if ref.type == "ptc":
        pairs = _pairs(repository, ref, product)
        write_ptc(path, product, meta, mjd_start=_starts(pairs), auxiliary=_auxiliary(pairs))
    elif ref.type == "linearizer":
        write_linearizer(path, product, detector, meta, ptc=_curve(repository, ref, product))
    else:
        curve = _curve(repository, ref, product)
        write_kernel(path, product, meta, detector_name=detector.name, ptc=curve)


def _pairs(
    repository: Repository, ref: DatasetRef, product: xr.Dataset
) -> list[tuple[Exposure, Exposure]]:
    def record(number: Any) -> Exposure:
        return repository.registry.exposure(int(number), instrument=ref.data_id.instrument)

    return [(record(first), record(second)) for first, second in product["exposures"].values]


def _starts(pairs: list[tuple[Exposure, Exposure]]) -> npt.NDArray[np.float64]:
    """Return when each pair began, MJD in TAI; NaN if unknown."""
    epoch = from_mjd(0)
    begins = [first.timespan.begin for first, _ in pairs]
    return np.array([np.nan if at is None else (at - epoch) / _DAY for at in begins])


def _auxiliary(pairs: list[tuple[Exposure, Exposure]]) -> dict[str, list[str]]:
    """Return what the layout always has of the first exposure of each pair."""
    firsts = [first for first, _ in pairs]
    return {
        "observationType": [first.observation_type for first in firsts],
        "observationReason": [first.observation_reason or "" for first in firsts],
        "scienceProgram": [first.science_program or "" for first in firsts],
    }


def _curve(repository: Repository, ref: DatasetRef, product: xr.Dataset) -> xr.Dataset | None:
    """Return the photon transfer curve that a product was made from; None if it is gone."""
    for one in repository.registry.lineage(ref.id).datasets:
        try:
            made_with = repository.registry.dataset(one)
            if made_with.type != "ptc":
                continue
            curve = repository.open_dataset(made_with).compute()
        except (NoDataError, ProductError):
            continue
        if list(curve["amp"].values) == list(product["amp"].values):
            return curve
    return None
