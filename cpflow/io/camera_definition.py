"""From the models of an instrument file to a `cpflow.camera.Camera`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cpflow.camera import Amplifier, Box, Camera, Detector, Source
from cpflow.errors import InstrumentError

if TYPE_CHECKING:
    from cpflow.io.schema import DetectorModel, InstrumentModel, TypeModel

_REQUIRED = ("name", "hdu", "place", "raw", "imaging")
_BOXES = ("serial_prescan", "serial_overscan", "parallel_overscan")
_NUMBERS = ("gain", "read_noise", "saturation", "suspect")


def build_camera(model: InstrumentModel) -> Camera:
    """Build the camera that an instrument file describes.

    Raises
    ------
    InstrumentError
        If a detector is of no known type, two share an id or a name, an amplifier lacks a key, or
        the amplifiers do not tile their detector.
    """
    detectors = []
    seen: dict[int | str, int] = {}
    for index, entry in enumerate(model.detectors):
        where = f"detectors.{index}"
        if entry.type not in model.types:
            raise InstrumentError(
                f"{where}.type: there is no detector type {entry.type!r}",
                hint=f"known types: {', '.join(model.types) or 'none'}",
            )
        for label in (entry.id, entry.name):
            if label in seen:
                raise InstrumentError(f"{where} and detectors.{seen[label]} are both {label!r}")
            seen[label] = index
        detectors.append(_detector(entry, model.types[entry.type], where))
    return Camera(model.name, tuple(detectors))


def _detector(entry: DetectorModel, kind: TypeModel, where: str) -> Detector:
    amplifiers = _amplifiers(kind, entry.type)
    values = {name: getattr(entry, name) for name in _NUMBERS}
    known = {amplifier["name"] for amplifier in amplifiers}
    for key, value in values.items():
        if isinstance(value, dict) and not known.issuperset(value):
            unknown = sorted(set(value) - known)[0]
            raise InstrumentError(
                f"{where}.{key}: there is no amplifier {unknown!r}",
                hint=f"its amplifiers are {', '.join(sorted(known))}",
            )
    return Detector(
        id=entry.id,
        name=entry.name,
        shape=kind.shape,
        amplifiers=tuple(
            Amplifier(**{**amplifier, **_own(values, amplifier["name"])})
            for amplifier in amplifiers
        ),
        serial=entry.serial,
        type=entry.type,
        pixel_size_mm=kind.pixel_size_mm,
        centre_mm=entry.centre_mm,
        reference_pixel=kind.reference_pixel,
        extra={**kind.extra, **entry.extra},
    )


def _own(values: dict[str, Any], name: str) -> dict[str, float]:
    """Return what a detector says of one amplifier beyond its type."""
    found = {
        key: value.get(name) if isinstance(value, dict) else value for key, value in values.items()
    }
    return {key: value for key, value in found.items() if value is not None}


def _amplifiers(kind: TypeModel, type_name: str) -> list[dict[str, Any]]:
    """Return the fields of each amplifier of a type: the template, then its own entry."""
    template = kind.amplifier.model_dump(exclude_none=True)
    amplifiers = []
    for index, entry in enumerate(kind.amplifiers):
        merged = {**template, **entry.model_dump(exclude_none=True)}
        missing = [key for key in _REQUIRED if key not in merged]
        if missing:
            raise InstrumentError(
                f"types.{type_name}.amplifiers.{index} has no {missing[0]!r}",
                hint=f"give it there, or in types.{type_name}.amplifier for all amplifiers",
            )
        amplifiers.append(_amplifier(merged))
    return amplifiers


def _amplifier(merged: dict[str, Any]) -> dict[str, Any]:
    rows, columns = merged["raw"]
    imaging = Box(**merged["imaging"])
    stored_x, stored_y = merged.get("stored_at", (0, 0))
    place_x, place_y = merged["place"]
    stored, turned = merged.get("stored_flip", "none"), merged.get("flip", "none")
    return {
        "name": merged["name"],
        "raw": (rows, columns),
        "source": Source(
            merged["hdu"], Box(stored_x, stored_y, columns, rows), "x" in stored, "y" in stored
        ),
        "imaging": imaging,
        "detector_box": Box(place_x, place_y, imaging.width, imaging.height),
        "flip_x": "x" in turned,
        "flip_y": "y" in turned,
        **{name: Box(**merged[name]) for name in _BOXES if name in merged},
        **{name: merged[name] for name in (*_NUMBERS, "linearity_type") if name in merged},
    }
