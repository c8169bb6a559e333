"""What an instrument file may hold, as typed models.

Loading pydantic takes a while, so this module is imported only where a file is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from cpflow.io.corner_outputs import with_amplifiers
from cpflow.io.rules import HeaderRules
from cpflow.io.strict import Strict

Flip = Literal["none", "x", "y", "xy"]
Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Value = str | bool | int | float


class BoxModel(Strict):
    """A box of pixels, zero-based."""

    x0: Count = 0
    y0: Count = 0
    width: Size
    height: Size


class AmplifierModel(Strict):
    """One output; every key may stand in the type's `amplifier` template instead."""

    name: str | None = None
    hdu: Count | None = None
    """HDU of its pixels, from 0."""
    extname: str | None = None
    """EXTNAME that this HDU should have; another one is only worth a warning."""
    stored_at: tuple[Count, Count] | None = None
    """First column and row of its raw area in the image of that HDU."""
    stored_flip: Flip | None = None
    """What turns the stored pixels into the readout frame."""
    place: tuple[Count, Count] | None = None
    """First column and row of its imaging box in the detector frame."""
    flip: Flip | None = None
    """What turns the readout frame into the detector frame."""
    raw: tuple[Size, Size] | None = None
    """(rows, columns) of its raw area."""
    imaging: BoxModel | None = None
    serial_prescan: BoxModel | None = None
    serial_overscan: BoxModel | None = None
    parallel_overscan: BoxModel | None = None
    gain: Positive | None = None
    read_noise: Positive | None = None
    saturation: Positive | None = None
    suspect: Positive | None = None
    linearity_type: str | None = None


class TypeModel(Strict):
    """One kind of detector: what all detectors of this kind share.

    `shape` and `amplifiers` may be given by `image` and `outputs`: `cpflow.io.corner_outputs`.
    """

    shape: tuple[Size, Size]
    pixel_size_mm: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    reference_pixel: tuple[float, float] = (0.0, 0.0)
    extra: Mapping[str, Value] = {}
    amplifier: AmplifierModel = AmplifierModel()
    amplifiers: Annotated[tuple[AmplifierModel, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _outputs_written_out(cls, data: Any) -> Any:
        return with_amplifiers(data) if isinstance(data, dict) and "outputs" in data else data


PerAmplifier = Positive | dict[str, Positive]


class DetectorModel(Strict):
    """One detector on the focal plane."""

    id: Count
    name: str
    type: str
    serial: str = ""
    centre_mm: tuple[float, float] = (0.0, 0.0)
    gain: PerAmplifier | None = None
    read_noise: PerAmplifier | None = None
    saturation: PerAmplifier | None = None
    suspect: PerAmplifier | None = None
    extra: Mapping[str, Value] = {}


def _listed(value: Any) -> Any:
    return () if value is None else value if isinstance(value, list | tuple) else (value,)


Numbers = Annotated[tuple[str | Positive, ...], BeforeValidator(_listed)]


class HeaderGeometryModel(Strict):
    """Keywords that describe a camera whose geometry is in its headers, first defined wins.

    A number in place of a keyword holds for every file.
    """

    trim: tuple[str, ...] = ("TRIMSEC", "DATASEC")
    bias: tuple[str, ...] = ("BIASSEC",)
    gain: Numbers = ()
    read_noise: Numbers = ()
    saturation: Numbers = ()


class InstrumentModel(Strict):
    """A whole instrument file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.+-]*$", max_length=32)]
    description: str = ""
    geometry: Literal["camera", "header"] = "camera"
    header_geometry: HeaderGeometryModel | None = None
    types: Mapping[str, TypeModel] = {}
    detectors: tuple[DetectorModel, ...] = ()
    headers: HeaderRules
    overlays: Mapping[str, Mapping[str, Any]] = {}
    thresholds: Mapping[str, Any] = {}

    @model_validator(mode="after")
    def _geometry_is_given_once(self) -> InstrumentModel:
        if self.geometry == "camera":
            if not self.detectors:
                raise ValueError("`geometry: camera` needs `types` and `detectors`")
            if self.header_geometry is not None:
                raise ValueError("`header_geometry` is for `geometry: header`")
        elif self.detectors or self.types:
            raise ValueError("`geometry: header` takes no `types` and no `detectors`")
        return self
