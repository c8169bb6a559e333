"""Products as FITS or ECSV files, in the layouts that the field uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cpflow.errors import UsageError
from cpflow.io.fits_product import write_image_fits
from cpflow.products import product_spec
from cpflow.registry import DatasetRef
from cpflow.repo.repository import Repository


def export_product(repository: Repository, ref: DatasetRef, path: Path) -> None:
    """Write a product as one file.

    Images become FITS images; photon transfer curves, linearizers and brighter-fatter kernels FITS
    tables; defects and crosstalk ECSV tables.

    Parameters
    ----------
    repository : Repository
    ref : DatasetRef
    path : pathlib.Path
        It appears complete or not at all.

    Raises
    ------
    UsageError
        If the product has no such layout, or the file's suffix is not that of its format.
    """
    if ref.type in ("defects", "manual_defects", "crosstalk"):
        _export_ecsv(repository, ref, path)
    elif ref.type in ("ptc", "linearizer", "bfk"):
        from cpflow.repo.export_tables import export_tables

        export_tables(repository, ref, path)
    else:
        if path.suffix in (".ecsv", ".csv", ".txt", ".png", ".html"):
            raise UsageError(
                f"{ref.type} is written as FITS, not as {path.suffix}", hint="name the file .fits"
            )
        export_fits(repository, ref, path)


def _export_ecsv(repository: Repository, ref: DatasetRef, path: Path) -> None:
    from cpflow.io.ecsv_crosstalk import write_crosstalk
    from cpflow.io.ecsv_defects import write_defects
    from cpflow.io.fits_defects import write_defects_fits

    is_fits = path.suffix == ".fits" and ref.type != "crosstalk"
    if path.suffix != ".ecsv" and not is_fits:
        also = "" if ref.type == "crosstalk" else ", or FITS"
        raise UsageError(f"{ref.type} are written as ECSV{also}", hint="name the file .ecsv")
    detector = repository.detector(ref.data_id.instrument, int(ref.data_id.detector or 0))
    meta = {"DET_NAME": detector.name, "CALIB_ID": ref.id, "RUN": ref.run}
    write = write_crosstalk if ref.type == "crosstalk" else write_defects
    if is_fits:
        write = write_defects_fits
    write(path, repository.open_dataset(ref).compute(), meta)


def export_fits(repository: Repository, ref: DatasetRef, path: Path) -> None:
    """Write an image product as FITS.

    The header follows spec 3.5: one CPP_INPUT_i, CPP_INPUT_DATE_i, CPP_INPUT_EXPT_i and
    CPP_INPUT_SCALE_i per exposure, the percentiles of each amplifier, and the times of the product.
    Binned images come last, each in an HDU named after its variable.

    Parameters
    ----------
    repository : Repository
    ref : DatasetRef
    path : pathlib.Path
        It appears complete or not at all.

    Raises
    ------
    UsageError
        If the product is not an image.
    """
    product = repository.open_dataset(ref)
    if "image" not in product:
        raise UsageError(
            f"{ref.type} is not an image and has no FITS layout yet",
            hint="`cpflow report REPO RUN` shows it",
        )
    loaded = product.compute()
    write_image_fits(
        path,
        loaded["image"].values,
        loaded["variance"].values,
        loaded["mask"].values,
        image_header(repository, ref, loaded),
        further={
            str(name).upper(): loaded[name].values
            for name in loaded
            if str(name).startswith("image_bin")
        },
    )


def image_header(repository: Repository, ref: DatasetRef, product: Any) -> dict[str, Any]:
    """Return the header of an image product as plain values."""
    from cpflow.timespan import isoformat

    spec = product_spec(ref.type)
    records = [
        repository.registry.exposure(int(number), instrument=ref.data_id.instrument)
        for number in product["exposure"].values
    ]
    header: dict[str, Any] = {
        "OBSTYPE": ref.type,
        "INSTRUME": ref.data_id.instrument,
        "DETECTOR": ref.data_id.detector,
        "FILTER": ref.data_id.physical_filter,
        "BUNIT": product["image"].attrs["units"],
        "EXPTIME": spec.exposure_time,
        "DARKTIME": spec.exposure_time,
        "CALIB_ID": ref.id,
        "RUN": ref.run,
        "CALIB_CREATION_DATETIME": ref.provenance.get("created"),
        "TIMESYS": "TAI",
    }
    kinds = {record.observation_type for record in records}
    if len(kinds) == 1:
        header["IMGTYPE"] = kinds.pop().upper()
    begins = [r.timespan.begin for r in records if r.timespan.begin is not None]
    ends = [r.timespan.end for r in records if r.timespan.end is not None]
    if begins and ends:
        header["DATE-BEG"] = isoformat(min(begins))
        header["DATE-END"] = isoformat(max(ends))
    scales = product["scale"].values if "scale" in product else np.ones(len(records))
    dropped = product["dropped"].values if "dropped" in product else np.zeros(len(records), bool)
    used = [(r, s) for r, s, d in zip(records, scales, dropped, strict=True) if not d]
    for i, (record, scale) in enumerate(used):
        header[f"CPP_INPUT_{i}"] = record.exposure
        if record.timespan.begin is not None and record.timespan.end is not None:
            middle = (record.timespan.begin + record.timespan.end) // 2
            header[f"CPP_INPUT_DATE_{i}"] = isoformat(middle)
        header[f"CPP_INPUT_EXPT_{i}"] = record.exposure_time
        header[f"CPP_INPUT_SCALE_{i}"] = float(scale)
    label = f"CPFLOW CALIB {ref.type.upper()}"
    for amplifier in product["amp"].values:
        one = product.sel(amp=amplifier)
        for level in product["percentile"].values:
            value = float(one["distribution"].sel(percentile=level))
            header[f"{label} {amplifier} DISTRIBUTION {level}-PCT"] = value
        header[f"{label} {amplifier} BADPIX-NUM"] = int(one["n_bad"])
    return header
