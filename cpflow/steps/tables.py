"""Calibrations that are tables, as what an operation uses of them; loaded when a task runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from cpflow.errors import ProductError
from cpflow.kernels.linearity import LinearityType
from cpflow.products import LINEARITY_KINDS
from cpflow.stack import each

if TYPE_CHECKING:
    import xarray as xr


def table(calibration: Any, extract: Callable[[xr.Dataset], Any]) -> Any:
    """Return what `extract` takes out of a calibration, delayed.

    Parameters
    ----------
    calibration : xarray.Dataset, Delayed of one, or Choice of those
        A Delayed is a product that is built in the same plan.
    extract : callable
        Importable by name: it runs on a worker.
    """
    from dask.delayed import delayed

    # Pure: the same key for the same calibration, so that detectors and products share the task.
    return each(calibration, lambda dataset: delayed(extract, pure=True)(dataset))


def defect_boxes(defects: xr.Dataset) -> npt.NDArray[np.int64]:
    """Return the boxes of a defect list, shape (box, 4): x0, y0, width, height."""
    columns = [np.asarray(defects[name].values) for name in ("x0", "y0", "width", "height")]
    return np.stack(columns, axis=1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class CrosstalkMatrix:
    """Coefficients [source, target] and where they are used; `units` of the signals.

    `between` has those of sources in other detectors, by detector; zero where not used.
    """

    coefficients: npt.NDArray[np.float64]
    quadratic: npt.NDArray[np.float64] | None
    valid: npt.NDArray[np.bool_]
    units: str
    between: Mapping[int, npt.NDArray[np.float64]] = field(default_factory=dict)


def crosstalk_matrix(crosstalk: xr.Dataset) -> CrosstalkMatrix:
    """Return the matrix of a crosstalk product."""
    coefficients = crosstalk["coefficients"]
    quadratic = crosstalk["quadratic"].values if "quadratic" in crosstalk else None
    units = str(coefficients.attrs.get("units", "adu/adu")).partition("/")[0]
    between = {}
    for detector in source_detectors(crosstalk):
        part = crosstalk.sel(source_detector=detector)
        used = part["between_valid"].values
        between[detector] = np.where(used, part["between"].values, 0.0)
    return CrosstalkMatrix(
        coefficients.values, quadratic, crosstalk["valid"].values, units, between
    )


def source_detectors(crosstalk: Any) -> tuple[int, ...]:
    """Return the other detectors whose signals a crosstalk product subtracts."""
    if "between" not in crosstalk:
        return ()
    return tuple(int(number) for number in crosstalk["source_detector"].values)


@dataclass(frozen=True, slots=True)
class LinearityOfAmplifier:
    """How one amplifier is linearised (spec 2.8)."""

    kind: LinearityType
    coefficients: npt.NDArray[np.float64]
    table: npt.NDArray[np.float32] | None


def linearity(linearizer: xr.Dataset) -> tuple[LinearityOfAmplifier, ...]:
    """Return the linearity of each amplifier."""
    parts = []
    for a, kind in enumerate(linearizer["kind"].values):
        coefficients = np.asarray(linearizer["coefficients"].values[a], np.float64)
        coefficients = coefficients[np.isfinite(coefficients)]
        name = cast(LinearityType, LINEARITY_KINDS[int(kind)])
        lookup = linearizer["table"].values[a : a + 1] if "table" in linearizer else None
        parts.append(LinearityOfAmplifier(name, coefficients, lookup))
    return tuple(parts)


def gains(ptc: xr.Dataset) -> npt.NDArray[np.float64]:
    """Return the gain of each amplifier, electron/adu; NaN for one without."""
    found = np.asarray(ptc["gain"].values, np.float64)
    if not np.isfinite(found).any():
        raise ProductError("no amplifier of the photon transfer curve has a gain")
    return found


def kernel(bfk: xr.Dataset) -> npt.NDArray[np.float64]:
    """Return the brighter-fatter kernel of a detector for images, indexed [y, x], 1/electron.

    Products are indexed [x, y] (spec electro-optical 3.3).

    Raises
    ------
    ProductError
        If the kernel is not valid.
    """
    if "detector_valid" in bfk and not bool(bfk["detector_valid"].values):
        raise ProductError(
            f"the brighter-fatter kernel is not valid: {bfk['detector_reason'].values}",
            hint="make it from more flats, or -c isr.brighter_fatter=false",
        )
    return np.ascontiguousarray(np.asarray(bfk["detector_kernel"].values, np.float64).T)
