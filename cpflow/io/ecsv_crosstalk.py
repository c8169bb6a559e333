"""Crosstalk as ECSV tables, in the layout that LATISS publishes.

One row; each column holds a matrix of ``CROSSTALK_SHAPE`` row by row. An element belongs to
[source, target] (spec electro-optical 4), amplifiers in the camera's order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cpflow.errors import ProductError
from cpflow.io.ecsv import check_owner, columns_of, read_table, write_table
from cpflow.products import CROSSTALK

if TYPE_CHECKING:
    import xarray as xr

_AMPS = ("source_amp", "target_amp")
# Variable: (column, dtype, unit of the variable for a ratio in some unit).
_COLUMNS = {
    "coefficients": ("CT_COEFFS", np.float64, "{0}/{0}"),
    "errors": ("CT_ERRORS", np.float64, "{0}/{0}"),
    "valid": ("CT_VALID", np.bool_, "1"),
    "counts": ("CT_COUNTS", np.int64, "1"),
    "quadratic": ("CT_COEFFS_SQR", np.float64, "1/{0}"),
    "quadratic_errors": ("CT_ERRORS_SQR", np.float64, "1/{0}"),
}
_UNITS = {"adu": "adu", "electron": "electron", "electrons": "electron"}


def read_crosstalk(
    path: Path, *, instrument: str, detector: int, amplifiers: Sequence[str]
) -> xr.Dataset:
    """Read crosstalk coefficients as a product.

    Parameters
    ----------
    path : pathlib.Path
    instrument : str
    detector : int
    amplifiers : sequence of str
        Names, in the order of the matrix.

    Returns
    -------
    xarray.Dataset
        As `cpflow.products.CROSSTALK` says.

    Raises
    ------
    ProductError
        If the matrix has another shape, or the table belongs to something else.
    """
    import xarray as xr

    table = read_table(path)
    check_owner(path, table.meta, CROSSTALK.name, instrument, detector)
    columns_of(path, table, ("CT_COEFFS", "CT_ERRORS", "CT_VALID"))
    if len(table) != 1:
        raise ProductError(f"{path} has {len(table)} rows, expected one")
    count = len(amplifiers)
    shape = [int(n) for n in table.meta.get("CROSSTALK_SHAPE", (count, count))]
    if shape != [count, count]:
        raise ProductError(
            f"{path}: a matrix of {' x '.join(map(str, shape))}, but the detector has {count} "
            "amplifiers"
        )
    said = str(table.meta.get("CROSSTALK_RATIOS_UNITS", "adu")).strip().lower()
    if said not in _UNITS:
        raise ProductError(
            f"{path}: CROSSTALK_RATIOS_UNITS is {said!r}, expected {', '.join(_UNITS)}"
        )
    unit = _UNITS[said]
    variables = {}
    for name, (column, dtype, units) in _COLUMNS.items():
        if column not in table.colnames:
            continue
        values = np.asarray(table[column][0])
        if values.size != count * count or values.dtype.kind not in "fiub":
            raise ProductError(f"{path}: {column} is not a matrix of {count} x {count} numbers")
        matrix: Any = values.reshape(count, count).astype(dtype)
        variables[name] = (_AMPS, matrix, {"units": units.format(unit)})
    product = xr.Dataset(
        variables,
        coords={dim: list(amplifiers) for dim in _AMPS},
        attrs={"product": CROSSTALK.name, "instrument": instrument, "detector": detector},
    )
    CROSSTALK.check(product)
    return product


def write_crosstalk(path: Path, product: xr.Dataset, meta: Mapping[str, Any]) -> None:
    """Write a crosstalk product as ECSV.

    Parameters
    ----------
    path : pathlib.Path
        It appears complete or not at all.
    product : xarray.Dataset
    meta : mapping
        Goes into the table's header, after what describes the matrix.
    """
    from astropy.table import Table

    count = product.sizes["source_amp"]
    columns: dict[str, Any] = {
        column: product[name].values.astype(dtype).reshape(1, count * count)
        for name, (column, dtype, _) in _COLUMNS.items()
        if name in product
    }
    table = Table(columns)
    unit = str(product["coefficients"].attrs["units"]).partition("/")[0]
    table.meta.update(
        {
            "OBSTYPE": CROSSTALK.name.upper(),
            "INSTRUME": product.attrs.get("instrument"),
            "DETECTOR": product.attrs.get("detector"),
            "HAS_CROSSTALK": True,
            "NAMP": count,
            "CROSSTALK_SHAPE": [count, count],
            "CROSSTALK_RATIOS_UNITS": "electrons" if unit == "electron" else unit,
            "CROSSTALK_SCHEMA": "Gen3 Crosstalk",
            "CROSSTALK_VERSION": 1.1,
            **meta,
        }
    )
    write_table(path, table)
