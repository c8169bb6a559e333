"""The truth beside the raw files: one zarr with a group per detector.

::

    truth.zarr/                 attrs: instrument, seed, truth (JSON), exposures
      detectors/<id>/           what does not change: bias_level (amp), bias_pattern (y, x) ...
      exposures/<id>/           what each exposure had: drift (exposure, amp, row) ...
      cosmic_rays/<id>/         their pixels: exposure, y, x, electrons (entry)
      saturated/<id>/           full pixels: exposure, y, x (entry)
      stars/<id>/               exposure, y, x, flux (entry)
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from cpflow.errors import ConfigurationError


def write_truth(
    path: Path,
    groups: Mapping[str, xr.Dataset],
    attributes: Mapping[str, str | int],
) -> None:
    """Write groups of truth as one zarr store, under its name only once it is complete.

    Parameters
    ----------
    path : Path
        Where. A store of the same camera is replaced, but keeps its exposures.
    groups : mapping of str to xarray.Dataset
        Datasets by group name.
    attributes : mapping
        Attributes of the root group.
    """
    if path.exists():
        exposures = next(name for name in groups if name.startswith("exposures/"))
        replaced = groups[exposures]["exposure"].values
        groups = {n: _with_earlier(path, n, dataset, replaced) for n, dataset in groups.items()}
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    root = zarr.open_group(partial, mode="w", zarr_format=3)
    root.attrs.update(dict(attributes))
    for name, dataset in groups.items():
        # xarray narrows strings to a fixed length, which zarr v3 does not specify.
        if "amp" in dataset.coords:
            dataset = dataset.assign_coords(amp=dataset["amp"].astype(object))
        dataset.to_zarr(partial, group=name, mode="w", zarr_format=3, consolidated=False)
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)


def _with_earlier(
    path: Path, group: str, dataset: xr.Dataset, replaced: NDArray[np.int64]
) -> xr.Dataset:
    """Add to a dataset of exposures those that the store has and the dataset lacks."""
    if "exposure" not in dataset.variables:
        return dataset
    with xr.open_dataset(path, group=group, engine="zarr", consolidated=False) as stored:
        earlier = stored.load()
    along = str(earlier["exposure"].dims[0])
    earlier = earlier.isel({along: ~np.isin(earlier["exposure"].values, replaced)})
    if earlier.sizes[along] == 0:
        return dataset
    if "amp" in dataset.coords:
        # Names that a store gives back compare unequal to those just drawn, by their type.
        earlier = earlier.assign_coords(amp=dataset["amp"])
    joined = xr.concat([earlier, dataset], along, join="exact")
    return joined.isel({along: np.argsort(joined["exposure"].values, kind="stable")})


def open_truth(path: Path) -> xr.DataTree:
    """Open the truth of a simulation, lazily.

    Parameters
    ----------
    path : Path
        ``truth.zarr``, or the directory that holds it.

    Returns
    -------
    xarray.DataTree
        ``tree["detectors/0"]["bias_pattern"]`` and so on.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    store = path if path.name.endswith(".zarr") else path / "truth.zarr"
    return xr.open_datatree(store, engine="zarr", consolidated=False)


def check_same_camera(path: Path, attributes: Mapping[str, str | int]) -> None:
    """Refuse to put exposures of another camera beside those of an existing truth.

    Raises
    ------
    ConfigurationError
        If `path` holds the truth of another seed, instrument or set of effects.
    """
    if not path.exists():
        return
    present = dict(zarr.open_group(path, mode="r").attrs)
    for name in ("instrument", "seed", "truth", "camera"):
        if present.get(name) != attributes.get(name):
            raise ConfigurationError(
                f"{path} is the truth of another simulation: its {name} differs",
                hint="simulate into an empty directory",
            )
