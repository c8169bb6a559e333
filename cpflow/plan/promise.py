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
from cpflow.stack.graph import Tasks

if TYPE_CHECKING:
    import xarray as xr

    from cpflow.plan.product import PlannedProduct

_ROWS = 500


def promise_key(product: PlannedProduct) -> str:
    """Return the key that stands for where the product is."""
    return f"promise-{product.type}-{product.token[:32]}"


def promised(product: PlannedProduct) -> Any:
    """Return a planned product as a calibration: a lazy Dataset, or a Delayed one for a table.

    All keys follow from what decides the product's values: planned again, it has the same. What
    they stand for differs from run to run, so a run names its tasks anew (`cpflow.scheduler`).
    """
    tasks = Tasks()
    place = tasks.call(promise_key(product), _not_built, product.label)
    if "image" not in product.dataset or product.dataset["image"].dims != ("amp", "y", "x"):
        key = f"load-{product.type}-{product.token[:32]}"
        tasks.call(key, load_product, place)
        return tasks.delayed(key, key)
    return _lazy_images(product, place, tasks)


def _lazy_images(product: PlannedProduct, place: Any, tasks: Tasks) -> xr.Dataset:
    import dask.array as da
    import xarray as xr
    from dask.delayed import Delayed

    rows, columns = product.detector.shape
    layer = promise_key(product)
    promise = Delayed(layer, tasks.graph(layer), layer=layer)
    spans = [(y0, min(y0 + _ROWS, rows)) for y0 in range(0, rows, _ROWS)]
    chunks = (tuple(y1 - y0 for y0, y1 in spans), (columns,))
    out = xr.Dataset()
    for name in ("image", "variance", "mask"):
        variable = product.dataset[name]
        array = f"read-{product.type}.{name}-{product.token[:32]}"
        reading = Tasks()
        reading.need(promise)
        for i, (y0, y1) in enumerate(spans):
            reading.call((array, i, 0), read_rows, place, name, y0, y1)
        data = da.Array(reading.graph(array), array, chunks, dtype=variable.dtype)
        out[name] = (("y", "x"), data, dict(variable.attrs))
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
