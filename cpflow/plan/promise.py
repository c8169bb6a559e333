"""Products that do not exist yet, as inputs of products that are built later in the same plan.

A promise is a lazy dataset whose tasks all depend on one key. Before its product is built that key
stands for an error; when a plan runs it stands for the place of the finished product.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import MissingCalibrationError
from cpflow.io.zarr_product import open_product

if TYPE_CHECKING:
    import xarray as xr

    from cpflow.plan.plan import PlannedProduct

_ROWS = 500


def promise_key(product: PlannedProduct) -> str:
    """Return the key that stands for where the product is."""
    return f"promise-{product.type}-{product.token[:32]}"


def promised(product: PlannedProduct) -> Any:
    """Return a planned product as a calibration: a lazy Dataset, or a Delayed one for a table."""
    from dask.delayed import delayed

    place = delayed(_not_built, pure=False)(product.label, dask_key_name=promise_key(product))
    if "image" not in product.dataset or product.dataset["image"].dims != ("amp", "y", "x"):
        return delayed(load_product)(place)
    return _lazy_images(product, place)


def _lazy_images(product: PlannedProduct, place: Any) -> xr.Dataset:
    import dask.array as da
    import xarray as xr
    from dask.delayed import delayed

    rows, columns = product.detector.shape
    out = xr.Dataset()
    for name in ("image", "variance", "mask"):
        variable = product.dataset[name]
        parts = [
            da.from_delayed(
                delayed(read_rows)(place, name, y0, min(y0 + _ROWS, rows)),
                (min(y0 + _ROWS, rows) - y0, columns),
                dtype=variable.dtype,
            )
            for y0 in range(0, rows, _ROWS)
        ]
        out[name] = (("y", "x"), da.concatenate(parts), dict(variable.attrs))
    return out


def read_rows(place: str, variable: str, y0: int, y1: int) -> npt.NDArray[Any]:
    """Read rows of a finished product."""
    return np.asarray(open_product(Path(place))[variable][y0:y1].values)


def load_product(place: str) -> xr.Dataset:
    """Read a finished product whole."""
    return open_product(Path(place)).load()


def _not_built(label: str) -> str:
    raise MissingCalibrationError(
        f"{label} is not built yet", hint="it is made when the plan runs, before what needs it"
    )
