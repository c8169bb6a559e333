"""Delayed tables as lazy datasets: each variable is an array whose shape is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import ProductError

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True)
class Column:
    """One variable of a table: its dimensions, dtype and attributes."""

    dims: tuple[str, ...]
    dtype: npt.DTypeLike
    attrs: Mapping[str, Any]


def tabulate(
    value: Any, columns: Mapping[str, Column], sizes: Mapping[str, int], coords: Mapping[str, Any]
) -> xr.Dataset:
    """Return a delayed mapping of names to arrays as a lazy dataset.

    Parameters
    ----------
    value : Delayed
        Of a mapping with an array for each column.
    columns : mapping of str to Column
    sizes : mapping of str to int
        Of every dimension.
    coords : mapping
        Of the dataset.
    """
    import dask.array as da
    import xarray as xr
    from dask.base import tokenize
    from dask.delayed import delayed

    out = xr.Dataset()
    for name, column in columns.items():
        shape = tuple(sizes[dim] for dim in column.dims)
        array = delayed(take_column, pure=False)(
            value,
            name,
            shape,
            np.dtype(column.dtype).str,
            dask_key_name=f"column-{name}-{tokenize(value.key)[:16]}",
        )
        out[name] = xr.Variable(
            column.dims,
            da.from_delayed(array, shape, dtype=np.dtype(column.dtype)),
            dict(column.attrs),
        )
    return out.assign_coords(coords)


def take_column(
    table: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: str
) -> npt.NDArray[Any]:
    """Take one column out of a table.

    Raises
    ------
    ProductError
        If it has another shape than was said.
    """
    column = np.asarray(table[name], np.dtype(dtype))
    if column.shape != tuple(shape):
        raise ProductError(f"{name} has the shape {column.shape}, {tuple(shape)} was expected")
    return column
