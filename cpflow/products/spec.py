"""What a product holds: its dimensions, variables, dtypes and units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cpflow.errors import ProductError

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of a product. `units` lists what is allowed; empty means dimensionless."""

    name: str
    dims: tuple[str, ...]
    dtype: str
    units: tuple[str, ...] = ()
    optional: bool = False
    finite: bool = False
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class ProductSpec:
    """What a product holds.

    `dimensions` identify one product of this type; `exposure_time` is what the product itself
    claims, in seconds (spec, section 3.5: 0 for a bias, 1 for what is combined per second).
    """

    name: str
    dimensions: tuple[str, ...]
    variables: tuple[Variable, ...]
    exposure_time: float = 1.0
    aliases: tuple[str, ...] = ()
    calibration: bool = True
    building: tuple[Variable, ...] = ()
    """What a graph gives instead, where the product gets its form only when it is finished."""

    def variable(self, name: str) -> Variable | None:
        """Return the variable of this name, or None."""
        return next((v for v in self.variables if v.name == name), None)

    def check(self, dataset: xr.Dataset, *, assembled: bool = True, values: bool = False) -> None:
        """Refuse a dataset that breaks this specification.

        Parameters
        ----------
        dataset : xarray.Dataset
            The product; lazy is fine unless `values` is true.
        assembled : bool
            Whether images are expected in the detector frame ``(y, x)`` or, while being built, in
            the readout frame ``(amp, y, x)``.
        values : bool
            Also look at the pixels: variables marked finite must be.

        Raises
        ------
        ProductError
            Naming product, variable and what is wrong with it.
        """
        expected = self.building if self.building and not assembled else self.variables
        for spec in expected:
            label = f"{self.name}: variable {spec.name!r}"
            if spec.name not in dataset:
                if spec.optional:
                    continue
                raise ProductError(f"{label} is missing")
            data = dataset[spec.name]
            dims = spec.dims
            if not assembled and dims == ("y", "x"):
                dims = ("amp", "y", "x")
            if tuple(data.dims) != dims:
                raise ProductError(f"{label} has dimensions {data.dims}, expected {dims}")
            if data.dtype.name != spec.dtype and not (
                spec.dtype == "text" and data.dtype.kind in "UTO"
            ):
                raise ProductError(f"{label} has dtype {data.dtype}, expected {spec.dtype}")
            units = data.attrs.get("units")
            if spec.units and units not in spec.units:
                raise ProductError(
                    f"{label} has units {units!r}, expected {' or '.join(spec.units)}"
                )
            if values and spec.finite and not bool(_finite(data)):
                raise ProductError(f"{label} has values that are not finite")


def _finite(data: xr.DataArray) -> bool:
    import numpy as np

    return bool(np.isfinite(data.values).all())


def mask_attributes() -> dict[str, object]:
    """Return the CF attributes that name the bits of a mask variable."""
    from cpflow.kernels.planes import PLANES

    return {
        "units": "1",
        "flag_masks": [1 << bit for bit in range(len(PLANES))],
        "flag_meanings": " ".join(PLANES),
    }


# `cpflow.kernels.planes.MASK_DTYPE`; importing it takes numpy, which a listing has no need of.
MASK_DTYPE_NAME = "uint16"


def squared(unit: str) -> str:
    """Return the unit of a variance: ``adu/s`` gives ``adu2/s2``."""
    return "1" if unit == "1" else "/".join(f"{part}2" for part in unit.split("/"))


OF_DETECTOR = ("instrument", "detector")
OF_FILTER = ("instrument", "detector", "physical_filter")
